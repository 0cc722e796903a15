"""Variables: `${name}` from the runbook's `vars`, `${downtime.announced}`, `${env:NAME}`; nothing else is computed.

`${secret:NAME}` stays as it is written: only fields that keep secrets sealed may hold it. So does `${run.id}` and the
like, in announcements alone: what it stands for is known only while the run runs. `$${` stands for `${`.
A value that is nothing but `${name}` becomes what the variable is, a number too; within a longer text it becomes
the variable's text.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from cutover.model.kind import RUN_FACTS
from cutover.planning.diagnostics import Span, did_you_mean, nearest
from cutover.planning.problems import Problems
from cutover.planning.tree import Entry, Map, Node, Scalar, Seq, shorten

MAX_CHARACTERS = 4 << 20  # a variable made of others may double with every line

_REFERENCE = re.compile(r"\$\$\{|\$\{([^{}]*)\}|\$\{")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_ENVIRONMENT = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}")
_SECRET = "${secret:"  # noqa: S105 - how one is referred to
_RUN = tuple(f"run.{fact}" for fact in RUN_FACTS)
_ANNOUNCES = "announce"


@dataclass(frozen=True, slots=True)
class Names:
    """What a runbook may refer to.

    vars: by name, as written or overridden. overridden: those whose value was given from outside, and is not looked
    into. fields: parts of the runbook by their dotted name. environment: what the environment variables held.
    """

    vars: Mapping[str, Scalar]
    overridden: frozenset[str]
    fields: Mapping[str, Scalar]
    environment: Mapping[str, str]
    secrets: frozenset[str]


def environment_names(text: str) -> frozenset[str]:
    """Return the environment variables that a runbook's text refers to."""
    return frozenset(_ENVIRONMENT.findall(text))


def names_of(tree: Map, overrides: Mapping[str, Scalar], environment: Mapping[str, str]) -> Names:
    """Gather what the runbook `tree` may refer to. `overrides` are values for its `vars` given from outside."""
    written = _scalars(tree.child("vars"))
    return Names(
        vars={**written, **overrides},
        overridden=frozenset(overrides),
        fields={f"downtime.{name}": value for name, value in _scalars(tree.child("downtime")).items()},
        environment=environment,
        secrets=frozenset(secrets.entries if isinstance(secrets := tree.child("secrets"), Map) else ()),
    )


def interpolate(tree: Map, names: Names, problems: Problems) -> Map:
    """Return the tree with every reference replaced; what cannot be is noted in `problems` and stays as it is."""
    walk = _Interpolation(names, problems)
    for name, scalar in _entries(tree.child("vars")):
        if not _VARIABLE.fullmatch(name):
            hint = "A variable's name is made of letters, digits, _ and -."
            problems.at(scalar.key.span, f"'{shorten(name)}' cannot be referred to.", hint)
    return Map(tree.span, {key: _taken_over(key, entry, names, walk) for key, entry in tree.entries.items()})


def _taken_over(key: str, entry: Entry, names: Names, walk: "_Interpolation") -> Entry:
    """Replace the references in one section; a variable given from outside is taken as it is."""
    if key == "steps" and isinstance(entry.value, Seq):
        return Entry(entry.key, Seq(entry.value.span, tuple(map(walk.step, entry.value.items))))
    if key != "vars" or not isinstance(entry.value, Map):
        return walk.entry(entry)
    given = {name: names.vars[name] for name in names.overridden}
    entries = {
        name: Entry(each.key, replace(given[name], span=each.value.span)) if name in given else walk.entry(each)
        for name, each in entry.value.entries.items()
    }
    return Entry(entry.key, Map(entry.value.span, entries))


