"""What goes to stdout and stderr, and how: colours, marks and JSON in one place.

Everything from outside is made visible here, on its way out, whatever the caller did before; control sequences are
added after that, by this module only, and only to a terminal that wants them.
"""

import json
import os
import sys
from collections.abc import Mapping
from typing import Any, TextIO

from cutover.model.events import Event, encode
from cutover.model.text import visible

# Marks and their stand-ins where the locale cannot write them.
ASCII = {
    "✓": "+",
    "▶": ">",
    "·": "-",
    "✗": "x",
    "?": "?",
    "◆": "*",
    "◀": "<",
    "‖": "=",
    "…": "...",
    "→": "->",
    "–": "-",
    "“": "'",
    "”": "'",
}
_COLOURS = {"✓": "32", "▶": "36", "✗": "31;1", "?": "33;1", "◆": "35;1", "◀": "33", "‖": "33;1", "dim": "2"}


class Output:
    """The two streams of one command."""

    def __init__(
        self, stdout: TextIO | None = None, stderr: TextIO | None = None, environ: Mapping[str, str] | None = None
    ) -> None:
        """Without arguments: those of the process."""
        self._stdout = stdout or sys.stdout
        self._stderr = stderr or sys.stderr
        environ = os.environ if environ is None else environ
        self.terminal = self._stdout.isatty() and environ.get("TERM", "dumb") != "dumb"
        self.colour = self.terminal and not environ.get("NO_COLOR")
        self.ascii = _plain_locale(environ) or not _can_write(self._stdout)

    def say(self, text: str = "") -> None:
        """A line, or several, of what was asked for: to stdout."""
        self._write(self._stdout, self.safe(text))

    def marked(self, time: str, mark: str, text: str) -> None:
        """One line with a time and a mark; lines of `text` after the first are indented below it."""
        indent = " " * (len(time) + 1 if time else 0)
        first, *rest = self.safe(text).split("\n")
        shown = ASCII.get(mark, mark) if self.ascii else mark
        lead = f"{self._paint(time, 'dim')} " if time else ""
        lines = [f"{lead}{self._paint(shown, mark)} {first}".rstrip(), *(f"{indent}  {line}".rstrip() for line in rest)]
        self._write(self._stdout, "\n".join(lines))

    def talk(self, text: str) -> None:
        """What is said beside the result: to stderr."""
        self._write(self._stderr, self.safe(text))

    def prompt(self, text: str) -> None:
        """A question whose answer is typed behind it: to the terminal, whichever of the two that is."""
        stream = self._stdout if self._stdout.isatty() else self._stderr
        stream.write(self.safe(text))
        stream.flush()

    def json(self, data: Mapping[str, Any]) -> None:
        """One JSON object on one line of stdout. Pure ASCII, so nothing in it can reach a terminal raw."""
        self._write(self._stdout, json.dumps(data, ensure_ascii=True, separators=(",", ":")))

    def event(self, event: Event) -> None:
        """An event, as the journal stores it: the chain can be checked over these lines, less their newline."""
        self._write(self._stdout, encode(event).decode("ascii"))

    def raw(self, text: str) -> None:
        """A text of our own making, to be redirected into a file, as it is."""
        self._stdout.write(text)
        self._stdout.flush()

    def control(self, text: str) -> None:
        """Write control sequences of our own; nothing when stdout is no terminal that takes them."""
        if self.terminal:
            self._stdout.write(text)
            self._stdout.flush()

    def safe(self, text: str) -> str:
        """`text` as it may go to a terminal, and as this one can write it."""
        text = visible(text)
        if self.ascii:
            for mark, plain in ASCII.items():
                text = text.replace(mark, plain)
            text = text.encode("ascii", "backslashreplace").decode()
        return text

    def _paint(self, text: str, style: str) -> str:
        code = _COLOURS.get(style)
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and code else text

    @staticmethod
    def _write(stream: TextIO, text: str) -> None:
        stream.write(text + "\n")
        stream.flush()


def _plain_locale(environ: Mapping[str, str]) -> bool:
    """Whether the user's locale is C. Python writes UTF-8 there nevertheless, and sets LC_CTYPE to that itself."""
    if everything := environ.get("LC_ALL"):
        return everything in ("C", "POSIX")
    characters = environ.get("LC_CTYPE", "")
    return characters in ("C", "POSIX") or (
        environ.get("LANG") in ("C", "POSIX") and characters in ("", "C.UTF-8", "C.utf8", "UTF-8")
    )


def _can_write(stream: TextIO) -> bool:
    try:
        "".join(ASCII).encode(getattr(stream, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
