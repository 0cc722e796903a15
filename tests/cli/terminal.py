"""A command in a terminal of its own, as a person has one: read until something is shown, type, read on."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from types import TracebackType

WAIT = 30.0


class Terminal:
    """`cutover` with these words, in a terminal `columns` wide."""

    def __init__(self, *words: str, environ: dict[str, str], columns: int = 80) -> None:
        outer, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self._outer = outer
        self._mode = termios.tcgetattr(inner)
        self._inner = inner
        argv = [sys.executable, "-c", _OWN_TERMINAL, "-m", "cutover", *words]
        self.process = subprocess.Popen(
            argv, stdin=inner, stdout=inner, stderr=inner, env=environ, start_new_session=True
        )
        self.shown = ""
        self._seen = 0

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, where: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        os.close(self._outer)
        os.close(self._inner)

    def until(self, text: str) -> str:
        """Read until `text` is shown behind what was waited for last; returns what came up to there."""
        end = time.monotonic() + WAIT
        while text not in self.shown[self._seen :]:
            ready, _, _ = select.select([self._outer], [], [], max(0.0, end - time.monotonic()))
            data = os.read(self._outer, 65536) if ready else b""
            assert data, f"waited for {text!r}, saw {self.shown[self._seen :]!r}"
            self.shown += data.decode().replace("\r\n", "\n")
        before = self._seen
        self._seen = self.shown.index(text, self._seen) + len(text)
        return self.shown[before : self._seen]

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._outer, keys.encode())

    def end(self) -> int:
        """Read to the end; returns the exit code. The terminal must be as it was."""
        end = time.monotonic() + WAIT
        while self._more() or (self.process.poll() is None and time.monotonic() < end):
            if self._more():
                self.shown += os.read(self._outer, 65536).decode().replace("\r\n", "\n")
        mode = termios.tcgetattr(self._inner)
        assert mode[3] == self._mode[3], "the terminal was not given back as it was"
        assert self.process.returncode is not None, f"it did not end: {self.shown[-500:]!r}"
        return self.process.returncode

    def _more(self) -> bool:
        return bool(select.select([self._outer], [], [], 0.1)[0])

    def rows(self) -> list[str]:
        """Every state of the bottom line."""
        return [row.split("\n")[0] for row in self.shown.split("\r\x1b[2K")[1:]]


# The terminal must be the controlling one, or Ctrl-C would reach nobody.
_OWN_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)
