"""What is wrong with the files of one plan, collected over all of them and shown at once."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import PurePath
from typing import NoReturn

from cutover.errors import RunbookInvalid
from cutover.model.plan import Source
from cutover.planning.diagnostics import Diagnostic, Span, render_all

VAR_OPTIONS = "--var"
NO_INVENTORY = "the inventory"


class Refused(RunbookInvalid):
    """The runbook does not load or does not pass review; `diagnostics` say all that is wrong with it."""

    def __init__(self, diagnostics: Sequence[Diagnostic], texts: Mapping[str, str]) -> None:
        """Render `diagnostics` above the lines they are about; `texts` are the files by name."""
        self.diagnostics = tuple(diagnostics)
        super().__init__(rendered(diagnostics, texts))


class Problems:
    """The diagnostics found so far in the files that a plan is made from."""

    def __init__(self, source: Source) -> None:
        """Nothing is wrong yet."""
        self.source = source
        self.found: list[Diagnostic] = []
        self._silenced: set[tuple[str, int, int]] = set()

    def at(
        self, span: Span, message: str, hint: str = "", *, file: str | None = None, related: Span | None = None
    ) -> None:
        """Note one thing that is wrong at a place in the runbook, or in `file`."""
        self.found.append(Diagnostic.at(span, file or self.source.file, message, hint=hint, related=related))

    def silence(self, span: Span) -> None:
        """Take no more about this place of the runbook from `extend`: what follows from a slip is no news."""
        self._silenced.add((self.source.file, span.line, span.column))

    def extend(self, diagnostics: Iterable[Diagnostic]) -> None:
        """Note several, but none about a silenced place."""
        self.found += [each for each in diagnostics if (each.file, each.line, each.column) not in self._silenced]

    def settle(self) -> None:
        """Raise Refused if anything is wrong."""
        if self.found:
            self.refuse()

    def refuse(self) -> NoReturn:
        """Raise Refused with everything found, each file's in the order of its lines."""
        files = list(texts_of(self.source))
        found = sorted(self.found, key=lambda each: (files.index(each.file), each.line, each.column))
        raise Refused(found, texts_of(self.source))


def texts_of(source: Source) -> dict[str, str]:
    """Return the text of every file that diagnostics may speak of, by its name."""
    return {
        source.file: source.runbook,
        inventory_file(source): source.inventory or "",
        pins_file(source.file): source.pins or "",
        VAR_OPTIONS: "\n".join(f"{name}={value}".replace("\n", " ") for name, value in source.vars),
    }


def inventory_file(source: Source) -> str:
    """Return what diagnostics call the inventory."""
    return source.inventory_file or NO_INVENTORY


def pins_file(runbook: str) -> str:
    """Return where the pins of a runbook are: `basement.pins` beside `basement.yaml`."""
    path = PurePath(runbook)
    return str(path.with_suffix(".pins")) if path.name else f"{runbook}.pins"


def rendered(diagnostics: Iterable[Diagnostic], texts: Mapping[str, str]) -> str:
    """Render diagnostics of several files, each above the line it is about."""
    groups = groupby(diagnostics, key=lambda each: each.file)
    return "\n\n".join(render_all(group, texts.get(file, "")) for file, group in groups)
