"""YAML text becomes a tree in which every value and every key knows its place.

The tree is built from parser events, never by a constructor: nothing in a document can run, and what YAML
offers beyond plain data (tags, merge keys, several documents, keys that are not text) is refused where it
stands, as is whatever would make a small file large. Plain scalars follow YAML 1.2 and JSON: `true`, `false`,
`null`, and numbers as JSON writes them. All else is text: `on`, `22:22`, `012`, `1_000`, dates.
"""

import codecs
import math
import re
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NoReturn

import yaml

from cutover.planning.diagnostics import Diagnostic, Span, source_lines
from cutover.planning.tree import Entry, Map, Node, Scalar, Seq, Value, kind_of, shorten
from cutover.planning.yaml_problems import explain

MAX_BYTES = 1 << 20
MAX_DEPTH = 40
MAX_NODES = 50_000
MAX_CHARACTERS = 4 << 20  # aliases repeat long texts as well as many nodes
MAX_DIAGNOSTICS = 100

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_SURROGATE = re.compile("[\ud800-\udfff]")
_LONGEST_WHOLE = 20
_TOO_LARGE = math.inf
_WORDS: dict[str, Value] = {"true": True, "false": False, "null": None, "~": None, "": None}
# What YAML calls printable, less what it would take for a line end and editors do not (NEL, LS, PS).
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


def parse(source: str | bytes, file: str) -> tuple[Node | None, list[Diagnostic]]:
    """Read one YAML document; return its tree and all that is wrong with it.

    A tree that comes with diagnostics is there to look for more of them, and for nothing else. There is none
    when the text could not be read to its end.
    """
    builder = _Builder(file, source_lines(source))
    try:
        text = _decoded(source, builder)
        return builder.build(text), builder.found
    except _Stopped:
        return None, builder.found


class _Stopped(Exception):
    """The rest of the text cannot be read."""


