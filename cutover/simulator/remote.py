"""The World port in an engine's process, for a world that lives in another one and outlives it."""

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cutover.errors import NoRule
from cutover.model.effects import Effect, Reply, Wait, effect_to_json, reply_from_json
from cutover.ports import Clock, Output

LINE_LIMIT = 64 * 1024 * 1024
"""Bytes of one message at most."""


class RemoteWorld:
    """A client of `server.WorldServer`. It connects when it is first used; a lost server makes every answer unknown."""

    def __init__(self, socket: Path, clock: Clock | None = None) -> None:
        """socket: where the server listens. clock: for `Wait`; without it the server's clock serves."""
        self._socket = socket
        self._clock = clock
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._opening = asyncio.Lock()
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._outputs: dict[int, Output] = {}
        self._number = 0

    async def perform(self, effect: Effect, output: Output | None = None) -> Reply:
        """As the port says; raises NoRule when a command has no answer in that world."""
        if isinstance(effect, Wait) and self._clock:
            await self._clock.sleep(effect.seconds)
            return Reply(outcome="answered", seconds=effect.seconds)
        answer = await self._ask({"verb": "perform", "effect": effect_to_json(effect)}, output)
        if answer is None:
            return Reply(outcome="refused", code="unreachable", detail="the simulated world is not there")
        if "no_rule" in answer:
            raise NoRule(answer["no_rule"])
        return _reply(answer)

    async def connect(self, hosts: Iterable[str]) -> dict[str, Reply]:
        """As the port says."""
        names = list(hosts)
        answer = await self._ask({"verb": "connect", "hosts": names})
        if answer is None or "replies" not in answer:
            gone = Reply(outcome="refused", code="unreachable", detail="the simulated world is not there")
            return dict.fromkeys(names, gone)
        return {name: reply_from_json(reply) for name, reply in answer["replies"].items()}

    async def close(self) -> None:
        """As the port says."""
        if self._writer:
            self._writer.close()
        if self._reading:
            await self._reading
        self._writer = self._reading = None

    async def control(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """What tests ask: `history`, `dump` (the fleet), `inject` (fault=...). Raises ConnectionError."""
        answer = await self._ask({"verb": verb, **arguments})
        if answer is None or "lost" in answer:
            raise ConnectionError("the simulated world is not there")
        return answer

    async def _ask(self, message: dict[str, Any], output: Output | None = None) -> dict[str, Any] | None:
        """Send a message and wait for its answer: None if it cannot be sent, {"lost": ...} if no answer came."""
        writer = await self._open()
        if writer is None:
            return None
        self._number += 1
        number = self._number
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        if output:
            self._outputs[number] = output
        try:
            writer.write(json.dumps({"id": number, **message}).encode() + b"\n")
            answer: dict[str, Any] = await future
            return answer
        finally:
            self._waiting.pop(number, None)
            self._outputs.pop(number, None)

    async def _open(self) -> asyncio.StreamWriter | None:
        async with self._opening:
            if self._writer is None or self._writer.is_closing():
                try:
                    reader, self._writer = await asyncio.open_unix_connection(self._socket, limit=LINE_LIMIT)
                except OSError:
                    return None
                self._reading = asyncio.create_task(self._read(reader, self._writer))
            return self._writer

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                self._take(json.loads(line))
        except (OSError, ValueError):
            pass
        finally:
            writer.close()
            for future in self._waiting.values():
                if not future.done():
                    future.set_result({"lost": True})

    def _take(self, answer: dict[str, Any]) -> None:
        number = answer["id"]
        future = self._waiting.get(number)
        if future and not future.done():
            reply = _reply(answer) if "reply" in answer else Reply(outcome="unknown")
            if output := self._outputs.get(number):
                for command in reply.commands:
                    for stream, data in ((1, command.stdout), (2, command.stderr)):
                        if data:
                            output(stream, data)
            future.set_result(answer)


def _reply(answer: dict[str, Any]) -> Reply:
    if "reply" not in answer:
        return Reply(outcome="unknown", detail="the connection to the simulated world was lost")
    return reply_from_json(answer["reply"])
