"""The head beside the journal: which event was durable last. It makes a lost end visible, and costs no sync.

`journal.db-head` is one short line, overwritten in place after each durable commit and never synced. Since it is
written only after the sync that it speaks of has returned, it can fall behind the journal (a power cut may bring back
an older line, or none), never run ahead of it: a journal that ends before its head has lost something that a crash
cannot take. A line that is torn or missing says nothing and is no error.

It shows accidents: a `-wal` that was deleted or not copied along, a disk that lied about a sync, a last page damaged.
It does not show: that telemetry behind the last decision is missing (it was never promised); that the whole directory
was put back as it was earlier; any loss at all once this line is gone too. Whoever can rewrite the journal can rewrite
this line. Against those only an anchor kept elsewhere helps.
"""

import os
import re
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from cutover.journal.chain import Head

_LINE = re.compile(r"(\d{20}) ([0-9a-f]{64}) ([0-9a-f]{16})\n")


def head_path(journal: Path) -> Path:
    """Where the head of this journal is: beside it, named like SQLite names its own companions."""
    return journal.with_name(journal.name + "-head")


def read_head(journal: Path) -> Head | None:
    """The last event known to have been durable, or None when nothing can be said."""
    try:
        text = head_path(journal).read_text("ascii")
    except (OSError, ValueError):
        return None
    match = _LINE.fullmatch(text)
    if match is None or match[3] != _check(f"{match[1]} {match[2]}"):
        return None
    return Head(int(match[1]), match[2])


class HeadFile:
    """The writer's side. Failing to write is not an error: an older head is still a true one."""

    def __init__(self, journal: Path) -> None:
        """Open or create the head of `journal`."""
        self._file = -1
        with suppress(OSError):
            self._file = os.open(head_path(journal), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def write(self, head: Head) -> None:
        """Say that `head` is durable: only after it is."""
        if self._file >= 0:
            said = f"{head.seq:020d} {head.digest}"
            with suppress(OSError):
                os.pwrite(self._file, f"{said} {_check(said)}\n".encode("ascii"), 0)

    def close(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _check(said: str) -> str:
    return sha256(said.encode("ascii")).hexdigest()[:16]
