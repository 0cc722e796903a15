"""The journal's file: made, verified, and opened by the one connection that writes.

A new file is made under another name, synced and renamed, so a `journal.db` without its table is never a legitimate
state. An old one is verified read-only before it is opened for writing, since opening and closing alone can change it:
a damaged journal is left exactly as it was found.
"""

import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from cutover.errors import JournalCorrupt, JournalError, JournalFull
from cutover.journal.chain import ChainReport
from cutover.journal.reader import APPLICATION, JournalReader
from cutover.journal.reserve import NO_ROOM_ERRNO, Reserve, free_bytes
from cutover.model.events import FORMAT
from cutover.model.text import visible_line

WAL_ROOM = 2 * 1024 * 1024
"""Bytes that the `-wal` is given ahead. A sync of blocks that are there already takes half the time."""

BUSY_SECONDS = 5.0
"""A reader may hold a lock for an instant while the file is opened."""

FRAME = 4096 + 24
"""Bytes of one page in the `-wal`."""

# A write that found no room. IOERR_WRITE is a quota or a limit, SHMSIZE the index beside the -wal.
NO_ROOM = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE})

_SCHEMA = "CREATE TABLE event (seq INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT"


def connected(path: Path, report: ChainReport, reserve: Reserve) -> tuple[sqlite3.Connection, bool]:
    """Connect; on a full disk with the room of the reserve. Returns whether that was needed."""
    low_space = False
    while True:
        try:
            connection = _connect(path)
        except sqlite3.DatabaseError as problem:
            if getattr(problem, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise _damaged(path, report.count, f"its header or pages are damaged: {problem}") from problem
            failure = translated(path, problem)
            if not isinstance(failure, JournalFull) or not reserve.free():
                raise failure from problem
            low_space = True
        else:
            _widen(path.with_name(path.name + "-wal"))
            return connection, low_space


def _connect(path: Path) -> sqlite3.Connection:
    """The one connection that writes and checkpoints."""
    connection = sqlite3.connect(
        f"file:{quote(str(path.absolute()))}?mode=rw",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=BUSY_SECONDS,
    )
    try:
        for setting in (
            "trusted_schema = OFF",
            "fullfsync = 1",  # macOS: a sync that reaches the disk
            "checkpoint_fullfsync = 1",
            "wal_autocheckpoint = 0",
            "synchronous = FULL",
        ):
            connection.execute(f"PRAGMA {setting}")
        mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
        connection.execute("SELECT max(seq) FROM event").fetchone()  # makes the -wal and the -shm
        if mode != "wal":
            raise JournalCorrupt(
                f"The header of {visible_line(str(path))} was altered: its mode is {visible_line(str(mode))}, not wal."
            )
    except BaseException:
        connection.close()
        raise
    return connection


def _widen(wal: Path) -> None:
    """Write zeros behind what the `-wal` holds: to SQLite they are no frames. Without room it grows as it is used."""
    with suppress(OSError):
        file = os.open(wal, os.O_WRONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(file).st_size
            if size < WAL_ROOM:
                os.pwrite(file, bytes(WAL_ROOM - size), size)
                os.fsync(file)
        finally:
            os.close(file)


def create(path: Path) -> None:
    """Make an empty journal under another name, sync it, and give it its name. A half-made one is made anew.

    Raises JournalCorrupt when there was one that is gone: SQLite would read its `-wal` into the new one.
    """
    left = [name for name in ("-wal", "-head") if path.with_name(path.name + name).exists()]
    if left:
        raise JournalCorrupt(
            f"The journal {visible_line(str(path))} is gone, but {' and '.join(path.name + name for name in left)} "
            f"beside it shows that there was one: put it back, or start a new run."
        )
    new = path.with_name(path.name + ".new")
    try:
        for leftover in (new, new.with_name(new.name + "-wal"), new.with_name(new.name + "-shm")):
            leftover.unlink(missing_ok=True)
        os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(new, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
            connection.execute(f"PRAGMA user_version = {FORMAT}")
            connection.execute(_SCHEMA)
        finally:
            connection.close()
        _sync(new)
        new.rename(path)
        _sync(path.parent)
    except (sqlite3.Error, OSError) as problem:
        raise translated(path, problem) from problem


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def verified(path: Path, run: str, *, accept_lost_end: bool) -> ChainReport:
    """Read the whole chain before anything is opened for writing. Raises JournalCorrupt with the place."""
    with JournalReader(path) as reader:
        report = reader.verify(run=run)
    if report.problem is None:
        return report
    if accept_lost_end and report.problem.lost_end:
        return ChainReport(report.count, report.head)
    raise _damaged(path, report.count, report.problem.sentence)


def _damaged(path: Path, sound: int, sentence: str) -> JournalCorrupt:
    return JournalCorrupt(
        f"The journal's chain is broken: {sentence}. Sound up to event {sound}; "
        f"the file was left as it is: {visible_line(str(path))}."
    )


def translated(path: Path, problem: Exception) -> JournalError:
    """What a failed write means to a person: JournalFull when room is what is missing, else JournalError."""
    where = visible_line(str(path.parent))
    code = getattr(problem, "sqlite_errorcode", 0)
    if code == sqlite3.SQLITE_FULL or getattr(problem, "errno", 0) in NO_ROOM_ERRNO or free_bytes(path.parent) < FRAME:
        return JournalFull(
            f"There is no room left for the journal under {where}, and no reserve: nothing more is done. "
            f"Free some room, then resume the run."
        )
    return JournalError(f"The journal under {where} cannot be written: {visible_line(str(problem))}.")