@dataclass(frozen=True, slots=True)
class _Weight:
    """What a node counts for once every alias in it is written out."""

    nodes: int
    characters: int
    height: int


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not come yet."""

    event: Any
    span: Span
    items: list[Node] = field(default_factory=list)
    entries: dict[str, Entry] = field(default_factory=dict)
    key: Scalar | None = None
    expects_key: bool = True
    before: tuple[int, int] = (0, 0)
    height: int = 1


class _Builder:
    """Turns events into nodes and collects what is wrong."""

    def __init__(self, file: str, lines: list[str]) -> None:
        self.file = file
        self.lines = lines
        self.found: list[Diagnostic] = []
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Node, _Weight]] = {}
        self._root: Node | None = None
        self._nodes = 0
        self._characters = 0

    def report(self, span: Span, message: str, hint: str = "", related: Span | None = None) -> None:
        """Note one thing that is wrong."""
        self.found.append(Diagnostic.at(span, self.file, message, hint=hint, related=related))
        if len(self.found) >= MAX_DIAGNOSTICS:
            raise _Stopped

    def stop(self, span: Span, message: str, hint: str = "", related: Span | None = None) -> NoReturn:
        """Note one thing after which reading on is impossible or pointless."""
        self.report(span, message, hint, related)
        raise _Stopped

    def build(self, text: str) -> Node | None:
        """Read the events of one document."""
        try:
            for event in yaml.parse(text, Loader=_LOADER):
                self._take(event)
        except yaml.MarkedYAMLError as error:
            self._explain(error)
        if self._root is None:
            self.stop(Span(1, 1, 1, 1), "There is nothing in this file.")
        return self._root

    def _take(self, event: Any) -> None:
        match event:
            case yaml.ScalarEvent():
                self._refuse_tag(event)
                self._weigh(1, len(event.value), event)
                self._place(self._scalar(event), event.anchor, _Weight(1, len(event.value), 0))
            case yaml.AliasEvent():
                self._alias(event)
            case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                self._start(event)
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                self._end(event)
            case yaml.DocumentStartEvent():
                self._document(event)

    def _document(self, event: Any) -> None:
        if self._root is not None:
            self.stop(self._span(event), "A second document starts here; a file holds one.", "Remove the `---`.")
        if event.version or event.tags:
            self.report(self._span(event), "Directives such as %YAML are not read here.", "Remove the line.")

    def _start(self, event: Any) -> None:
        self._refuse_tag(event)
        if len(self._open) >= MAX_DEPTH:
            self.stop(self._span(event), f"This is nested deeper than {MAX_DEPTH} levels.")
        before = (self._nodes, self._characters)
        self._weigh(1, 0, event)
        self._open.append(_Open(event, self._span(event), before=before))

    def _end(self, event: Any) -> None:
        done = self._open.pop()
        _, _, *end = self._ends(event)
        span = Span(done.span.line, done.span.column, *end)
        is_map = isinstance(done.event, yaml.MappingStartEvent)
        node = Map(span, done.entries) if is_map else Seq(span, tuple(done.items))
        nodes, characters = done.before
        self._place(node, done.event.anchor, _Weight(self._nodes - nodes, self._characters - characters, done.height))

    def _alias(self, event: Any) -> None:
        span, name = self._span(event), event.anchor
        if name not in self._anchors:
            still_open = any(name == opened.event.anchor for opened in self._open)
            problem = "stands for something that it is itself a part of" if still_open else "has no anchor before it"
            self.report(span, f"*{name} {problem}.", "Quote it if it is text: '*…'." if not still_open else "")
            return self._place(Scalar(span, None, f"*{name}"), None, _Weight(1, 0, 0))
        node, weight = self._anchors[name]
        if len(self._open) + weight.height > MAX_DEPTH:
            self.stop(span, f"With what *{name} stands for, this is nested deeper than {MAX_DEPTH} levels.")
        self._weigh(weight.nodes, weight.characters, event)
        return self._place(node, None, weight, aliased=span)

    def _weigh(self, nodes: int, characters: int, event: Any) -> None:
        self._nodes += nodes
        self._characters += characters
        if self._nodes > MAX_NODES:
            self.stop(self._span(event), f"This file stands for more than {MAX_NODES} values, aliases written out.")
        if self._characters > MAX_CHARACTERS:
            self.stop(self._span(event), "This file stands for more than 4 MiB of text, aliases written out.")

    def _place(self, node: Node, anchor: str | None, weight: _Weight, aliased: Span | None = None) -> None:
        """Put a finished node where it belongs: the document, a list, a mapping's key or value."""
        if anchor is not None:
            if anchor in self._anchors:
                earlier = self._anchors[anchor][0].span
                self.report(node.span, f"The anchor &{anchor} is already set on line {earlier.line}.", related=earlier)
            self._anchors[anchor] = (node, weight)
        if not self._open:
            self._root = node
            return
        parent = self._open[-1]
        parent.height = max(parent.height, weight.height + 1)
        if isinstance(parent.event, yaml.SequenceStartEvent):
            parent.items.append(node)
        elif parent.expects_key:
            parent.expects_key = False
            parent.key = self._key(node, aliased, parent)
        else:
            parent.expects_key = True
            if parent.key is not None:
                parent.entries[parent.key.text] = Entry(parent.key, node)

    def _key(self, node: Node, aliased: Span | None, parent: _Open) -> Scalar | None:
        """Return the key if it is one that a mapping here can have; its value is dropped otherwise."""
        if aliased is not None:
            self.report(aliased, "A key cannot be an alias.", "Write it out.")
        elif not isinstance(node, Scalar):
            self.report(node.span, "A key must be text, not a list or a mapping.")
        elif node.text == "<<" and not node.quoted:
            self.report(node.span, "The merge key << is not read here.", "Write the entries out.")
        elif (earlier := parent.entries.get(node.text)) is not None:
            first = earlier.key.span
            message = f"'{shorten(node.text)}' is already written on line {first.line}, in the same mapping."
            self.report(node.span, message, related=first)
        else:
            if not isinstance(node.value, str):
                hint = f'Quote it if it is meant: "{shorten(node.text)}".' if node.text else ""
                self.report(node.span, f"A key must be text; this one is {kind_of(node)}.", hint)
            return Scalar(node.span, node.text, node.text, node.quoted)
        return None

    def _scalar(self, event: Any) -> Scalar:
        span, text = self._span(event), event.value
        if _SURROGATE.search(text):
            self.stop(span, "This text has half of a surrogate pair in it.", "Write the character itself.")
        if event.style or not event.implicit[0]:
            return Scalar(span, text, text, quoted=True)
        value = _resolve(text)
        if value == _TOO_LARGE:
            self.report(span, "This number is too large to be kept exactly.", "Quote it if it is text.")
            value = text
        return Scalar(span, value, text)

    def _refuse_tag(self, event: Any) -> None:
        if event.tag is not None:
            name = event.tag.replace("tag:yaml.org,2002:", "!!")
            hint = "Quote it if it is text." if not name.startswith("!!") else "Remove it."
            self.report(self._span(event), f"Tags such as {name} are not read here.", hint)

    def _ends(self, event: Any) -> tuple[int, int, int, int]:
        return (*self._position(event.start_mark), *self._position(event.end_mark))

    def _span(self, event: Any) -> Span:
        return Span(*self._ends(event))

    def _position(self, mark: Any) -> tuple[int, int]:
        """Count from 1, and keep inside the text: the parser supposes a line end after the last line."""
        if mark.line >= len(self.lines):
            return len(self.lines), len(self.lines[-1]) + 1
        return mark.line + 1, min(mark.column, len(self.lines[mark.line])) + 1

    def _explain(self, error: yaml.MarkedYAMLError) -> NoReturn:
        """Turn the parser's error into one that says what to do; nothing after it can be read."""
        mark = error.problem_mark or error.context_mark
        line, column = self._position(mark) if mark is not None else (1, 1)
        context = self._position(error.context_mark) if error.context_mark is not None else (line, column)
        rest = [self.lines[line - 1][column - 1 :], *self.lines[line:]]
        if not any(part.strip() for part in rest):  # it ends too early: what is still open?
            bracket = next((opened for opened in reversed(self._open) if opened.event.flow_style), None)
            if bracket is not None:
                char = "[" if isinstance(bracket.event, yaml.SequenceStartEvent) else "{"
                at = Span(bracket.span.line, bracket.span.column, *context)
                self.stop(at, f"The '{char}' that opens here is never closed.")
            if "quoted" in (error.context or ""):
                line, column = context
        problem = explain(error.problem or "", error.context or "", self.lines[line - 1], column)
        opening = Span(*context, *context) if context[0] != line else None
        self.stop(Span(line, column, line, column), problem.message, problem.hint, opening)


