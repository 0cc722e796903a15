"""A journal in memory, for the simulator and for tests: the same promises, inline, without threads or files.

A crash is a hook that raises: `before_commit` loses the group, `after_commit` keeps it and loses the news of it.
"""

from collections.abc import AsyncIterator, Callable, Sequence

from cutover.errors import JournalCorrupt, JournalError
from cutover.journal.chain import verify
from cutover.journal.recorder import Recorder
from cutover.model.events import Event, Origin, decode
from cutover.ports import Clock

Hook = Callable[[int], None]
"""Called with the number of the commit (from 1, per object; groups of telemetry alone do not count)."""


class MemoryJournal(Recorder):
    """`cutover.ports.Journal`. After a hook raised, or after `close`, nothing more can be recorded."""

    def __init__(self, origin: Origin, clock: Clock) -> None:
        """An empty journal. `stored` holds the bytes of each event, in order: what would be on disk."""
        super().__init__(origin, clock)
        self.stored: list[bytes] = []
        self.before_commit: Hook | None = None
        self.after_commit: Hook | None = None
        self.commits = 0

    @classmethod
    def resume(cls, stored: Sequence[bytes], origin: Origin, clock: Clock) -> "MemoryJournal":
        """Go on from what another one stored, verified as a file would be. Raises JournalCorrupt with the place."""
        report = verify(enumerate(stored, start=1), run=origin.run)
        if report.problem is not None:
            raise JournalCorrupt(f"The journal's chain is broken: {report.problem.sentence}.")
        journal = cls(origin, clock)
        journal.stored = list(stored)
        journal._seq, journal._head = report.count, report.head
        return journal

    async def commit(self) -> Sequence[Event]:
        """See `cutover.ports.Journal.commit`. Does not suspend. What a hook raises goes to the caller."""
        self._refuse_if_failed()
        if not self._waiting:
            return ()
        return self._write(telemetry_only=False)

    async def flush_telemetry(self) -> None:
        """See `Recorder.flush_telemetry`. Does not suspend; does nothing once the journal is dead."""
        if self._failure is None:
            self._write(telemetry_only=True)

    async def close(self) -> None:
        """Write what is left. Closing a dead journal writes nothing."""
        self._stop_timer()
        if self._failure is None:
            self._record_marker()
            await self.commit()
            self._failure = JournalError("The journal is closed.")

    def events(self, after: int = 0) -> list[Event]:
        """The stored events whose seq is greater than `after`, as a reader of the file would see them."""
        return [decode(data) for data in self.stored[after:]]

    async def follow(self, after: int = 0) -> AsyncIterator[Event]:
        """The stored events after `after`, and those to come until the journal is closed or dead."""
        while True:
            ended = self._failure is not None
            for event in self.events(after):
                after = event.seq
                yield event
            if ended:
                return
            await self._clock.sleep(0.05)

    def _write(self, *, telemetry_only: bool) -> Sequence[Event]:
        group = self._take(telemetry_only=telemetry_only)
        if not group:
            return ()
        decided = any(not stored.telemetry for stored in group)
        self.commits += decided
        try:
            if decided and self.before_commit is not None:
                self.before_commit(self.commits)
            self.stored += [stored.data for stored in group]
            if decided and self.after_commit is not None:
                self.after_commit(self.commits)
        except BaseException as crash:
            self._failure = crash
            self._stop_timer()
            raise
        events = [stored.event for stored in group]
        self._publish(events)
        return events
