"""Virtual time jumps, and stands still for work outside the loop."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import timedelta

import pytest

from cutover.simulator.clock import EPOCH, LoopClock, ScaledClock, VirtualLoop


def run(coroutine):
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(coroutine)


def test_an_hour_passes_at_once_and_exactly():
    async def story():
        clock = LoopClock()
        await asyncio.gather(*(clock.sleep(3600 + n / 7) for n in range(100)))
        return clock.monotonic(), clock.utc()

    began = time.monotonic()
    seconds, utc = run(story())
    assert seconds == pytest.approx(3600 + 99 / 7)
    assert utc - EPOCH == timedelta(seconds=seconds)
    assert time.monotonic() - began < 20


def test_sleepers_wake_in_order():
    woken = []

    async def sleeper(seconds):
        await asyncio.sleep(seconds)
        woken.append(seconds)

    async def story():
        await asyncio.gather(*map(sleeper, [3, 1, 2, 86_400 * 40, 0.5]))

    run(story())
    assert woken == [0.5, 1, 2, 3, 86_400 * 40]


def test_work_in_an_executor_takes_no_virtual_time():
    async def story():
        async with asyncio.timeout(1):
            assert await asyncio.to_thread(lambda: time.sleep(0.05) or 5) == 5
        return asyncio.get_running_loop().time()

    assert run(story()) == 0


def test_work_of_a_thread_of_ones_own_can_be_waited_for():
    async def story():
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        threading.Timer(0.05, lambda: loop.call_soon_threadsafe(done.set_result, 7)).start()
        with loop.outside():
            async with asyncio.timeout(1):
                return await done

    assert run(story()) == 7


def test_waiting_for_nothing_is_an_error_and_no_hang():
    async def story():
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="nothing can ever happen again"):
        run(story())


def test_a_scaled_clock_is_faster():
    async def story():
        clock = ScaledClock(100, EPOCH, start=5)
        began = time.monotonic()
        await clock.sleep(5)
        assert time.monotonic() - began < 20
        assert 10 <= clock.monotonic() < 60
        assert clock.utc() >= EPOCH + timedelta(seconds=10)

    asyncio.run(story())
