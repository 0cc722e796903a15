"""What every journal does before it stores anything: give drafts their place, hold telemetry within bounds, tell.

An event gets its seq, its time and its link of the chain when it is recorded, not when it is written: the order of
recording is the order of the journal, and a draft that cannot be encoded raises where the mistake was made.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from cutover.errors import JournalError
from cutover.model.events import FORMAT, GENESIS, Draft, Event, Origin, digest, encode, utc_text
from cutover.ports import Clock

TELEMETRY_EVERY = 0.5
"""Seconds that telemetry waits for company before it is written."""

TELEMETRY_ROOM = 4 * 1024 * 1024
"""Bytes of telemetry that may wait. Beyond, new telemetry is dropped and counted in a `journal.dropped` event."""

DROPPED = "journal.dropped"

_log = logging.getLogger(__name__)

Observer = Callable[[Sequence[Event]], None]


class Stored(NamedTuple):
    """An event and the bytes that are stored for it."""

    event: Event
    data: bytes
    telemetry: bool


class Recorder(ABC):
    """The half of a journal that never touches storage."""

    def __init__(self, origin: Origin, clock: Clock, seq: int = 0, head: str = GENESIS) -> None:
        """Go on behind event `seq`, whose stored bytes have the digest `head`."""
        self.token = 0
        """Highest claim token of this engine start: the engine sets it, every later event carries it."""
        self.low_space = False
        """Whether the disk was found full: the reserve is spent and telemetry is dropped. The engine must hold."""
        self._origin = origin
        self._clock = clock
        self._seq = seq
        self._head = head
        self._waiting: list[Stored] = []
        self._telemetry_bytes = 0
        self._dropped: Counter[str] = Counter()
        self._observers: list[Observer] = []
        self._failure: BaseException | None = None
        self._timer: asyncio.Task[None] | None = None

    def record(self, *drafts: Draft) -> None:
        """Take drafts, in order, to be written with the next commit; all of them or, when one raises, none.

        Raises JournalError or JournalFull after a failed write, ValueError or TypeError for a body that is not JSON.
        """
        self._refuse_if_failed()
        kept, dropped = self._admit(drafts)
        made: list[Stored] = []
        seq, head = self._seq, self._head
        for draft in kept:
            made.append(self._stored(draft, seq + 1, head))
            seq, head = seq + 1, digest(made[-1].data)
        self._seq, self._head, self._dropped = seq, head, dropped
        self._waiting += made
        telemetry = sum(len(stored.data) for stored in made if stored.telemetry)
        if telemetry:
            self._telemetry_bytes += telemetry
            self._start_timer()

    def on_commit(self, observer: Observer) -> None:
        """Call `observer` with each group, in order, once written. One that raises is logged and detached.

        A group of nothing but telemetry is told of when it is written; it becomes durable with the next decision.
        """
        self._observers.append(observer)

    @abstractmethod
    async def commit(self) -> Sequence[Event]:
        """See `cutover.ports.Journal.commit`."""

    @abstractmethod
    async def flush_telemetry(self) -> None:
        """Write the telemetry that waits, without a sync. What was recorded behind a decision stays behind it."""

    def _stored(self, draft: Draft, seq: int, prev: str) -> Stored:
        origin = self._origin
        event = Event(
            v=FORMAT,
            run=origin.run,
            seq=seq,
            at_utc=utc_text(self._clock.utc()),
            mono=self._clock.monotonic(),
            boot_id=origin.boot_id,
            host=draft.host,
            actor=draft.actor,
            token=self.token,
            plan=origin.plan,
            tool=origin.tool,
            prev=prev,
            type=draft.type,
            step=draft.step,
            body=draft.body,
        )
        return Stored(event, encode(event), draft.telemetry)

    def _admit(self, drafts: Sequence[Draft]) -> tuple[list[Draft], Counter[str]]:
        """Split drafts into those that are kept and the new count of those dropped, marker included where it is due.

        Under flood the newest telemetry goes: what waits already has its place in the chain. Decisions always stay.
        """
        kept, dropped = list(drafts), self._dropped.copy()
        if self.low_space or self._telemetry_bytes >= TELEMETRY_ROOM:
            kept = [draft for draft in drafts if not _may_be_dropped(draft)]
            dropped.update(draft.type for draft in drafts if _may_be_dropped(draft))
        if kept and dropped:
            return [_marker(dropped), *kept], Counter()
        return kept, dropped

    def _record_marker(self) -> None:
        """At the end of the journal: say what was dropped since the last marker."""
        if self._dropped:
            marker, self._dropped = _marker(self._dropped), Counter()
            self.record(marker)

    def _take(self, *, telemetry_only: bool = False) -> list[Stored]:
        """Hand over what waits: everything, or the telemetry before the first decision."""
        end = len(self._waiting)
        if telemetry_only:
            end = next((place for place, stored in enumerate(self._waiting) if not stored.telemetry), end)
        taken, self._waiting = self._waiting[:end], self._waiting[end:]
        self._telemetry_bytes -= sum(len(stored.data) for stored in taken if stored.telemetry)
        return taken

    def _publish(self, events: Sequence[Event]) -> None:
        for observer in list(self._observers):
            try:
                observer(events)
            except Exception:
                _log.exception("an observer of the journal failed and was detached")
                self._observers.remove(observer)

    def _refuse_if_failed(self) -> None:
        if self._failure is not None:
            kind = type(self._failure) if isinstance(self._failure, JournalError) else JournalError
            raise kind(str(self._failure)) from self._failure

    def _start_timer(self) -> None:
        if self._timer is not None and not self._timer.done():
            return
        with suppress(RuntimeError):  # no loop runs: the next commit takes it along
            self._timer = asyncio.get_running_loop().create_task(self._flush_regularly())

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _flush_regularly(self) -> None:
        """Runs only while something waits, so that an idle run wakes nobody."""
        while self._waiting:
            await self._clock.sleep(TELEMETRY_EVERY)
            try:
                await self.flush_telemetry()
            except JournalError:
                return  # kept: the next record or commit raises it to somebody who can act on it


def _may_be_dropped(draft: Draft) -> bool:
    """Telemetry, but not the count of what was dropped."""
    return draft.telemetry and draft.type != DROPPED


def _marker(dropped: Counter[str]) -> Draft:
    return Draft(DROPPED, None, {"count": dropped.total(), "types": dict(sorted(dropped.items()))})