def _resolve(text: str) -> Value:
    """Return what a plain scalar means: a word or a number as in JSON, text otherwise."""
    number = _NUMBER.fullmatch(text)
    if number is None:
        return _WORDS.get(text, text)
    if number[1] is None and number[2] is None:
        # Python limits how many digits it reads, and JSON readers how large a whole number may be.
        whole = int(text) if len(text) <= _LONGEST_WHOLE else _TOO_LARGE
        return whole if abs(whole) < 1 << 63 else _TOO_LARGE
    return float(text)


def _decoded(source: str | bytes, builder: _Builder) -> str:
    """Return the text, if it is one that can be shown and read; line ends and columns stay as they are."""
    start = Span(1, 1, 1, 1)
    size = len(source if isinstance(source, bytes) else source.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        builder.stop(start, "This file is larger than 1 MiB.")
    text = _from_utf8(source, builder) if isinstance(source, bytes) else source
    if text.startswith("\ufeff"):
        builder.stop(start, "This file starts with a byte order mark.", "Save it as UTF-8 without one.")
    for match in islice(_UNPRINTABLE.finditer(text), 10):
        name = f"U+{ord(match[0]):04X}"
        hint = "Remove it, or write it as an escape in double quotes."
        builder.report(_span_of(text[: match.start()]), f"The character {name} cannot be read here.", hint)
    if builder.found:
        raise _Stopped
    return text


def _from_utf8(source: bytes, builder: _Builder) -> str:
    if source.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        builder.stop(Span(1, 1, 1, 1), "This file is UTF-16.", "Save it as UTF-8.")
    try:
        return source.decode()
    except UnicodeDecodeError as error:
        span = _span_of(source[: error.start].decode())
        builder.stop(span, "This byte is not UTF-8.", "Save the file as UTF-8.")


def _span_of(before: str) -> Span:
    """Return the place of the character that comes after `before`."""
    lines = source_lines(before)
    return Span(len(lines), len(lines[-1]) + 1, len(lines), len(lines[-1]) + 2)