class _Interpolation:
    """Replaces references, each variable worked out once."""

    def __init__(self, names: Names, problems: Problems) -> None:
        self._names = names
        self._problems = problems
        self._known: dict[str, Scalar | None] = {}  # None: what is wrong with it has been said
        self._open: list[str] = []
        self._left = MAX_CHARACTERS
        self._announces = False

    def step(self, step: Node) -> Node:
        """Return a step, `name: {kind: …}`; what announces may speak of the run."""
        if not isinstance(step, Map) or not all(isinstance(each.value, Map) for each in step.entries.values()):
            return self.node(step)
        entries = {}
        for name, each in step.entries.items():
            self._check_key(each)
            words = {word: self._word(word, below) for word, below in _entries(each.value)}
            entries[name] = Entry(each.key, Map(each.value.span, words))
        return Map(step.span, entries)

    def _word(self, word: str, entry: Entry) -> Entry:
        self._announces = word == _ANNOUNCES
        try:
            return self.entry(entry)
        finally:
            self._announces = False

    def node(self, node: Node) -> Node:
        """Return the node with every reference below it replaced."""
        match node:
            case Scalar():
                return self.scalar(node)
            case Seq(span, items):
                return Seq(span, tuple(self.node(item) for item in items))
            case Map(span, entries):
                return Map(span, {name: self.entry(entry) for name, entry in entries.items()})
        return node

    def scalar(self, scalar: Scalar) -> Scalar:
        """Return the value with its references replaced."""
        text = scalar.value
        if not isinstance(text, str) or "${" not in text or self._left < 0:
            return scalar
        done = self._written_out(scalar, text)
        if done is None:
            self._problems.silence(scalar.span)
            return scalar
        self._left -= len(done.text)
        if self._left < 0:
            self._problems.at(scalar.span, "With its variables written out, this runbook has more than 4 MiB of text.")
        return done

    def _written_out(self, scalar: Scalar, text: str) -> Scalar | None:
        """Return the value with its references replaced, or nothing if one of them stands for nothing."""
        whole = _REFERENCE.fullmatch(text)
        if whole is not None and whole[1] is not None:
            found = self._find(whole[1].strip(), scalar.span)
            return None if found is None else replace(found, span=scalar.span)
        pieces, end = [], 0
        for match in _REFERENCE.finditer(text):
            pieces += [text[end : match.start()], self._piece(match, scalar.span)]
            end = match.end()
        good = [piece for piece in (*pieces, text[end:]) if piece is not None]
        if len(good) <= len(pieces):
            return None
        if sum(map(len, good)) > MAX_CHARACTERS:
            self._problems.at(scalar.span, "With its variables written out, this is longer than 4 MiB.")
            return None
        done = "".join(good)
        return Scalar(scalar.span, done, done, quoted=True)

    def entry(self, entry: Entry) -> Entry:
        """Return the entry with the references in its value replaced."""
        self._check_key(entry)
        return Entry(entry.key, self.node(entry.value))

    def _check_key(self, entry: Entry) -> None:
        if "${" in entry.key.text:
            self._problems.at(entry.key.span, "A key cannot hold a variable.", "Write it out.")
            self._problems.silence(entry.key.span)

    def _piece(self, match: re.Match[str], span: Span) -> str | None:
        if match[1] is not None:
            found = self._find(match[1].strip(), span)
            return None if found is None else found.text
        if match[0] == "${":
            hint = "Close it with '}', or write $${ for the text '${'."
            self._problems.at(span, "The '${' here is never closed.", hint)
            return None
        if match.string.startswith("secret:", match.end()):
            self._problems.at(span, f"The text '{_SECRET}' cannot be written in a runbook.", "Say it another way.")
            return None
        if self._announces and match.string.startswith("run.", match.end()):
            self._problems.at(span, "The text '${run.' cannot be written in an announcement.", "Say it another way.")
            return None
        return "${"

    def _find(self, name: str, span: Span) -> Scalar | None:
        """Return what a name stands for, or note why it stands for nothing."""
        space, colon, rest = name.partition(":")
        if colon and space == "secret":
            return self._secret(rest, span)
        if colon and space == "env":
            return self._from_environment(rest, span)
        if self._announces and name in _RUN:
            return Scalar(span, f"${{{name}}}", f"${{{name}}}", quoted=True)
        if name in self._names.vars:
            return self._variable(name, self._names.vars[name], span)
        if name in self._names.fields:
            return self._variable(name, self._names.fields[name], span)
        self._unknown(name, span)
        return None

    def _variable(self, name: str, written: Scalar, span: Span) -> Scalar | None:
        if name in self._known:
            return self._known[name]
        if name in self._names.overridden:
            return self._outside(f"The value given for '{name}'", written, span)
        if name in self._open:
            circle = " → ".join([*self._open[self._open.index(name) :], name])
            self._problems.at(span, f"The variable '{name}' stands for itself: {circle}.", "Break the circle.")
            return None
        if len(self._open) > 40:
            self._problems.at(span, "Variables stand for each other more than 40 deep here.", "Write some out.")
            return None
        self._open.append(name)
        text = written.value
        value = self._written_out(written, text) if isinstance(text, str) and "${" in text else written
        self._open.pop()
        self._known[name] = value
        return value

    def _from_environment(self, name: str, span: Span) -> Scalar | None:
        value = self._names.environment.get(name)
        if value is None:
            self._problems.at(span, f"The environment variable {shorten(name)} is not set.", "Set it, or use vars.")
            return None
        return self._outside(f"The environment variable {name}", Scalar(span, value, value, quoted=True), span)

    def _outside(self, what: str, scalar: Scalar, span: Span) -> Scalar | None:
        """Return a value from outside as it is; it must not reach for a secret that the reviewed runbook does not."""
        if _SECRET in scalar.text:
            self._problems.at(span, f"{what} holds '{_SECRET}'; only the runbook may name secrets.")
            return None
        if any(0xD800 <= ord(char) < 0xE000 or char == "\0" for char in scalar.text):
            self._problems.at(span, f"{what} is not text: it holds a byte that is not UTF-8, or a NUL.")
            return None
        return scalar

    def _secret(self, name: str, span: Span) -> Scalar | None:
        if name not in self._names.secrets:
            hint = did_you_mean(name, self._names.secrets) or f"Say under 'secrets' where '{shorten(name)}' is kept."
            self._problems.at(span, f"There is no secret '{shorten(name)}'.", hint)
            return None
        text = f"{_SECRET}{name}}}"
        return Scalar(span, text, text, quoted=True)

    def _unknown(self, name: str, span: Span) -> None:
        shown = shorten(name)
        choices = [*self._names.vars, *self._names.fields]
        if name == "run" or name.startswith("run."):
            if self._announces:
                hint = did_you_mean(name, _RUN) or f"There are: {', '.join(f'${{{each}}}' for each in _RUN)}."
                return self._problems.at(span, f"'${{{shown}}}' stands for nothing.", hint)
            message = f"'${{{shown}}}' is known only in the text of an announcement."
            return self._problems.at(span, message, "Leave it out.")
        space, colon, rest = name.partition(":")
        if colon:
            message = f"'${{{shown}}}' stands for nothing: there are ${{name}}, ${{env:NAME}} and ${{secret:NAME}}."
            near = nearest(space, ["env", "secret"])
            return self._problems.at(span, message, f"Did you mean '${{{near}:{shorten(rest)}}}'?" if near else "")
        hint = did_you_mean(name, choices) or "Add it to 'vars'; write $${ for the text '${'."
        return self._problems.at(span, f"There is no variable '{shown}'.", hint)


def _entries(node: Node | None) -> list[tuple[str, Entry]]:
    return list(node.entries.items()) if isinstance(node, Map) else []


def _scalars(node: Node | None) -> dict[str, Scalar]:
    return {name: entry.value for name, entry in _entries(node) if isinstance(entry.value, Scalar)}
