"""Serves a simulated world to engines in other processes: they may be killed at any moment, the world goes on.

JSON lines over a Unix socket; every message has an id, many may be under way at once, and answers come as they are
ready. Verbs: `perform` and `connect` for engines; `history`, `dump` and `inject` for whoever looks after the world.
Each client has SSH connections of its own; the fleet is one.

    python -m cutover.simulator.server --socket S --source SOURCE.json
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from cutover.errors import NoRule
from cutover.model.effects import effect_from_json, reply_to_json
from cutover.model.plan import Source
from cutover.ports import Clock
from cutover.simulator.clock import ScaledClock
from cutover.simulator.faults import fault_from_json
from cutover.simulator.fleet import Fleet
from cutover.simulator.healthy import healthy
from cutover.simulator.remote import LINE_LIMIT
from cutover.simulator.world import Pace, SimWorld

Message = dict[str, Any]


class WorldServer:
    """One fleet, served at a socket."""

    def __init__(self, fleet: Fleet, clock: Clock, pace: Pace) -> None:
        """Time is `clock`'s. Others may change the fleet meanwhile, so the pace's naps should be short."""
        self._fleet = fleet
        self._clock = clock
        self._pace = pace
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def fleet(self) -> Fleet:
        """The fleet as it is now."""
        self._fleet.advance(self._clock.monotonic())
        return self._fleet

    async def start(self, socket: Path) -> None:
        """Listen at `socket`; one that a dead server left is replaced."""
        socket.unlink(missing_ok=True)  # noqa: ASYNC240 - no disk is slower than the world
        self._server = await asyncio.start_unix_server(self._serve, socket, limit=LINE_LIMIT)

    async def close(self) -> None:
        """Let go of every client."""
        if self._server:
            self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving = asyncio.current_task()
        assert serving
        self._keep(serving)
        world = SimWorld(self._fleet, self._clock, pace=self._pace)
        try:
            while line := await reader.readline():
                self._spawn(self._answer(world, json.loads(line), writer))
        except (OSError, ValueError, asyncio.CancelledError):
            pass  # the client is gone, or this server is; what it sent goes on without it
        finally:
            writer.close()

    async def _answer(self, world: SimWorld, message: Message, writer: asyncio.StreamWriter) -> None:
        answer = await self._obey(world, message)
        with suppress(OSError):
            writer.write(json.dumps({"id": message["id"], **answer}).encode() + b"\n")
            await writer.drain()

    async def _obey(self, world: SimWorld, message: Message) -> Message:
        match message["verb"]:
            case "perform":
                try:
                    return {"reply": reply_to_json(await world.perform(effect_from_json(message["effect"])))}
                except NoRule as problem:
                    return {"no_rule": str(problem)}
            case "connect":
                replies = await world.connect(message["hosts"])
                return {"replies": {name: reply_to_json(reply) for name, reply in replies.items()}}
            case "history":
                return {"history": [asdict(done) for done in self.fleet.history]}
            case "dump":
                return {"fleet": self.fleet.to_json()}
            case "inject":
                self.fleet.inject(fault_from_json(message["fault"]))
                return {"injected": True}
            case verb:
                return {"problem": f"there is no verb {verb!r}"}

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._keep(asyncio.create_task(work))

    def _keep(self, task: "asyncio.Task[None]") -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until stdin ends, so that no server outlives whoever started it."""
    parser = argparse.ArgumentParser(prog="python -m cutover.simulator.server", description=__doc__)
    parser.add_argument("--socket", type=Path, required=True, help="where to listen")
    start = parser.add_mutually_exclusive_group(required=True)
    start.add_argument("--source", type=Path, help="JSON of a plan's source: serve its healthy world")
    start.add_argument("--fleet", type=Path, help="JSON of a fleet, as `dump` gives it")
    parser.add_argument("--faults", type=Path, help="JSON list of faults")
    parser.add_argument("--speed", type=float, default=1.0, help="seconds of the world in one second")
    parser.add_argument("--round-trip", type=float, default=0.02, help="seconds to each host and back")
    given = parser.parse_args(argv)
    fleet = _planned(given.source) if given.source else Fleet.from_json(json.loads(given.fleet.read_text()))
    for fault in json.loads(given.faults.read_text()) if given.faults else []:
        fleet.inject(fault_from_json(fault))
    clock = ScaledClock(given.speed, start=fleet.now)
    pace = Pace(round_trip=given.round_trip, nap=0.1 * given.speed)
    with suppress(KeyboardInterrupt):
        asyncio.run(_until_stdin_ends(WorldServer(fleet, clock, pace), given.socket))


def _planned(source: Path) -> Fleet:
    from cutover.planning.planner import plan
    from cutover.steps import KINDS

    return healthy(plan(TypeAdapter(Source).validate_json(source.read_bytes()), KINDS))


async def _until_stdin_ends(server: WorldServer, socket: Path) -> None:
    await server.start(socket)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.close()


if __name__ == "__main__":
    main()
