"""What the YAML parser's complaints mean, in words that say what to do."""

import re
from typing import NamedTuple


class Problem(NamedTuple):
    """A sentence, and the way out."""

    message: str
    hint: str = ""


_QUOTE = "Quote the value if it is text."
_UNEXPECTED_COLON = Problem(
    "A ':' is not expected here.",
    "Quote text that contains ': ', or check the indentation of this line and a ':' left out above.",
)
_MISSING_KEY = Problem(
    "This does not continue the mapping: expected 'key: value' at the mapping's indentation.",
    "Check the indentation; quote text that goes on after a closing quote or bracket.",
)
_NO_LIST = Problem("A list cannot start on this line.", "Start '- ' on a line of its own, or write [a, b].")

# The first expression that is found in the parser's words decides. libyaml and the pure Python parser differ.
_PROBLEMS: tuple[tuple[str, Problem], ...] = (
    ("mapping values are not allowed", _UNEXPECTED_COLON),
    ("sequence entries are not allowed", _NO_LIST),
    (
        "expected '-' indicator|block collection|block sequence",
        Problem("Expected the list's next '- ' here.", "Check the indentation."),
    ),
    ("mapping keys are not allowed", Problem("A '?' is not expected here.", _QUOTE)),
    ("could not find expected ':'", Problem("Expected 'key: value' here.", "Check for a ':' left out.")),
    ("',' or '[]}]'", Problem("Expected a ',' or the closing bracket here.")),
    ("unexpected end of stream", Problem("The quote that opens here is never closed.")),
    ("unexpected document indicator", Problem("A line of '---' or '...' ends the text before its closing quote.")),
    (
        "unknown escape|escape sequence|hexadecimal|Unicode character escape",
        Problem(
            "This is no escape sequence that double quotes know.",
            "Use single quotes where a backslash is a backslash; write characters beyond \\uffff as \\U0001f600.",
        ),
    ),
    ("document start", Problem("The document ended before this.", "A file holds one document.")),
    ("block end|expected key", _MISSING_KEY),
    ("node content", Problem("Expected a value here.", _QUOTE)),
    ("directive|incompatible YAML|%YAML", Problem("Directives such as %YAML are not read here.", "Remove the line.")),
    ("tag", Problem("Tags are not read here.", _QUOTE)),
    ("block scalar|comment or line break|chomping", Problem("'|' and '>' must end their line.", _QUOTE)),
    ("alphabetic or numeric", Problem("'&' and '*' name anchors and aliases in YAML.", _QUOTE)),
    ("indentation|tab", Problem("The indentation is wrong here.", "Indent with spaces, as the lines around do.")),
)


def explain(problem: str, context: str, text: str, column: int) -> Problem:
    """Say what the parser's `problem`, met in `context`, means at this column (from 1) of the line `text`."""
    before, char = text[: column - 1], text[column - 1 : column]
    if char == "{" and before.endswith("$"):
        return Problem("'${' starts a mapping here, because it is not quoted.", 'Quote the text: "${…}".')
    if "cannot start any token" in problem:
        if char == "\t":
            return Problem("A tab cannot indent.", "Use spaces.")
        return Problem(f"A value cannot start with '{char}'.", _QUOTE)
    for expression, found in _PROBLEMS:
        if re.search(expression, f"{problem} {context}"):
            return found
    return Problem(f"This is not YAML: {problem or 'it cannot be read'}.")
