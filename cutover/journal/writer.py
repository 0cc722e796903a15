"""A thread that does what it is given, in order: a stalling disk holds up the thread, not the event loop.

A queue and a future: half the latency of a pool with one worker, inside every decision of the run.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")


class Writer:
    """Works until `stop`. A daemon thread: what it has not finished, nobody was told of."""

    def __init__(self) -> None:
        """Start the thread."""
        self._work: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        Thread(target=self._run, name="journal", daemon=True).start()

    async def call(self, work: Callable[[], T]) -> T:
        """Do `work` on the thread and return, or raise, what it does. Cancelling the caller does not stop it."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def done() -> None:
            result: Any = None
            error: BaseException | None = None
            try:
                result = work()
            except BaseException as problem:
                error = problem
            with suppress(RuntimeError):  # the loop has ended meanwhile: nobody waits
                loop.call_soon_threadsafe(_settle, future, result, error)

        self._work.put(done)
        return await future

    def post(self, work: Callable[[], None]) -> None:
        """Do `work`, which raises nothing, behind all else; nobody waits for it."""
        self._work.put(work)

    def stop(self) -> None:
        """End the thread when all it was given is done."""
        self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()


def _settle(future: asyncio.Future[T], result: T, error: BaseException | None) -> None:
    if future.cancelled():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
