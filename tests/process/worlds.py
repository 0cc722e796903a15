"""Simulated worlds for engines in other processes, served by a thread of the tests: they outlive every engine."""

import asyncio
from collections.abc import Coroutine
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

from cutover.model.plan import Plan
from cutover.simulator.clock import ScaledClock
from cutover.simulator.fleet import Fleet
from cutover.simulator.healthy import healthy
from cutover.simulator.server import WorldServer
from cutover.simulator.world import Pace

PACE = Pace(round_trip=0.02, connect=1.0, nap=0.02)


class World(NamedTuple):
    """One world and the socket at which engines find it."""

    socket: str
    server: WorldServer


class Worlds:
    """Serves worlds until it is closed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._number = count(1)
        self._open: list[World] = []
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="worlds", daemon=True)
        self._thread.start()

    def serve(self, plan: Plan) -> World:
        """A new healthy world of this plan."""
        socket = self._directory / f"world-{next(self._number)}"
        world = World(str(socket), WorldServer(healthy(plan), ScaledClock(), PACE))
        self._do(world.server.start(socket))
        self._open.append(world)
        return world

    def fleet(self, world: World) -> Fleet:
        """A copy of the world as it is now."""

        async def look() -> Fleet:
            return world.server.fleet.copy()

        return self._do(look())

    def close(self) -> None:
        for world in self._open:
            self._do(world.server.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)
