"""The real world: effects performed over SSH and HTTP. The other one is the simulator."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from secrets import token_hex

from cutover.errors import SecretUnavailable
from cutover.model.databases import Database
from cutover.model.effects import ClaimHost, Effect, Guard, Http, Look, OnHost, Query, Reply, Wait
from cutover.ports import Clock, Output
from cutover.transports.answers import MarkedStream, read_reply, wrapper_reply
from cutover.transports.http import HttpClient
from cutover.transports.line import Line
from cutover.transports.postgres import Databases
from cutover.transports.secrets import Secrets
from cutover.transports.ssh import Call, Jumps, Target, Unsent
from cutover.transports.ssh_config import config_paths
from cutover.transports.streaming import Tail, end_of
from cutover.transports.wrapper import render_act, render_claim, render_look, render_read

__all__ = ["RealWorld", "Target"]

# What the wrapper says beside the output it passes on, and what a chatty login file may say before it.
_TALK = 1 << 18
# Streams of a receipt's commands: a look does not say beforehand how many there were.
_LOOK_ROOM = 128


class RealWorld:
    """Implements ports.World over held SSH connections and HTTP."""

    def __init__(
        self,
        targets: Mapping[str, Target],
        secrets: Secrets,
        clock: Clock,
        ssh_config: str | Path | None = None,
        databases: Mapping[str, Database] | None = None,
    ) -> None:
        """ssh_config: read instead of $CUTOVER_SSH_CONFIG or ~/.ssh/config."""
        paths = config_paths(ssh_config)
        self._jumps = Jumps(paths)
        self._lines = {name: Line(target, paths, self._jumps) for name, target in targets.items()}
        self._databases = Databases(databases or {}, secrets)
        self._secrets = secrets
        self._clock = clock
        self._http: HttpClient | None = None

    async def perform(self, effect: Effect, output: Output | None = None) -> Reply:
        """As ports.World says. Secrets are filled in here and scrubbed from everything that comes back."""
        started = self._clock.monotonic()
        reply = self._secrets.scrub_reply(await self._perform(effect, output))
        return replace(reply, seconds=self._clock.monotonic() - started)

    async def connect(self, hosts: Iterable[str]) -> dict[str, Reply]:
        """As ports.World says; refused with code unreachable, login, host-key, identity or shell."""
        await self._secrets.load()
        names = list(dict.fromkeys(hosts))
        return dict(zip(names, await asyncio.gather(*map(self._connect, names)), strict=True))

    async def close(self) -> None:
        """As ports.World says."""
        await self._databases.close()
        await asyncio.gather(*(line.close() for line in self._lines.values()))
        await self._jumps.close()
        if self._http is not None:
            await self._http.close()

    async def _connect(self, host: str) -> Reply:
        started = self._clock.monotonic()
        try:
            line = self._line(host)
            await line.connection()
            await asyncio.gather(*(held.open(line) for held in self._databases.on(host)))
            reply = Reply(outcome="answered")
        except Unsent as problem:
            reply = Reply(outcome="refused", code=problem.code, detail=problem.detail)
        return replace(reply, seconds=self._clock.monotonic() - started)

    async def _perform(self, effect: Effect, output: Output | None) -> Reply:
        match effect:
            case Wait(seconds=seconds):
                await self._clock.sleep(seconds)
                return Reply(outcome="answered")
            case Http():
                self._http = self._http or HttpClient(self._secrets)
                return await self._http.perform(effect)
        try:
            match effect:
                case OnHost(reads=True):
                    return await self._read(effect)
                case Query():
                    host = self._databases.host_of(effect.database)
                    return await self._databases.perform(effect, self._line(host or f"the database {effect.database}"))
                case OnHost():
                    return await self._act(effect, output)
                case Look() | ClaimHost():
                    return await self._ask(effect)
        except SecretUnavailable as problem:
            return Reply(outcome="refused", code="secret", detail=str(problem))
        except Unsent as problem:
            return Reply(outcome="refused", code=problem.code, detail=problem.detail)
        except ValueError as problem:
            return Reply(outcome="refused", code="bad-request", detail=str(problem))

    def _line(self, host: str) -> Line:
        if host not in self._lines:
            raise Unsent("unreachable", f"{host} is no host of this plan")
        return self._lines[host]

    async def _unseal(self, effect: OnHost) -> list[str]:
        try:
            async with asyncio.timeout(effect.timeout):
                return [await self._secrets.unseal(command.stdin) for command in effect.commands]
        except TimeoutError:
            raise SecretUnavailable(f"a secret was not read within {effect.timeout:g} s") from None

    async def _read(self, effect: OnHost, beside: bool = False) -> Reply:
        line = self._line(effect.host)
        effect = _identified(effect, line.target)
        nonce = token_hex(8)
        text = render_read(effect, await self._unseal(effect), nonce)
        out, err = MarkedStream(nonce, effect.cap), MarkedStream(nonce, effect.cap)
        call = Call(text, lambda stream, data: (out if stream == 1 else err).feed(data))
        try:
            async with asyncio.timeout(effect.timeout):
                ending = await line.run(call, beside=beside)
        except TimeoutError:
            return _late(effect, call)
        return read_reply(effect, out, err, ending)

    async def _act(self, effect: OnHost, output: Output | None) -> Reply:
        directory = self._line(effect.host).target.state_directory
        nonce = token_hex(8)
        text = render_act(effect, await self._unseal(effect), nonce, directory)
        room = 2 * effect.cap * len(effect.commands)
        if output is None:
            return await self._wrapped(effect, text, nonce, room)
        tail = Tail(effect, directory, partial(self._read, beside=True), output, self._secrets, self._clock)
        following = asyncio.create_task(tail.follow())
        try:
            reply = await self._wrapped(effect, text, nonce, room)
        finally:
            await end_of(following)
        tail.finish(reply)
        return reply

    async def _ask(self, effect: Look | ClaimHost) -> Reply:
        directory = self._line(effect.host).target.state_directory
        nonce = token_hex(8)
        if isinstance(effect, ClaimHost):
            return await self._wrapped(effect, render_claim(effect, nonce, directory), nonce, 0)
        return await self._wrapped(effect, render_look(effect, nonce, directory), nonce, _LOOK_ROOM * effect.cap)

    async def _wrapped(self, effect: OnHost | Look | ClaimHost, text: bytes, nonce: str, room: int) -> Reply:
        kept = {1: bytearray(), 2: bytearray()}
        limits = {1: room + _TALK, 2: _TALK}

        def keep(stream: int, data: bytes) -> None:
            kept[stream] += data[: limits[stream] - len(kept[stream])]

        call = Call(text, keep)
        try:
            async with asyncio.timeout(effect.timeout):
                ending = await self._line(effect.host).run(call)
        except TimeoutError:
            return _late(effect, call)
        return wrapper_reply(effect, bytes(kept[1]), bytes(kept[2]), nonce, ending)


def _identified(effect: OnHost, target: Target) -> OnHost:
    """A reading effect for a machine: a pinned one was checked when its connection was opened, others are now."""
    if effect.machine_id is None or effect.machine_id == target.machine_id:
        return effect
    says = f"{effect.host} is not the machine that was asked for"
    if target.machine_id is not None:
        raise Unsent("identity", f"{says}: it is {target.machine_id}, not {effect.machine_id}")
    return replace(effect, guards=(Guard(("cat", "/etc/machine-id"), effect.machine_id, says), *effect.guards))


def _late(effect: OnHost | Look | ClaimHost, call: Call) -> Reply:
    late = f"{effect.host} did not answer within {effect.timeout:g} s"
    if call.sent:
        return Reply(outcome="unknown", detail=late)
    return Reply(outcome="refused", code="unreachable", detail=f"{late}, and nothing was sent")
