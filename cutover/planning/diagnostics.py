"""What is wrong with a text that a person wrote: where, what was expected, the nearest valid name.

A `Diagnostic` is data: reading and validating return lists of them, nobody raises one. `render` shows one to a
person above the line it is about; `to_json` is for programs.
"""

import difflib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from cutover.model.text import visible, visible_line

_LINE_END = re.compile(r"\r\n|\r|\n")
_WIDEST_LINE = 100
_LONGEST_WORD = 64
_LONGEST_LOCATION = 32


@dataclass(frozen=True, slots=True)
class Span:
    """From where to where in a text: lines and columns count from 1, in characters; the end is exclusive."""

    line: int
    column: int
    end_line: int
    end_column: int


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One thing that is wrong. `message` is a whole sentence; `where` names the part of the document in it."""

    file: str
    line: int
    column: int
    end_column: int
    where: str
    message: str
    hint: str = ""
    related: Span | None = None

    @classmethod
    def at(
        cls, span: Span, file: str, message: str, *, hint: str = "", where: str = "", related: Span | None = None
    ) -> "Diagnostic":
        """Point at `span`; of one that goes over several lines only the start is marked."""
        end = span.end_column if span.end_line == span.line else span.column
        return cls(file, span.line, span.column, max(end, span.column + 1), where, message, hint, related)

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `--json`; `related_line` is the other place that the message speaks of."""
        return {
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "end_column": self.end_column,
            "where": self.where,
            "message": self.message,
            "hint": self.hint,
            "related_line": self.related.line if self.related else None,
        }


def source_lines(source: str | bytes) -> list[str]:
    """Split a source into the lines that diagnostics count; bytes that are not UTF-8 do not stop it."""
    text = source.decode("utf-8", errors="replace") if isinstance(source, bytes) else source
    return _LINE_END.split(text)


def render(diagnostic: Diagnostic, lines: Sequence[str]) -> str:
    """Show one diagnostic above the source it is about, with everything from outside made visible."""
    location = f"{diagnostic.file}:{diagnostic.line}:{diagnostic.column}"
    sentence = f"{diagnostic.message} {diagnostic.hint}".rstrip()
    shown = [visible_line(f"{location}  {sentence}")]
    location_width = _cells(visible_line(location))
    indent = " " * (location_width + 2 if location_width <= _LONGEST_LOCATION else 4)
    digits = len(str(max(diagnostic.line, diagnostic.related.line if diagnostic.related else 0)))
    if (related := diagnostic.related) is not None and related.line != diagnostic.line:
        source, _ = _excerpt(lines, related.line, related.column, related.column + 1)
        shown.append(f"{indent}{related.line:>{digits}} | {source}")
    source, carets = _excerpt(lines, diagnostic.line, diagnostic.column, diagnostic.end_column)
    shown.append(f"{indent}{diagnostic.line:>{digits}} | {source}")
    shown.append(f"{indent}{'':>{digits}} | {carets}")
    return "\n".join(shown)


def render_all(diagnostics: Iterable[Diagnostic], source: str | bytes) -> str:
    """Render diagnostics about one source, in their order, with an empty line between."""
    lines = source_lines(source)
    return "\n\n".join(render(diagnostic, lines) for diagnostic in diagnostics)


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return "Did you mean 'units'?" for the nearest choice, or nothing when none is near."""
    near = nearest(word, choices)
    return f"Did you mean '{near}'?" if near else ""


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """Return the choice that `word` is most likely a slip of; case, `-` and `_` hardly count."""
    if len(word) > _LONGEST_WORD:  # nobody mistypes that; and the comparison is quadratic
        return None
    plain = {_plain(choice): choice for choice in choices}
    found = difflib.get_close_matches(_plain(word), plain, n=1)
    return plain[found[0]] if found else None


def _plain(word: str) -> str:
    return word.casefold().replace("-", "_")


def _excerpt(lines: Sequence[str], line: int, column: int, end_column: int) -> tuple[str, str]:
    """Return a source line, cut around the column, and the carets that go below it."""
    text = lines[line - 1] if 0 < line <= len(lines) else ""
    at, end = column - 1, end_column - 1
    start, stop = 0, len(text)
    if len(text) > _WIDEST_LINE:
        start = max(0, min(at - _WIDEST_LINE // 3, len(text) - _WIDEST_LINE))
        stop = start + _WIDEST_LINE
    before = ("…" if start else "") + visible_line(text[start:at])
    marked = visible_line(text[at : min(end, stop)])
    after = visible_line(text[max(at, min(end, stop)) : stop]) + ("…" if stop < len(text) else "")
    return before + marked + after, " " * _cells(before) + "^" * max(1, _cells(marked))


def _cells(text: str) -> int:
    """Return how many columns of a terminal a visible text takes."""
    return sum(_cell(char) for char in visible(text))


def _cell(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
