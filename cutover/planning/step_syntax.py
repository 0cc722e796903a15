"""Steps as they are written: `- name: {kind: {…}, needs: […], timeout: 5m}`.

A step has one name, one kind with its parameters, and the words that every step may say.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from cutover.model.kind import Kind
from cutover.model.runbook import NAME_PATTERN, Place, StepWords
from cutover.planning.diagnostics import Span, did_you_mean
from cutover.planning.plain_secrets import refuse_plain_secrets
from cutover.planning.problems import Problems
from cutover.planning.tree import Entry, Map, Node, Path, Scalar, Seq, kind_of, shorten
from cutover.planning.validate import Describe, dotted, validate

LATER_KINDS = frozenset(
    (
        "await_replication",
        "drain_workers",
        "edge_maintenance",
        "fence_postgres",
        "hand_over_redis",
        "promote_postgres",
        "reattach_postgres",
        "repoint_edge",
        "soak",
        "start_workers",
        "switch_puma",
    )
)
_WORDS = tuple(StepWords.model_fields)
_HOW = "A step is written '- name: {kind: {…}}'."


@dataclass(frozen=True, slots=True)
class Written:
    """A step with the places of its parts."""

    name: str
    place: Place
    name_span: Span
    needs: Node | None
    params: Node
    kind: Kind
    words: StepWords

    def span_of(self, text: str) -> Span:
        """Return where in the step's parameters `text` is written; the step's name if nowhere."""
        return _find(self.params, text) or self.name_span

    def span_of_need(self, name: str) -> Span:
        """Return where the step says that it needs `name`."""
        return (_find(self.needs, name) if self.needs else None) or self.name_span


def read_steps(node: Node | None, kinds: Mapping[str, type[Kind]], problems: Problems) -> tuple[Written, ...]:
    """Read all steps; those with something wrong are noted and left out."""
    items = node.items if isinstance(node, Seq) else ()
    named: dict[str, Span] = {}
    steps = []
    for item in items:
        step = _step(item, kinds, problems)
        entry = _only_entry(item)
        if entry is not None:
            name, first = entry.key.text, named.setdefault(entry.key.text, entry.key.span)
            if first is not entry.key.span:
                message = f"There is a step '{shorten(name)}' on line {first.line} already."
                problems.at(entry.key.span, message, "Give this one another name.", related=first)
        if step is not None:
            steps.append(step)
    return tuple(steps)


def listed(entry: Entry) -> Entry:
    """Let one text stand for a list of one."""
    value = entry.value
    return Entry(entry.key, Seq.of([value], at=value)) if isinstance(value, Scalar) and value.text else entry


def _only_entry(item: Node) -> Entry | None:
    return next(iter(item.entries.values())) if isinstance(item, Map) and len(item.entries) == 1 else None


def _step(item: Node, kinds: Mapping[str, type[Kind]], problems: Problems) -> Written | None:
    entry = _only_entry(item)
    if entry is None:
        _not_a_step(item, kinds, problems)
        return None
    name, body = entry.key.text, entry.value
    if not re.fullmatch(NAME_PATTERN, name):
        hint = "Letters, digits and . _ @ - are; it begins with a letter or digit and has at most 63."
        problems.at(entry.key.span, f"'{shorten(name)}' is no name for a step.", hint)
    if not isinstance(body, Map):
        problems.at(body.span, f"{shorten(name)}: expected a kind of step, found {kind_of(body)}.", _HOW)
        return None
    word = _kind_of_step(name, entry, body, kinds, problems)
    common = {key: each for key, each in body.entries.items() if key in _WORDS}
    if "needs" in common:
        common["needs"] = listed(common["needs"])
    before = len(problems.found)
    words = _words(name, Map(body.span, common), problems)
    if word is None:
        return None
    params = body.entries[word].value
    kind = _kind(f"{name}: {word}", kinds[word], params, problems)
    if words is None or kind is None or len(problems.found) > before:
        return None
    needs = common["needs"].value if "needs" in common else None
    span = entry.key.span
    place = Place(problems.source.file, span.line, span.column)
    return Written(name, place, span, needs, params, kind, words)


def _not_a_step(item: Node, kinds: Mapping[str, type[Kind]], problems: Problems) -> None:
    """Say what is wrong with an item that is not one name with what it stands for."""
    if not isinstance(item, Map):
        return problems.at(item.span, f"Expected a step, found {kind_of(item)}.", _HOW)
    if not item.entries:
        return problems.at(item.span, "There is no step in this.", _HOW)
    first, second, *_ = item.entries.values()
    if second.key.text in {*kinds, *LATER_KINDS, *_WORDS}:
        hint = f"Indent '{second.key.text}' below '{shorten(first.key.text)}', by two more."
        return problems.at(second.key.span, f"This is beside the step's name '{shorten(first.key.text)}'.", hint)
    return problems.at(second.key.span, "A second step begins here; each is an item of its own.", "Begin it with '- '.")


def _kind_of_step(
    name: str, entry: Entry, body: Map, kinds: Mapping[str, type[Kind]], problems: Problems
) -> str | None:
    """Return the one word of a step that is its kind, or note what is wrong."""
    words = [each.key for key, each in body.entries.items() if key not in _WORDS]
    known = [key for key in words if key.text in kinds]
    for key in words:
        if key.text in kinds:
            continue
        if key.text in LATER_KINDS:
            message = f"{shorten(name)}: '{key.text}' comes with a later version; this one cannot run it."
            problems.at(key.span, message, "Remove the step, or use a version of cutover that has it.")
        elif known:
            message = f"{shorten(name)} has no parameter '{shorten(key.text)}'."
            problems.at(key.span, message, did_you_mean(key.text, _WORDS))
        else:
            hint = did_you_mean(key.text, [*kinds, *_WORDS]) or f"There are: {', '.join(sorted(kinds))}."
            problems.at(key.span, f"{shorten(name)}: there is no kind of step '{shorten(key.text)}'.", hint)
    if not words:
        hint = f"There are: {', '.join(sorted(kinds))}."
        problems.at(entry.key.span, f"{shorten(name)} does not say what kind of step it is.", hint)
    for key in known[1:]:
        message = f"{shorten(name)} is a '{known[0].text}' already; a step is of one kind."
        problems.at(key.span, message, "Make two steps of it.", related=known[0].span)
    return known[0].text if len(known) == 1 else None


def _words(name: str, node: Map, problems: Problems) -> StepWords | None:
    describe = _describe(shorten(name), ".")
    words, found = validate(StepWords, node, problems.source.file, describe=describe)
    problems.extend(found)
    if words is None:
        return None
    refuse_plain_secrets(words, node, describe, problems)
    if words.timeout <= 0:
        problems.at(node.entries["timeout"].value.span, f"{name}.timeout must be more than nothing.")
    if words.undo is not None and words.no_way_back is not None:
        message = f"{name} says that there is nothing to undo, and why it cannot be undone."
        problems.at(node.entries["no_way_back"].key.span, message, "Keep one of 'undo: nothing' and 'no_way_back'.")
    return words


def _kind(where: str, kind: type[Kind], node: Node, problems: Problems) -> Kind | None:
    describe = _describe(where, ".")
    made, found = validate(kind, node, problems.source.file, describe=describe)
    problems.extend(found)
    if made is not None:
        refuse_plain_secrets(made, node, describe, problems)
    return made


def _describe(owner: str, dot: str) -> Describe:
    def describe(path: Path) -> str:
        return f"{owner}{dot}{dotted(path)}" if path and isinstance(path[0], str) else owner

    return describe


def _find(node: Node, text: str) -> Span | None:
    """Return the place of the first value that is `text`."""
    match node:
        case Scalar():
            return node.span if node.text == text else None
        case Seq(items=items):
            below = items
        case Map(entries=entries):
            below = tuple(entry.value for entry in entries.values())
        case _:
            return None
    return next((span for each in below if (span := _find(each, text)) is not None), None)
