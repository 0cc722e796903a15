"""The engine over a farm of sshd, with nothing to do but to look: one reading effect on every host, the journal on."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, ClassVar

from benchmarks import rehearsal
from benchmarks.farm import PORT, USER, Farm
from cutover.checks.host import reading
from cutover.engine.engine import Engine
from cutover.journal.sqlite import SqliteJournal
from cutover.model.effects import Reply
from cutover.model.events import Event, Origin
from cutover.model.kind import Check, Kind, Scope, Selectors, Stage
from cutover.model.pins import HostPins, Pins
from cutover.model.plan import Plan, Source
from cutover.model.run_state import RunState, fold
from cutover.model.verdict import Verdict, failed, passed
from cutover.planning import pins, planner
from cutover.transports.clock import RealClock
from cutover.transports.secrets import Secrets
from cutover.transports.world import RealWorld, Target

if TYPE_CHECKING:
    from benchmarks.contenders import Laps

COMMAND = ("cat", "/etc/machine-id")


class Look(Kind):
    """Read something on every host."""

    name: ClassVar[str] = "look"

    on: Selectors
    """Where."""

    def unfold(self, scope: Scope) -> tuple[Stage, ...]:
        """Nothing is done."""
        return ()

    def checks(self, scope: Scope) -> tuple[Check, ...]:
        """One reading effect a host."""
        return tuple(
            Check(key=f"look.{host}", title=f"{host} answers", host=host, effect=reading(host, COMMAND), judge=_judge)
            for host in scope.hosts(self.on)
        )


def _judge(reply: Reply) -> Verdict:
    return passed("it answers") if reply.ok else failed("it says no")


def plan_for(farm: Farm) -> Plan:
    """A pinned plan of one step that looks at every host of the farm."""
    hosts = {f"h{number}": host for number, host in enumerate(farm.addresses)}
    machine = Path("/etc/machine-id").read_text().strip()
    keys = zip(hosts, farm.host_keys, strict=True)
    pinned = Pins(version=1, hosts={name: HostPins(machine_id=machine, host_keys=(key,)) for name, key in keys})
    reached = {name: {"ssh": host, "user": USER, "port": PORT} for name, host in hosts.items()}
    runbook = {
        "title": "Look at every host",
        "announcement": {"waived": "a measurement"},
        "sites": {"here": {"all": list(hosts)}},
        "steps": [{"look-at-all": {"look": {"on": "here"}}}],
    }
    source = Source(
        file="look.yaml",
        runbook=json.dumps(runbook),
        pins=pins.written(pinned),
        inventory=json.dumps({"hosts": reached}),
        inventory_file="hosts.yaml",
    )
    return planner.plan(source, {"look": Look})


def _targets(plan: Plan) -> dict[str, Target]:
    return {
        host.name: Target(host.name, f"{host.user}@{host.destination}:{host.port}", host.host_keys, host.machine_id)
        for host in plan.hosts.values()
    }


async def drive(farm: Farm, rounds: int, laps_from: "Callable[[], Laps]") -> "Laps":
    """Cold: from the engine's start until every verdict is durable. Then rounds of the same over what is held."""
    plan = plan_for(farm)
    checks = [(step, check) for step in plan.steps for check in step.checks]
    clock = RealClock()
    origin = Origin(rehearsal.RUN, "boot", plan.hash, "benchmarks")
    with TemporaryDirectory(prefix="looking-", dir=Path.cwd()) as directory:
        path = Path(directory) / "journal.db"
        state = await _created(SqliteJournal.open(path, origin, clock), plan)

        def saw(events: Sequence[Event]) -> None:
            if any(event.type == "run.moved" and event.body["to"] == "running" for event in events):
                laps.lap()

        laps = laps_from()
        journal = SqliteJournal.open(path, origin, clock)
        journal.on_commit(saw)
        world = RealWorld(_targets(plan), Secrets(), clock, farm.ssh_config)
        engine = Engine(plan, world, journal, clock, state, rehearsal.start())
        final = await engine.run()
        assert final.status == "done", final.status
        laps.restart()
        for _ in range(rounds):
            assert not await engine.read_checks(checks)
            await journal.commit()
            laps.lap()
        await world.close()
        await journal.close()
    return laps


async def _created(journal: SqliteJournal, plan: Plan) -> RunState:
    """The run is there before its engine starts, as after `cutover run`."""
    journal.record(rehearsal.created(plan))
    state = fold(await journal.commit())
    await journal.close()
    return state
