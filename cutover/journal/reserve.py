"""Room kept for the worst moment: a file that is deleted when the disk is full.

What it frees is enough to journal one hold and one rollback. Nothing is ever written into it or read from it.
"""

import errno
import os
from contextlib import suppress
from pathlib import Path

from cutover.errors import JournalError, JournalFull
from cutover.model.text import visible_line

SIZE = 16 * 1024 * 1024
"""Bytes."""

NO_ROOM_ERRNO = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Reserve:
    """The reserve of one run."""

    def __init__(self, path: Path, size: int = SIZE) -> None:
        """It is kept at `path` and takes `size` bytes; nothing is touched yet."""
        self.path = path
        self.size = size

    def create(self) -> None:
        """Take the room, if it is not yet taken. Raises JournalFull when it is not there, JournalError otherwise."""
        try:
            if self.path.exists() and self.path.stat().st_blocks * 512 >= self.size:
                return
            _allocate(self.path, self.size)
        except OSError as problem:
            self.free()
            if problem.errno not in NO_ROOM_ERRNO:
                raise JournalError(f"The reserve {_shown(self.path)} cannot be made: {problem.strerror}.") from problem
            raise JournalFull(
                f"There is no room for the journal's reserve: {self.size // 2**20} MiB are kept so that a hold and a "
                f"rollback can still be journalled on a full disk, and {_shown(self.path.parent)} has "
                f"{free_bytes(self.path.parent) / 2**20:.1f} MiB left. Free some room, then try again."
            ) from problem

    def free(self) -> bool:
        """Give the room back; whether there was any."""
        with suppress(OSError):
            self.path.unlink()
            return True
        return False


def free_bytes(directory: Path) -> int:
    """Bytes that this user can still write there; 0 when that cannot be told."""
    try:
        found = os.statvfs(directory)
    except OSError:
        return 0
    return found.f_bavail * found.f_frsize


def _allocate(path: Path, size: int) -> None:
    """Give the file real blocks, not a hole."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file, 0, size)
            return
        block = b"\0" * (1024 * 1024)  # macOS
        for _ in range(0, size, len(block)):
            if os.write(file, block) < len(block):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(file)


def _shown(path: Path) -> str:
    return visible_line(str(path))
