"""The read-only view of a journal's file: for screens, streams, audits, and for the writer before it writes.

It never creates, changes or locks out anything, beside a live writer as after its death.
- a `-shm` is there (a writer lives, or died without closing): SQLite opens it read-only; if nobody lives behind it,
  SQLite builds its index of the `-wal` in memory;
- neither `-shm` nor `-wal` (closed cleanly): the file is all there is, opened as immutable;
- a `-wal` without `-shm` (copied from elsewhere): an index would have to be created, so a private copy is read.
The last two are looked at anew for every read, since an engine may start at any moment.
(Within one process, close a reader before opening the writer: SQLite has them share one view of the `-shm`, which would
then be read-only for both.)
"""

import shutil
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import quote

from cutover.errors import JournalCorrupt, JournalError
from cutover.journal.chain import Chain, ChainReport, Problem, Row, verify
from cutover.journal.head import read_head
from cutover.model.events import FORMAT, Event, decode
from cutover.model.text import visible_line
from cutover.ports import Clock

APPLICATION = 0x63757430
"""SQLite's application_id of a journal: "cut0"."""

POLL = 0.05
"""Seconds between two looks for new events."""


class JournalReader:
    """`cutover.ports.Reader` over a file. Sees what is committed, nothing else."""

    def __init__(self, path: Path, clock: Clock | None = None) -> None:
        """Read the journal at `path`; `clock` is needed by `follow` only. Raises JournalError when there is none."""
        self.path = path
        self._clock = clock
        self._connection: sqlite3.Connection | None = None
        self._lasting = False
        self._seen: tuple[tuple[int, int], ...] = ()
        if not path.is_file():
            raise JournalError(f"There is no journal at {visible_line(str(path))}.")

    def events(self, after: int = 0) -> list[Event]:
        """The events whose seq is greater than `after`, in order, each linked to the one before.

        Raises JournalCorrupt with the place where they do not follow from each other, JournalError for a file that
        is no journal or has a newer format.
        """
        return list(self.each(after))

    def each(self, after: int = 0) -> Iterator[Event]:
        """As `events`, one at a time: a fold of a long journal takes less time when it need not hold all of it."""
        for seq, data in self._linked(after):
            yield _decoded(seq, data)

    def first(self) -> Event | None:
        """The event that the journal begins with, without reading on. Raises what `events` raises."""
        return next(self.each(), None)

    async def follow(self, after: int = 0) -> AsyncIterator[Event]:
        """The events after `after`, then those to come, seen within `POLL` seconds. Raises what `events` raises."""
        if self._clock is None:
            raise ValueError("following a journal needs a clock")
        version = None
        while True:
            if (current := self._version()) != version:
                version = current
                for event in self.events(after):
                    after = event.seq
                    yield event
            await self._clock.sleep(POLL)

    def verify(self, *, run: str | None = None) -> ChainReport:
        """Check the whole chain, and that it reaches as far as was once durable (see `cutover.journal.head`).

        Memory does not grow with the journal. Never raises JournalCorrupt: the report says what is wrong.
        """
        head = read_head(self.path)  # before the rows: a live writer can only have added some since
        try:
            report = verify(self._rows(0), run=run, head=head)
            if report.ok and (said := self._structure()) != "ok":
                return ChainReport(report.count, report.head, Problem(report.count, f"its pages are damaged: {said}"))
        except JournalCorrupt as problem:
            return ChainReport(0, "0" * 64, Problem(1, str(problem)))
        return report

    def close(self) -> None:
        """Let go of the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> "JournalReader":
        """Close it at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the file."""
        self.close()

    def _linked(self, after: int) -> Iterator[Row]:
        """The rows behind `after`; the row at `after` is read too, for the hash that the next one must carry."""
        chain = Chain(max(0, after - 1), None) if after else Chain()
        for seq, data in self._rows(after):
            problem = chain.broken_by(seq, data)
            if problem is not None:
                raise JournalCorrupt(f"The journal's chain is broken: {problem.sentence}.")
            if seq > after:
                yield seq, data

    def _rows(self, since: int) -> Iterator[Row]:
        """The rows from `since` on. What SQLite cannot read is JournalCorrupt, with the last event it could."""
        last = 0
        try:
            for seq, data in self._open().execute("SELECT seq, bytes FROM event WHERE seq >= ? ORDER BY seq", (since,)):
                yield seq, data
                last = seq
        except sqlite3.Error as problem:
            self.close()
            raise _unreadable(self.path, problem, last) from problem

    def _structure(self) -> str:
        """SQLite's own check of its pages: it sees damage outside of the rows, which the next write would spread."""
        try:
            return str(_text(self._open().execute("PRAGMA quick_check(1)").fetchone()[0]))
        except sqlite3.Error as problem:
            self.close()
            return str(problem)

    def _version(self) -> object:
        """Something cheap that differs whenever there may be new events."""
        if self._lasting and self._connection is not None:
            try:
                return self._connection.execute("PRAGMA data_version").fetchone()[0]
            except sqlite3.Error:
                self.close()
        return self._files()

    def _open(self) -> sqlite3.Connection:
        """The connection to read from. The writer may close the journal at any moment, and take its `-wal` away."""
        while True:
            try:
                return self._open_as_it_is()
            except (sqlite3.OperationalError, FileNotFoundError):
                self.close()
                if self._files() == self._seen:  # nothing has changed meanwhile: it really cannot be opened
                    raise

    def _open_as_it_is(self) -> sqlite3.Connection:
        files = self._files()
        if self._connection is not None and (files[2][0] if self._lasting else files == self._seen):
            return self._connection
        self.close()
        self._seen = files
        if not self.path.exists():
            raise JournalError(f"The journal {visible_line(str(self.path))} is gone.")
        if files[0][0] == 0:  # SQLite would take it for new, and delete the -wal that has the events
            raise JournalCorrupt(f"The journal {visible_line(str(self.path))} is empty: its content was lost.")
        self._lasting = files[2][0] > 0
        if self._lasting:
            self._connection = _connect(self.path, "mode=ro&readonly_shm=1")
        elif files[1][0] == 0:
            self._connection = _connect(self.path, "mode=ro&immutable=1")
        else:
            self._connection = self._open_copy()
        self._check_format(self._connection)
        return self._connection

    def _open_copy(self) -> sqlite3.Connection:
        """Read a copy. Its directory is gone at once; the open files last as long as the connection."""
        with tempfile.TemporaryDirectory(prefix="cutover-") as directory:
            copy = Path(directory) / "journal.db"
            for suffix in ("", "-wal"):
                shutil.copyfile(self._beside(suffix), copy.with_name(copy.name + suffix))
            connection = _connect(copy, "mode=ro")
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            return connection

    def _check_format(self, connection: sqlite3.Connection) -> None:
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if (application, version) == (APPLICATION, FORMAT):
            return
        where = visible_line(str(self.path))
        first = connection.execute("SELECT bytes FROM event ORDER BY seq LIMIT 1").fetchone()
        if first is not None and isinstance(first[0], bytes) and first[0].startswith(b'{"v":%d,' % FORMAT):
            raise JournalCorrupt(
                f"The header of {where} was altered: it says format {version}, while event 1 has format {FORMAT}."
            )
        if application != APPLICATION:
            raise JournalError(f"{where} is not a journal of cutover.")
        raise JournalError(
            f"{where} was written by a newer cutover (format {version}); this version reads format {FORMAT}."
        )

    def _files(self) -> tuple[tuple[int, int], ...]:
        """Size and time of the main file, the `-wal` and the `-shm`: zeros for one that is not there."""
        return tuple(_stat(self._beside(suffix)) for suffix in ("", "-wal", "-shm"))

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name + suffix)


def _connect(path: Path, options: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{quote(str(path.absolute()))}?{options}", uri=True, isolation_level=None, check_same_thread=False
    )
    connection.text_factory = bytes  # damaged text must reach the chain, not a decoder
    # Lets a file whose pages are partly missing be read as far as they go, so that a refusal can name the place.
    connection.execute("PRAGMA writable_schema = ON")
    return connection


def _decoded(seq: int, data: bytes) -> Event:
    try:
        return decode(data)
    except (ValueError, KeyError, TypeError) as problem:
        raise JournalCorrupt(f"The journal's chain is broken: event {seq} cannot be decoded: {problem}.") from problem


def _unreadable(path: Path, problem: sqlite3.Error, last: int) -> JournalError:
    reached = f"the last event that can be read is {last}" if last else "not one event can be read"
    said = f"{visible_line(str(path))} is damaged behind event {last}: {visible_line(str(problem))}; {reached}"
    if getattr(problem, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_BUSY):
        return JournalError(f"{visible_line(str(path))} cannot be opened: {problem}.")
    return JournalCorrupt(said)


def _stat(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def _text(value: object) -> object:
    return visible_line(value.decode("utf-8", "backslashreplace")) if isinstance(value, bytes) else value
