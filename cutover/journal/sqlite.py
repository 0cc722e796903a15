"""The journal in a file: SQLite in WAL mode, one connection that writes, on a thread of its own.

Theory of operation
- `record` only buffers. `commit` hands everything recorded so far, by whichever task, to the writer as one
  transaction; commits that come while one is under way share the next. A write runs in a task of its own, so a
  cancelled caller does not stop it.
- A group with a decision is written with `synchronous=FULL`: one fdatasync of the `-wal`. A group of telemetry alone is
  written with NORMAL, which syncs nothing; the next decision's sync covers it, since both are in the same file.
- The `-wal` is moved into the main file (a checkpoint, which syncs both) by this connection only, behind a decision and
  after it was acknowledged. Telemetry alone is checkpointed only after it filled 32 MiB, so that a week of polling
  does not fill the disk.
- SQLite takes a torn `-wal` as far as its checksums hold: a clean prefix. All else (a cut or altered main file, a lost
  `-wal`) is refused by the chain and the head before the file is opened for writing (`cutover.journal.file`).
"""

import asyncio
import getpass
import logging
import os
import socket
import sqlite3
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from cutover.errors import JournalError
from cutover.journal.chain import ChainReport, Head
from cutover.journal.file import FRAME, NO_ROOM, WAL_ROOM, connected, create, translated, verified
from cutover.journal.head import HeadFile
from cutover.journal.lock import Lock
from cutover.journal.recorder import Recorder, Stored
from cutover.journal.reserve import Reserve
from cutover.journal.writer import Writer
from cutover.model.events import Event, Origin, digest, utc_text
from cutover.ports import Clock

CHECKPOINT_AFTER = WAL_ROOM * 3 // 4
"""Bytes of `-wal`, about, that are moved into the main file behind a decision; then it is filled from its start."""

CHECKPOINT_TELEMETRY_AFTER = 32 * 1024 * 1024
"""The same while there is nothing but telemetry."""

T = TypeVar("T")

_log = logging.getLogger(__name__)


