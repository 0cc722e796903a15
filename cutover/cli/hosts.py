"""What `pin` and `preflight` ask the real hosts. Reads only, over verified connections."""

import asyncio
from collections.abc import Iterator

from cutover import wiring
from cutover.engine import judging
from cutover.errors import PinningFailed
from cutover.model.effects import ClaimHost, Reply
from cutover.model.kind import Check
from cutover.model.pins import Pins
from cutover.model.plan import Plan
from cutover.model.verdict import Verdict, failed, passed, unknown
from cutover.planning import pins
from cutover.ports import World
from cutover.transports.clock import RealClock

Found = tuple[str, str, Verdict]
"""The step (empty for what concerns the whole run), what was asked, the verdict."""

_TIMEOUT = 20.0


async def collect_pins(plan: Plan) -> Pins:
    """Find who the hosts of a plan are. Raises PinningFailed, naming every host that did not answer."""
    world = await wiring.open_world(plan, wiring.SSH, RealClock())
    try:
        replies = await world.connect(plan.hosts)
        lost = [f"{host}: {judging.sentence(reply)}" for host, reply in replies.items() if reply.outcome != "answered"]
        if lost:
            raise PinningFailed("\n".join(lost))
        return await pins.collect(world, plan)
    finally:
        await world.close()


async def preflight(plan: Plan) -> list[Found]:
    """Reach every host, see whether it could be claimed, and read every check; nothing is changed or claimed."""
    world = await wiring.open_world(plan, wiring.SSH, RealClock())
    try:
        replies = await world.connect(plan.hosts)
        reached = [host for host, reply in replies.items() if reply.outcome == "answered"]
        acted = [host for host in reached if plan.hosts[host].acted_upon]
        claims = await asyncio.gather(*(_claimable(world, plan, host) for host in acted))
        checks = [(step.name, check) for step in plan.steps for check in step.checks]
        verdicts = await asyncio.gather(*(_read(world, check) for _, check in checks))
    finally:
        await world.close()
    return [
        *_reached(replies),
        *(("", f"claim of {host}", verdict) for host, verdict in zip(acted, claims, strict=True)),
        *((step, check.title, verdict) for (step, check), verdict in zip(checks, verdicts, strict=True)),
    ]


def _reached(replies: dict[str, Reply]) -> Iterator[Found]:
    for host, reply in replies.items():
        good = reply.outcome == "answered"
        because = f"{host} is reached" if good else f"{host}: {judging.sentence(reply)}"
        yield "", f"way to {host}", passed(because) if good else failed(because)


async def _claimable(world: World, plan: Plan, host: str) -> Verdict:
    machine = plan.hosts[host].machine_id
    reply = await world.perform(ClaimHost(host=host, mode="show", owner="", timeout=_TIMEOUT, machine_id=machine))
    if reply.outcome == "unknown":
        return unknown(f"{host}: {judging.sentence(reply)}")
    if reply.outcome == "refused":
        return failed(f"{host}: {judging.sentence(reply)}")
    return failed(f"{host} is claimed by {reply.owner}") if reply.owner else passed(f"{host} is free to be claimed")


async def _read(world: World, check: Check) -> Verdict:
    return judging.checked(check, *await asyncio.gather(*map(world.perform, check.effects)))
