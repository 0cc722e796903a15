"""How a command ends: one sentence and one exit code for every error, a crash file for a bug."""

import os
import signal
import sys
import traceback
from pathlib import Path
from types import TracebackType

from cutover.cli.output import Output
from cutover.errors import CutoverError, ExitCode

UNREAD = 128 + signal.SIGPIPE
"""How a shell says that whoever read a command's output left before its end."""


class Guarded:
    """Turns every exception of a verb into a sentence on stderr and an exit code."""

    def __init__(self, verb: str) -> None:
        """`verb` is all that a crash file says about the command: its arguments may hold secrets."""
        self.code = int(ExitCode.BUG)
        self._verb = verb

    def __enter__(self) -> "Guarded":
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, where: TracebackType | None
    ) -> bool:
        """Say what went wrong; nothing but a request of the interpreter itself goes on."""
        match problem:
            case None:
                return False
            case CutoverError():
                Output().talk(str(problem))
                self.code = int(problem.exit_code)
            case KeyboardInterrupt():
                Output().talk("Interrupted.")
                self.code = int(ExitCode.INTERRUPTED)
            case BrokenPipeError():
                # Whoever read us has gone (`| head`): nothing is to be said, least of all at the interpreter's exit.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                self.code = UNREAD
            case Exception():
                Output().talk(_bug(self._verb, problem))
                self.code = int(ExitCode.BUG)
            case _:
                return False
        return True


def _bug(verb: str, problem: Exception) -> str:
    said = f"This is a bug in cutover ({type(problem).__name__}). A run that is under way is not touched by it."
    try:
        file = _crash_file(verb, problem)
    except (OSError, CutoverError):
        return said
    return f"{said} What is known is in {file}: please report it."


def _crash_file(verb: str, problem: Exception) -> Path:
    """Write where it happened, without messages and values: either may hold what must not be written down."""
    from cutover import __version__
    from cutover.journal.directory import state_directory

    folder = state_directory() / "crashes"
    folder.mkdir(mode=0o700, exist_ok=True)
    lines = [f"cutover {__version__}, python {sys.version.split()[0]}, {sys.platform}: cutover {verb}"]
    cause: BaseException | None = problem
    while cause is not None:
        lines.append(f"\n{type(cause).__module__}.{type(cause).__qualname__}, raised in:")
        lines += [
            f"  {frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(cause.__traceback__)
        ]
        cause = cause.__cause__ or cause.__context__
    number = len(list(folder.iterdir())) + 1
    file = folder / f"{number:04d}-{os.getpid()}.txt"
    file.write_text("\n".join(lines) + "\n")
    return file
