"""The fleet is data: it can be copied, written down, and plays the same story the same way."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time

from cutover.simulator import faults
from cutover.simulator.faults import At
from cutover.simulator.fleet import Fleet
from cutover.simulator.world import Pace
from tests.simulator.base import fleet, simulate

NAMES = ("yakko", "wakko", "dot")


def eventful() -> Fleet:
    """A world in the middle of things: acts under way, a timer, a cut link, a full disk, a late request."""
    world = fleet(
        faults.CutLink("wakko", At(act="long"), 30.0),
        faults.FillDisk("dot", 2.0),
        faults.RestartByItself("yakko", "app-worker", after=20.0),
        faults.ArriveLate(At(host="yakko", act="late"), 15.0),
        faults.Reboot("dot", 25.0, 10.0),
        names=NAMES,
    )

    async def story(engine):
        for name in NAMES[1:]:
            await engine.claim(host=name)
        async with asyncio.TaskGroup() as group:
            for name in NAMES:
                lines = ("sleep 10", "sudo -n systemctl stop app-web", "sleep 10", "touch /tmp/x")
                group.create_task(engine.act("long", *lines, host=name, timeout=5))
                group.create_task(engine.act("late", "sudo -n systemctl stop app-worker", host=name, timeout=5))

    simulate(world, story)
    return world


def finish(world: Fleet) -> str:
    for second in range(int(world.now), 60):
        world.advance(second)
    return world.digest()


def test_a_copy_goes_its_own_way():
    world = eventful()
    copy, before = world.copy(), world.digest()
    assert copy.digest() == before
    end = finish(copy)
    assert world.digest() == before
    assert end != before
    assert finish(world) == end


def test_a_fleet_that_was_written_down_goes_on_as_it_would_have():
    world = eventful()
    again = Fleet.from_json(world.to_json())
    assert again == world
    assert finish(again) == finish(world)


def test_it_does_not_matter_how_often_one_looks():
    one, other = eventful(), eventful()
    one.advance(60)
    for tenth in range(600):
        other.advance(tenth / 10)
    other.advance(60)
    assert one.digest() == other.digest()


def test_a_world_is_the_same_under_any_hash_seed():
    program = (
        "from tests.simulator.test_fleet import eventful, finish; import hashlib;"
        "print(hashlib.sha256(finish(eventful()).encode()).hexdigest())"
    )
    digests = set()
    for seed in ("0", "1", "4711"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        digests.add(done.stdout)
    assert len(digests) == 1


def test_jitter_comes_from_the_generator_alone():
    import random

    from cutover.simulator.clock import LoopClock, VirtualLoop
    from cutover.simulator.world import SimWorld
    from tests.simulator.base import Engine

    def play(seed: int) -> float:
        async def story() -> float:
            engine = Engine(SimWorld(fleet(), LoopClock(), pace=Pace(jitter=0.5), rng=random.Random(seed)))
            for _ in range(5):
                await engine.read("true")
            return asyncio.get_running_loop().time()

        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            return runner.run(story())

    assert play(1) == play(1)
    assert play(1) != play(2)


def test_many_acts_on_many_hosts_are_quick():
    names = tuple(f"web{n}" for n in range(100))

    async def story(engine):
        for name in names:
            await engine.claim(host=name)
        for number in range(10):
            acts = (engine.act(f"a{number}", "sleep 60", "true", host=name, timeout=100) for name in names)
            replies = await asyncio.gather(*acts)
            assert all(reply.ok for reply in replies)

    began = time.process_time()
    world = fleet(names=names)
    simulate(world, story)
    assert len(world.history) == 2000
    assert time.process_time() - began < 10


def test_copies_are_cheap():
    world = eventful()
    began = time.process_time()
    for _ in range(200):
        world.copy()
    assert time.process_time() - began < 1
