"""The protocols between the engine and what surrounds it, on one page."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import datetime
from typing import Protocol

from cutover.model.effects import Effect, Reply
from cutover.model.events import Draft, Event

Output = Callable[[int, bytes], None]
"""Called with (stream 1 or 2, bytes) as a long command's output comes."""


class World(Protocol):
    """Where effects happen: hosts over SSH and HTTP, or the simulator. The engine cannot tell which."""

    async def perform(self, effect: Effect, output: Output | None = None) -> Reply:
        """Do or ask what `effect` says and return what was answered.

        Never raises for a fault of the world: a lost connection or a passed timeout is a Reply with outcome
        "unknown". Returns no later than the effect's timeout plus a small constant. Cancelling it leaves the
        outcome unknown; it undoes nothing.
        """
        ...

    async def connect(self, hosts: Iterable[str]) -> dict[str, Reply]:
        """Open and check the held connection to each host; one Reply each (`ok`, or refused with code and detail)."""
        ...

    async def close(self) -> None:
        """Let go of every connection. Commands under way go on at their hosts."""
        ...


class Clock(Protocol):
    """Time is an argument: nothing else in cutover reads a clock or sleeps."""

    def utc(self) -> datetime:
        """Now, as an aware datetime in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that only go forward; comparable within one engine start."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let `seconds` pass."""
        ...


class Journal(Protocol):
    """The append-only record of one run. Exactly one process writes it.

    token: the highest claim token of this engine start; every event recorded from then on carries it.
    """

    token: int

    def record(self, *drafts: Draft) -> None:
        """Take drafts, in order, to be written with the next commit. Nothing outside may learn of them before."""
        ...

    async def commit(self) -> Sequence[Event]:
        """Make everything recorded so far durable in one transaction (with what other tasks recorded meanwhile).

        Returns after the data is on disk. Telemetry recorded before goes into the same transaction, in order.
        A commit with nothing recorded costs nothing. Raises JournalFull or JournalError; after either nothing more
        can be written by this object. Shielded: a cancelled caller leaves the write to finish.
        """
        ...

    def on_commit(self, observer: Callable[[Sequence[Event]], None]) -> None:
        """Call `observer` with each batch, in order, once durable. An observer that raises is detached, not obeyed."""
        ...

    async def close(self) -> None:
        """Write what is left and let go of the file."""
        ...


class Reader(Protocol):
    """A read-only view of one run's journal."""

    def events(self, after: int = 0) -> list[Event]:
        """The events whose seq is greater than `after`, in order."""
        ...

    def follow(self, after: int = 0) -> AsyncIterator[Event]:
        """The events after `after`, and then those to come."""
        ...
