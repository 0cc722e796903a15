"""One engine per run: an exclusive `flock` on the run's `lock` file, held while the journal is open for writing.

The kernel lets go of it when the process dies, however it dies, so nothing ever has to be cleaned up. The file stays;
its content only tells the second comer who holds it.
"""

import fcntl
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from cutover.errors import EngineRunning, JournalError
from cutover.model.text import visible_line


class Lock:
    """A held lock. Make it with `acquire`."""

    def __init__(self, file: int) -> None:
        """Take over an open and locked file descriptor."""
        self._file = file

    @classmethod
    def acquire(cls, path: Path, *, owner: str, boot_id: str, since: str) -> "Lock":
        """Lock `path` and write the owner into it.

        Raises EngineRunning with the owner's text when another holds it, JournalError when it cannot be made.
        """
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as problem:
            where = visible_line(str(path))
            raise JournalError(f"The run's lock {where} cannot be opened: {problem.strerror}.") from problem
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as held:
            message = _refusal(os.pread(file, 4096, 0), boot_id)
            os.close(file)
            raise EngineRunning(message) from held
        except OSError as problem:
            os.close(file)
            raise JournalError(f"This file system cannot lock {visible_line(str(path))}: {problem.strerror}.") from None
        text = json.dumps({"owner": owner, "pid": os.getpid(), "boot_id": boot_id, "since": since})
        with suppress(OSError):  # on a full disk the lock holds without its text
            os.ftruncate(file, 0)
            os.pwrite(file, text.encode(), 0)
        return cls(file)

    def release(self) -> None:
        """Let the next engine in."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def holder(path: Path) -> int | None:
    """The process that holds the lock at `path`; None when nobody does, or where the system does not tell (no Linux).

    Reads /proc/locks: to try the lock oneself, even for an instant, could turn away an engine that starts just then.
    """
    try:
        inode = path.stat().st_ino
        held = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return None
    for _, kind, _, _, pid, place, *_ in (line.split() for line in held if "->" not in line):
        if kind == "FLOCK" and int(place.rpartition(":")[2]) == inode:
            return int(pid)
    return None


def _refusal(content: bytes, boot_id: str) -> str:
    try:
        found: dict[str, Any] = json.loads(content)
        owner, pid, since = str(found["owner"]), int(found["pid"]), str(found["since"])
        elsewhere = ", on another machine" if found["boot_id"] != boot_id else ""
    except (ValueError, KeyError, TypeError):
        return "Another engine already drives this run (it has not yet written who it is)."
    return f"An engine of {visible_line(owner)} (pid {pid}{elsewhere}) already drives this run, since {since}."
