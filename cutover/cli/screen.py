"""A terminal with one line at its bottom that changes: status, and what is being typed.

The terminal is put into a mode in which keys arrive as they are pressed (Ctrl-C still interrupts), so that a half-typed
answer survives the lines that come above it. Nothing acts on a single key: only Enter behind a word sends it.
Without a terminal all of this does nothing but print.
"""

import contextlib
import os
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Callable
from types import TracebackType

from rich.cells import cell_len, set_cell_size

from cutover.cli.output import Output
from cutover.model.text import visible_line

_CLEAR = "\r\x1b[2K"
_LONGEST_LINE = 2_000

END = "\x04"
"""Ctrl-D."""


class Screen:
    """The bottom line of a terminal, and the keys."""

    def __init__(self, output: Output, *, typing: bool) -> None:
        """typing: whether keys are read."""
        self._output = output
        self._typing = typing and output.terminal
        self._status = ""
        self._typed = ""
        self._before: list[object] | None = None

    @property
    def typing(self) -> bool:
        """Whether a person can type here."""
        return self._typing

    def __enter__(self) -> "Screen":
        """Take the keyboard."""
        if self._typing:
            self._before = termios.tcgetattr(sys.stdin)
            self._take_keys()
            signal.signal(signal.SIGCONT, lambda *_: self._take_keys())  # a shell that stopped us took the mode back
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, where: TracebackType | None
    ) -> None:
        """Give the terminal back as it was."""
        self._output.control(_CLEAR)
        if self._before is not None:
            signal.signal(signal.SIGCONT, signal.SIG_DFL)
            with contextlib.suppress(termios.error):
                termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._before)  # type: ignore[arg-type]
            self._before = None

    def _take_keys(self) -> None:
        with contextlib.suppress(termios.error):
            tty.setcbreak(sys.stdin.fileno(), termios.TCSADRAIN)

    def above(self, write: Callable[[], None]) -> None:
        """Let `write` print lines above the bottom line."""
        self._output.control(_CLEAR)
        write()
        self._draw()

    def status(self, text: str) -> None:
        """Change the bottom line."""
        self._status = text
        self._draw()

    def lines(self) -> list[str]:
        """Read what was pressed. Returns the lines that Enter ended; Ctrl-D on an empty line counts as one."""
        pressed = os.read(sys.stdin.fileno(), 4096).decode(errors="replace")
        lines = [] if pressed else [END]
        for char in pressed:
            if char in "\r\n":
                lines.append(self._typed.strip())
                self._typed = ""
            elif char == END and not self._typed:
                lines.append(END)
            else:
                self._press(char)
        self._draw()
        return [line for line in lines if line]

    def _press(self, char: str) -> None:
        if char in "\x7f\b":
            self._typed = self._typed[:-1]
        elif char == "\x15":
            self._typed = ""
        elif char == "\x17":
            self._typed = self._typed.rstrip().rpartition(" ")[0]
        elif char.isprintable():
            self._typed = (self._typed + char)[:_LONGEST_LINE]

    def _draw(self) -> None:
        width = shutil.get_terminal_size().columns - 1
        prompt = f" > {visible_line(self._typed)}" if self._typed else ""
        if cell_len(prompt) > width:
            prompt = "…" + prompt[-(width - 1) :]
        room = width - cell_len(prompt)
        status = self._output.safe(self._status).replace("\n", " ")
        if cell_len(status) > room:
            status = set_cell_size(status, max(0, room - 1)) + ("…" if room > 0 else "")
        self._output.control(_CLEAR + self._output.safe(status + prompt))
