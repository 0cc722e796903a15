"""A whole move of a Postgres primary in the simulated world, and what must never be seen there."""

from __future__ import annotations

from contextlib import contextmanager

from cutover.simulator import postgres
from cutover.simulator.fleet import Fleet
from cutover.simulator.postgres import Cluster
from tests.engine.harness import Trial, plan_of

MOVE = """
title: move
sites: {basement: {db: [alice], ops: [olga]}, hetzner: {db: [nixie]}}
announcement: {waived: a test}
databases:
  old: {on: alice, unit: postgresql@15-main, name: app}
  new: {on: nixie, unit: postgresql@15-main, name: app}
steps:
  - nearly: {await_replication: {from: old, to: new, within: 1MB, for: 2s, timeout: 60s}}
  - ready: {ask: {question: "go?", arms: [soft]}}
  - fence: {fence_postgres: {database: old}}
  - last-byte: {await_replication: {from: old, to: new, exactly: true, timeout: 30s}}
  - promote: {promote_postgres: {database: new}}
  - way-back: {reattach_postgres: {database: old, to: new}}
  - look: {ask: {question: "all well?"}}
"""


def move(**options: object) -> Trial:
    return Trial(plan_of(MOVE), **options)  # type: ignore[arg-type]


def cluster(fleet: Fleet, name: str) -> Cluster:
    host, unit = fleet.databases[name]
    return fleet.hosts[host].clusters[unit]


class Watch:
    """S1, S2 and S12, looked at whenever anything has happened in the world."""

    def __init__(self) -> None:
        self.looks = 0
        self.promotions: list[str] = []
        self.roles: dict[tuple[int, str], str] = {}

    def look(self, fleet: Fleet) -> None:
        self.looks += 1
        clusters = {name: cluster(fleet, name) for name in fleet.databases}
        writing = [name for name, each in clusters.items() if each.writable]
        assert len(writing) <= 1, f"S1: {writing} are writable at {fleet.now}"
        for name, each in clusters.items():
            before = self.roles.get((id(fleet), name))
            if before == "standby" and each.running and each.role == "primary":
                self.promotions.append(name)
                for other in (other for key, other in clusters.items() if key != name):
                    self._may_be_promoted(each, other)
            self.roles[id(fleet), name] = each.role if each.running else ""

    @staticmethod
    def _may_be_promoted(new: Cluster, old: Cluster) -> None:
        timeline, fork = new.history[-1]
        assert not old.running, "S2: the old primary runs"
        assert old.state == "shut down", f"S2: it was not stopped cleanly: {old.state}"
        assert old.system_identifier == new.system_identifier, "S2: another cluster"
        assert timeline == old.checkpoint_timeline, "S2: another timeline"
        assert fork > old.checkpoint, f"S2: {fork:X} is not beyond {old.checkpoint:X}"


@contextmanager
def watched():
    """Look at the world after every event."""
    watch, flow = Watch(), Fleet._flow

    def flow_and_look(fleet: Fleet) -> None:
        flow(fleet)
        if fleet.databases:
            watch.look(fleet)

    Fleet._flow = flow_and_look  # type: ignore[method-assign]
    try:
        yield watch
    finally:
        Fleet._flow = flow  # type: ignore[method-assign]


def as_before(fleet: Fleet) -> None:
    """The old side serves, nothing of the move is left there, and the new side takes no writes."""
    old, new = cluster(fleet, "old"), cluster(fleet, "new")
    host = fleet.hosts[fleet.databases["old"][0]]
    assert old.running, "the old primary is down"
    assert old.role == "primary"
    assert not old.fenced
    assert old.open == old.clients > 0
    assert not new.writable
    assert not [path for path in host.files if "cutover" in path or path.endswith("standby.signal")]


def lost(fleet: Fleet) -> int:
    """Bytes that the old primary had and the new one has not."""
    old, new = cluster(fleet, "old"), cluster(fleet, "new")
    postgres.flow(fleet.hosts.values(), fleet.now)
    return max(0, old.end - new.end)
