"""Clocks for worlds that are not real: an event loop whose time jumps, and a clock that runs faster than the sun."""

import asyncio
import selectors
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

EPOCH = datetime(2030, 1, 1, 20, 0, tzinfo=UTC)
"""When simulated runs begin, unless they say otherwise."""

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in which waiting takes no time: when nothing is ready, time jumps to the next timer.

    For `asyncio.Runner(loop_factory=VirtualLoop)`. Work given to an executor (`asyncio.to_thread`) takes no virtual
    time: the loop really waits for it before time goes on. Anything else outside the loop (sockets, pipes, threads of
    one's own) does not hold time up unless it is wrapped in `outside`, and so has no place here. When nothing is
    ready, no timer is set and no work is under way, nothing can ever happen again: that raises RuntimeError instead
    of hanging for ever.
    """

    def __init__(self, start: float = 0.0) -> None:
        """Begin at `start` seconds, as `time` will tell them."""
        self._now = start
        self._outside = 0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        """Virtual seconds."""
        return self._now

    def jump(self, seconds: float) -> None:
        """Let time go on; only the selector calls this."""
        self._now += seconds

    @contextmanager
    def outside(self) -> Iterator[None]:
        """While this is open, work outside the loop is under way that will wake it: time stands still meanwhile."""
        self._outside += 1
        try:
            yield
        finally:
            self._outside -= 1

    @property
    def waits_outside(self) -> bool:
        """Whether work outside the loop is under way."""
        return self._outside > 0

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> "asyncio.Future[T]":
        """As in any loop; virtual time stands still until it is done."""
        future: asyncio.Future[T] = super().run_in_executor(executor, func, *args)
        self._outside += 1
        future.add_done_callback(self._came_back)
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ARG002 - 3.12 has it
        """As in any loop: the executor's threads end first."""
        with self.outside():
            await super().shutdown_default_executor()

    def _came_back(self, _future: "asyncio.Future[Any]") -> None:
        self._outside -= 1


class _JumpingSelector(selectors.DefaultSelector):
    """Waits for nothing outside, unless the loop has outside work under way."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout == 0:
            return []  # something is ready already; outside work may be late by one turn, not for ever
        ready = super().select(None if self._loop.waits_outside else 0)
        if ready:
            return ready
        if timeout is None:
            raise RuntimeError("nothing can ever happen again: every task waits, and no timer is set")
        self._loop.jump(timeout)
        return []


class LoopClock:
    """The Clock port by the running loop's time: virtual where the loop is."""

    def __init__(self, epoch: datetime = EPOCH) -> None:
        """`epoch` is the wall clock at the loop's second 0."""
        self._epoch = epoch

    def utc(self) -> datetime:
        """The epoch and the loop's seconds."""
        return self._epoch + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        """The loop's seconds."""
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        """Let `seconds` of the loop pass."""
        await asyncio.sleep(seconds)


class ScaledClock:
    """Real time, `speed` times as fast: for a demo that a person can watch, and for a world served to processes."""

    def __init__(self, speed: float = 1.0, epoch: datetime | None = None, start: float = 0.0) -> None:
        """Begin at `epoch` (default: now) and at `start` seconds."""
        self._speed = speed
        self._start = time.monotonic() - start / speed
        self._epoch = epoch or datetime.now(UTC)

    def utc(self) -> datetime:
        """The epoch and the scaled seconds since."""
        return self._epoch + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        """Scaled seconds since this clock was made."""
        return (time.monotonic() - self._start) * self._speed

    async def sleep(self, seconds: float) -> None:
        """Let `seconds` of this clock pass."""
        await asyncio.sleep(seconds / self._speed)
