"""Plain data in which every value and every key knows its place in the text it was written in.

A tree can be rewritten before it is validated, without losing its places. `Map.of`, `Seq.of` and `Scalar.of`
build nodes `at` the node they stand for; a key is a node too, so it can become a value:

    ((name, body),) = step.entries.values()            # - stop-web: {services: {stop: [puma]}, needs: [fence]}
    kind, params = body.entries["services"]
    common = {"needs": body.entries["needs"]}          # an entry takes its key's place along
    Map.of({"name": name, "kind": kind, "params": params, **common}, at=body)
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from cutover.planning.diagnostics import Span

Value: TypeAlias = str | int | float | bool | None
Path: TypeAlias = tuple[str | int, ...]

_LONGEST_QUOTE = 60


@dataclass(frozen=True, slots=True)
class Node:
    """A value and the place it was written at."""

    span: Span

    @property
    def line(self) -> int:
        """Return the line it starts on, from 1."""
        return self.span.line

    @property
    def column(self) -> int:
        """Return the column it starts at, from 1, in characters."""
        return self.span.column

    def plain(self) -> Any:
        """Return the plain data: str, int, float, bool, None, list and dict."""
        raise NotImplementedError

    def child(self, _step: str | int) -> "Node | None":
        """Return what lies one step down: a key of a mapping, an index of a list; nothing below a scalar."""
        raise NotImplementedError

    def at(self, path: Path) -> "Node | None":
        """Return what lies at `path`, if anything does."""
        node: Node | None = self
        for step in path:
            node = node.child(step) if node is not None else None
        return node


@dataclass(frozen=True, slots=True)
class Scalar(Node):
    """A text, number, boolean or null. `text` is what was written, with the quotes and escapes resolved."""

    value: Value
    text: str
    quoted: bool = False

    @classmethod
    def of(cls, value: str, *, at: Node) -> "Scalar":
        """Build a text that stands for the node `at`."""
        return cls(at.span, value, value, True)

    def plain(self) -> Value:
        """Return the value."""
        return self.value

    def child(self, _step: str | int) -> Node | None:
        """Return nothing: a scalar has no parts."""
        return None


@dataclass(frozen=True, slots=True)
class Seq(Node):
    """A list."""

    items: tuple[Node, ...]

    @classmethod
    def of(cls, items: Iterable[Node], *, at: Node) -> "Seq":
        """Build a list that stands for the node `at`."""
        return cls(at.span, tuple(items))

    def plain(self) -> list[Any]:
        """Return the list as plain data."""
        return [item.plain() for item in self.items]

    def child(self, step: str | int) -> Node | None:
        """Return the item at this index."""
        return self.items[step] if isinstance(step, int) and 0 <= step < len(self.items) else None


class Entry(NamedTuple):
    """A key and its value, as nodes."""

    key: Scalar
    value: Node


@dataclass(frozen=True, slots=True)
class Map(Node):
    """A mapping from text, in the order it was written."""

    entries: dict[str, Entry]

    @classmethod
    def of(cls, entries: Mapping[str, Entry | Node], *, at: Node) -> "Map":
        """Build a mapping that stands for the node `at`; a bare value lends its place to its new key."""
        made = {
            key: entry if isinstance(entry, Entry) else Entry(Scalar.of(key, at=entry), entry)
            for key, entry in entries.items()
        }
        return cls(at.span, made)

    def plain(self) -> dict[str, Any]:
        """Return the mapping as plain data."""
        return {key: entry.value.plain() for key, entry in self.entries.items()}

    def child(self, step: str | int) -> Node | None:
        """Return the value of this key."""
        entry = self.entries.get(step) if isinstance(step, str) else None
        return entry.value if entry else None


def kind_of(node: Node) -> str:
    """Say in a few words what a node is: `the number 1.10`, `the text 'on'`, `a list`, `nothing`."""
    if not isinstance(node, Scalar):
        kind = "list" if isinstance(node, Seq) else "mapping"
        return f"a {kind}" if node.plain() else f"an empty {kind}"
    if node.value is None:
        return "nothing"
    if isinstance(node.value, str):
        return f"the text '{shorten(node.text)}'"
    return shorten(node.text) if isinstance(node.value, bool) else f"the number {shorten(node.text)}"


def shorten(text: str) -> str:
    """Cut a text to what fits in a sentence."""
    return text if len(text) <= _LONGEST_QUOTE else text[: _LONGEST_QUOTE - 1] + "…"