class SqliteJournal(Recorder):
    """`cutover.ports.Journal` over a file. Make it with `open`; use it from one event loop."""

    def __init__(
        self,
        path: Path,
        origin: Origin,
        clock: Clock,
        connection: sqlite3.Connection,
        lock: Lock,
        reserve: Reserve,
        report: ChainReport,
        threaded: bool,
    ) -> None:
        """Take over what `open` has locked and verified."""
        super().__init__(origin, clock, report.count, report.head)
        self.on_low_space: Callable[[], None] | None = None
        """Called once, in the loop, when the disk was found full and the reserve was freed: the engine must hold.

        Where that happened while opening, `low_space` says so from the start, and this is called at the first commit.
        """
        self.path = path
        self.commits = 0
        """Transactions with a decision in them."""
        self._lock = lock
        self._reserve = reserve
        self._connection = connection
        self._head_file = HeadFile(path)
        self._thread = Writer() if threaded else None
        self._turn = asyncio.Lock()
        self._next: asyncio.Task[Sequence[Event]] | None = None
        self._current: asyncio.Task[Sequence[Event]] | None = None
        self._synchronous = ""
        self._behind = 0
        self._told = False
        self._closed = False

    @classmethod
    def open(
        cls,
        path: Path,
        origin: Origin,
        clock: Clock,
        *,
        threaded: bool = True,
        owner: str | None = None,
        reserve: bool = True,
        accept_lost_end: bool = False,
    ) -> "SqliteJournal":
        """Lock, verify and open the journal at `path`, or make it. Blocks: call it before the run's loop is busy.

        threaded: write on a thread of its own. owner: what a second comer is told, user@machine by default.
        reserve: False goes on without room for a full disk. accept_lost_end: a person has been told that durable
        events are missing from the end, and goes on from what is there.

        Raises EngineRunning, JournalFull (no room for the reserve or the file), JournalCorrupt with the place, and
        JournalError when it cannot be opened, is of a newer format, or is another run's.
        """
        lock = Lock.acquire(
            path.with_name("lock"), owner=owner or _me(), boot_id=origin.boot_id, since=utc_text(clock.utc())
        )
        try:
            kept = Reserve(path.with_name("reserve"))
            if reserve:
                kept.create()
            if not path.exists():
                create(path)
            report = verified(path, origin.run, accept_lost_end=accept_lost_end)
            connection, low_space = connected(path, report, kept)
            journal = cls(path, origin, clock, connection, lock, kept, report, threaded)
            journal.low_space = low_space
            return journal
        except BaseException:
            lock.release()
            raise

    async def commit(self) -> Sequence[Event]:
        """See `cutover.ports.Journal.commit`. Returns the events of the transaction that holds the caller's."""
        self._refuse_if_failed()
        task = self._current
        if self._waiting:
            self._next = task = self._next or _own_task(self._write_next())
        return await asyncio.shield(task) if task is not None else ()

    async def flush_telemetry(self) -> None:
        """See `Recorder.flush_telemetry`. Raises like `commit`."""
        self._refuse_if_failed()
        if self._waiting and self._waiting[0].telemetry:
            await asyncio.shield(_own_task(self._write_telemetry()))

    def free_reserve(self) -> bool:
        """Give the 16 MiB back to the file system; whether they were still there."""
        return self._reserve.free()

    async def renew_reserve(self) -> None:
        """After somebody made room: keep the reserve again and take telemetry again. Raises JournalFull when not."""
        await self._on_thread(self._reserve.create)
        self.low_space = self._told = False

    async def close(self) -> None:
        """Write what is left, move it into the main file and let go of everything, after a failure too.

        Raises JournalError or JournalFull when what was left could not be written. Twice is once.
        """
        if not self._closed:
            self._closed = True
            await asyncio.shield(_own_task(self._close()))

    async def _close(self) -> None:
        self._stop_timer()
        try:
            if self._failure is None:
                self._record_marker()
                await self.commit()
        finally:
            async with self._turn:
                self._failure = self._failure or JournalError("The journal is closed.")
                await self._on_thread(self._release)
            if self._thread is not None:
                self._thread.stop()

    async def _write_next(self) -> Sequence[Event]:
        async with self._turn:
            self._current, self._next = self._next, None
            try:
                return await self._write(self._take())
            finally:
                self._current = None

    async def _write_telemetry(self) -> Sequence[Event]:
        async with self._turn:
            return await self._write(self._take(telemetry_only=True))

    async def _write(self, group: list[Stored]) -> Sequence[Event]:
        self._refuse_if_failed()
        if not group:
            return ()
        durable = any(not stored.telemetry for stored in group)
        try:
            await self._on_thread(lambda: self._store(group, durable=durable))
        except asyncio.CancelledError:
            self._failure = JournalError("The event loop ended while the journal was being written.")
            raise
        except Exception as problem:  # whatever it was: the group is lost, and what came after it would leave a gap
            self._failure = translated(self.path, problem)
            raise self._failure from problem
        self.commits += durable
        events = [stored.event for stored in group]
        self._publish(events)
        self._tell_low_space()
        self._checkpoint_if_due(durable=durable)
        return events

    def _store(self, group: list[Stored], *, durable: bool) -> None:
        """On the writer's thread: one transaction. When there is no room, once more with what the reserve frees."""
        try:
            self._insert(group, durable=durable)
        except sqlite3.Error as problem:
            if getattr(problem, "sqlite_errorcode", 0) not in NO_ROOM or not self._reserve.free():
                raise
            self.low_space = True
            self._insert(group, durable=durable)
        if durable:
            last = group[-1]
            self._head_file.write(Head(last.event.seq, digest(last.data)))

    def _insert(self, group: list[Stored], *, durable: bool) -> None:
        execute = self._connection.execute
        synchronous = "FULL" if durable else "NORMAL"
        if synchronous != self._synchronous:
            execute(f"PRAGMA synchronous = {synchronous}")
            self._synchronous = synchronous
        try:
            execute("BEGIN IMMEDIATE")
            self._connection.executemany(
                "INSERT INTO event VALUES (?, ?)", ((stored.event.seq, stored.data) for stored in group)
            )
            execute("COMMIT")
        except sqlite3.Error:
            if self._connection.in_transaction:
                with suppress(sqlite3.Error):
                    execute("ROLLBACK")
            raise
        self._behind += sum(len(stored.data) for stored in group) + FRAME

    def _checkpoint_if_due(self, *, durable: bool) -> None:
        if self._behind < (CHECKPOINT_AFTER if durable else CHECKPOINT_TELEMETRY_AFTER):
            return
        self._behind = 0
        if self._thread is None:
            self._checkpoint()
        else:
            self._thread.post(self._checkpoint)

    def _checkpoint(self) -> None:
        """On the writer's thread. Without room nothing is lost: it stays in the `-wal`. Else: trust nothing more."""
        try:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except sqlite3.Error as problem:
            if getattr(problem, "sqlite_errorcode", 0) not in NO_ROOM:
                self._failure = self._failure or translated(self.path, problem)

    def _tell_low_space(self) -> None:
        if self.low_space and not self._told:
            self._told = True
            try:
                if self.on_low_space is not None:
                    self.on_low_space()
            except Exception:
                _log.exception("telling of the full disk failed")

    def _release(self) -> None:
        with suppress(sqlite3.Error):  # a checkpoint without room: the next opener takes the -wal as it is
            self._connection.close()
        self._head_file.close()
        self._lock.release()

    async def _on_thread(self, work: Callable[[], T]) -> T:
        return work() if self._thread is None else await self._thread.call(work)


def _own_task(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """A task that outlives its callers; that nobody was left to hear of its failure is no news: it is kept."""
    task = asyncio.get_running_loop().create_task(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task


def _me() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
