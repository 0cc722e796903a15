"""What the simulator's tests share: a host like the lab's, and a world to call it in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from cutover.model.effects import Claim, ClaimHost, Command, Look, OnHost, Receipt, Reply
from cutover.simulator import systemd
from cutover.simulator.clock import LoopClock, VirtualLoop
from cutover.simulator.faults import Fault
from cutover.simulator.fleet import Fleet
from cutover.simulator.host import Host, Unit
from cutover.simulator.world import Pace, SimWorld

T = TypeVar("T")
MACHINE = "a" * 32


def sample_host(name: str = "yakko") -> Host:
    """A web host as the lab has it."""
    lib = "/lib/systemd/system"
    units = [
        Unit(name="app-web.service", enabled=True, type="notify", restart="always"),
        Unit(name="app-worker.service", enabled=True, restart="always", fragment=f"{lib}/app-worker.service"),
        Unit(
            name="app-cron.timer", enabled=True, triggers="app-cron.service", every=3,
            fragment=f"{lib}/app-cron.timer",
        ),
        Unit(name="app-cron.service", installable=False, type="oneshot", fragment=f"{lib}/app-cron.service"),
    ]  # fmt: skip
    host = Host(name=name, machine_id=MACHINE, units={unit.name: unit for unit in units})
    host.files = {unit.fragment: f"[Unit]\nDescription={unit.name}\n" for unit in units}
    for unit in units:
        if unit.enabled:
            systemd.bring_up(host, unit)
    return host


def fleet(*faults: Fault, names: tuple[str, ...] = ("yakko",)) -> Fleet:
    """Sample hosts, and what is to go wrong."""
    return Fleet(hosts={name: sample_host(name) for name in names}, faults=list(faults))


@dataclass
class Engine:
    """As much of an engine as a test needs: it claims, acts and looks."""

    world: SimWorld
    owner: str = "me"
    token: int = 1

    async def claim(self, mode: str = "claim", host: str = "yakko", token: int = 0, timeout: float = 15) -> Reply:
        return await self.world.perform(
            ClaimHost(host=host, mode=mode, owner=self.owner, token=token, timeout=timeout)  # type: ignore[arg-type]
        )

    async def act(
        self, act: str, *lines: str, attempt: int = 1, host: str = "yakko", timeout: float = 60, **more: object
    ) -> Reply:
        return await self.world.perform(self.effect(act, *lines, attempt=attempt, host=host, timeout=timeout, **more))

    def effect(
        self, act: str, *lines: str, attempt: int = 1, host: str = "yakko", timeout: float = 60, **more: object
    ) -> OnHost:
        commands = tuple(Command(tuple(line.split())) for line in lines)
        fields = {"claim": Claim(self.owner, self.token), "receipt": Receipt("run", act, attempt), **more}
        return OnHost(host=host, commands=commands, timeout=timeout, **fields)  # type: ignore[arg-type]

    async def look(self, act: str, attempt: int = 1, host: str = "yakko") -> Reply:
        return await self.world.perform(Look(host=host, receipt=Receipt("run", act, attempt), timeout=10))

    async def read(self, *lines: str, host: str = "yakko", timeout: float = 10) -> Reply:
        commands = tuple(Command(tuple(line.split())) for line in lines)
        return await self.world.perform(OnHost(host=host, commands=commands, timeout=timeout, reads=True))


def simulate(fleet: Fleet, story: Callable[[Engine], Awaitable[T]], pace: Pace | None = None) -> T:
    """Play a story in virtual time, on connections that are open and a host that is claimed."""

    async def play() -> T:
        engine = Engine(SimWorld(fleet, LoopClock(), pace=pace))
        await engine.world.connect(fleet.hosts)
        await engine.claim()
        return await story(engine)

    with asyncio.Runner(loop_factory=lambda: VirtualLoop(fleet.now)) as runner:
        return runner.run(play())
