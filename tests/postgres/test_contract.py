"""The same move, act by act, on real clusters and on simulated ones: every command answers alike in both.

What is compared is the exit and the output, with positions, identifiers and larger numbers taken out. What systemd
does is done by hand on both sides here; tests/lab holds that part.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from cutover.checks import postgres
from cutover.model.effects import Command, CommandReply, OnHost, Reply, sealed_text
from cutover.model.kind import Act, Scope
from cutover.simulator import postgres as simulated
from cutover.simulator import psql, rules
from cutover.simulator.host import Host
from cutover.steps import postgres_in, postgres_out
from cutover.steps.promote_postgres import slot_of
from cutover.steps.reattach_postgres import ReattachPostgres
from tests.postgres import clusters
from tests.postgres.clusters import Cluster, wait_until
from tests.steps.rendering import acts


class Simulated:
    """The pair as the simulated world has it: same paths, ports and identifiers."""

    def __init__(self, old: Cluster, new: Cluster) -> None:
        self.now = 0.0
        self.hosts = {each.key: Host(name=each.key, machine_id="a" * 32) for each in (old, new)}
        for each in (old, new):
            database, host = each.database, self.hosts[each.key]
            host.clusters[database.unit] = simulated.Cluster(
                unit=database.unit,
                address=f"{each.key}.example",
                port=database.port,
                name=database.name,
                directory=database.directory,
                config=database.config,
                hba=database.hba,
                socket=database.socket,
                system_identifier=old.system_identifier,
                follow="old.example" if each is new else "",
                slots={"new"} if each is old else set(),
            )
            host.directories.add(f"{database.config}/conf.d")
            host.files |= {database.hba: clusters.HBA, f"{database.directory}/PG_VERSION": "15\n"}
        self.hosts["new"].files[f"{new.database.directory}/standby.signal"] = ""
        # Both are at 127.0.0.1 on the real side: here an address names one of them, by its port.
        for host in self.hosts.values():
            next(iter(host.clusters.values())).address = "127.0.0.1"
        self.cluster("new").follow = "127.0.0.1"
        for key in ("old", "new"):
            self.start(key)

    def cluster(self, key: str) -> simulated.Cluster:
        return next(iter(self.hosts[key].clusters.values()))

    def flow(self) -> None:
        self.now += 1.0
        simulated.flow(self.hosts.values(), self.now)
        self.now += 1.0
        simulated.flow(self.hosts.values(), self.now)

    def start(self, key: str) -> None:
        simulated.started(self.hosts[key], self.cluster(key).unit, self.now)
        self.flow()

    def stop(self, key: str) -> None:
        simulated.stopped(self.hosts[key], self.cluster(key).unit, self.now)
        self.flow()

    def kill(self, key: str) -> None:
        simulated.died(self.hosts[key], self.cluster(key).unit)

    def run(self, key: str, command: Command) -> CommandReply:
        answer = rules.answer(self.hosts[key], command.argv, sealed_text(command.stdin), self.now)
        self.flow()
        return CommandReply(answer.exit, answer.stdout.encode(), answer.stderr.encode())

    def perform(self, effect: OnHost) -> Reply:
        replies: list[CommandReply] = []
        for guard in effect.guards:
            found = self.run(effect.host, Command(guard.argv)).stdout.decode().removesuffix("\n")
            if found != guard.want:
                return Reply(outcome="refused", code="guard", detail=found)
        for command in effect.commands:
            replies.append(self.run(effect.host, command))
            if replies[-1].exit:
                break
        return Reply(outcome="answered", commands=tuple(replies))


def shape(reply: Reply) -> list[str]:
    """What both must answer alike."""
    return [f"{reply.outcome} {reply.code}", *(_shape(command) for command in reply.commands)]


def _shape(command: CommandReply) -> str:
    return f"{command.exit} {_plain(command.stdout.decode())} {_plain(command.stderr.decode())}"


def _plain(text: str) -> str:
    text = re.sub(r"psql:<stdin>:\d+", "psql:<stdin>:N", text)
    text = re.sub(r"LISTEN .*", "LISTEN", text)
    text = re.sub(r"\b[0-9A-F]+/[0-9A-F]+\b", "LSN", text)
    return re.sub(r"\d{2,}", "N", text)


@pytest.fixture(scope="module")
def both(pair: tuple[Cluster, Cluster]) -> Both:
    return Both(*pair)


class Both:
    """Does the same on both sides, and compares."""

    def __init__(self, old: Cluster, new: Cluster) -> None:
        self.real = {"old": old, "new": new}
        self.sim = Simulated(old, new)
        self.old, self.new = old.database, new.database
        self.scope = Scope({}, step="fence", timeout=30.0, databases={"old": self.old, "new": self.new})

    def perform(self, effect: OnHost) -> Reply:
        """Perform it on both; returns what the real one answered."""
        there, here = clusters.perform(effect), self.sim.perform(effect)
        assert shape(here) == shape(there), effect.commands
        return there

    def act(self, act: Act) -> None:
        """Do it on both; it goes well, and its probe says so."""
        assert isinstance(act.effect, OnHost)
        reply = self.perform(act.effect)
        assert reply.ok, reply
        assert act.judge is None or act.judge(reply).passed
        if act.probe is not None and isinstance(act.probe.effect, OnHost):
            found = act.probe.judge(self.perform(act.probe.effect), None)
            assert found.done in ("done", "not_done"), found

    def read(self, key: str, *argv: str) -> Reply:
        return self.perform(OnHost(host=key, commands=(Command(argv),), timeout=10.0, reads=True))

    def guard(self, guard: postgres.Guard, key: str, *, holds: bool = True) -> None:
        said = self.read(key, *guard.argv).commands[0].stdout.decode().removesuffix("\n")
        assert (said == guard.want) == holds, (said, guard)

    def control(self, key: str, state: str, *, whole: bool = True) -> dict[str, str]:
        """What pg_controldata says on both; the simulated one says less, and nothing else."""
        argv = postgres.control(self.scope.database(key))
        there = clusters.run(argv)[1]
        here = self.sim.run(key, Command(argv)).stdout.decode()
        timeline = "Latest checkpoint's TimeLineID"  # after a promotion it is the old one, for a second or so
        lines = {line for line in _plain(here).splitlines() if whole or timeline not in line}
        assert lines <= set(_plain(there).splitlines())
        found = postgres.control_in(there)
        assert found is not None
        assert found["Database cluster state"] == state
        return found

    def do(self, key: str, what: str) -> None:
        """What systemd does."""
        getattr(self.real[key], what)()
        getattr(self.sim, what)(key)


def test_the_whole_move_answers_alike(both: Both) -> None:
    old, scope = both.old, both.scope
    _before(both)
    both.act(postgres_out.checkpoint("checkpoint", old, scope, postgres.TWO_CHECKPOINTS))
    closing = postgres_out.close(old, scope)
    both.act(closing)
    both.act(closing)  # twice does no harm
    assert clusters.run(("sudo", "-n", "cat", old.hba))[1] == both.sim.hosts["old"].files[old.hba]
    _closed_to_others(both)
    final = _stopped(both)
    _promoted(both, final)
    _followed(both)


def _before(both: Both) -> None:
    old, new = both.old, both.new
    both.control("old", "in production")
    both.control("new", "in archive recovery")
    for database, role in ((old, "f"), (new, "t")):
        for guard in postgres.is_cluster(database):
            both.guard(guard, database.key)
        both.guard(postgres.answers(database, postgres.IN_RECOVERY, role, ""), database.key)
        both.read(database.key, *postgres.find_in(database, "standby.signal"))
        both.read(database.key, *postgres.find_in(database, "postmaster.pid"))
        both.read(database.key, "ss", "-Hltn", f"sport = :{database.port}")
        both.read(database.key, "sudo", "-n", "head", "-n", "1", database.hba)
    both.read("old", *postgres.ask(old, postgres.BURDENS))
    both.read("old", *postgres.ask(old, postgres.SLOTS))
    facts = both.read("old", *postgres.ask(old, postgres.FACTS))
    assert facts.ok
    both.guard(postgres.has_file(old, "standby.signal", False), "old")
    both.guard(postgres.has_state(old, postgres.SHUT_DOWN), "old", holds=False)
    (other,) = postgres.is_cluster(replace(old, system_identifier="77"))
    both.guard(other, "old", holds=False)


def _closed_to_others(both: Both) -> None:
    """On the real side: a session that was open is gone, and none comes in but the engine's own."""
    port = both.real["old"].port
    where = ("psql", "-X", "-h", "127.0.0.1", "-p", str(port), "-d", "app", "-c", "SELECT 1")
    refused = clusters.run(("env", "PGPASSWORD=app", *where, "-U", "app"))
    assert refused[0] == 2
    assert "pg_hba.conf rejects connection" in refused[2]
    assert clusters.run(("env", f"PGPASSWORD={clusters.PASSWORD}", *where, "-U", "cutover"))[0] == 0


def _stopped(both: Both) -> dict[str, str]:
    old, new, scope = both.old, both.new, both.scope
    both.do("old", "stop")
    final = both.control("old", "shut down")
    both.guard(postgres.has_state(old, postgres.SHUT_DOWN), "old")
    both.guard(postgres.has_file(old, "postmaster.pid", False), "old")
    both.read("old", "ss", "-Hltn", f"sport = :{old.port}")
    both.read("old", "sudo", "-n", "-u", "postgres", "cat", postgres.mark_file(old))
    both.act(postgres_out.signal(old, new, scope))
    refused = postgres_out.refused(old, scope)
    assert isinstance(refused.effect, OnHost)
    assert refused.judge is not None
    assert refused.judge(both.perform(refused.effect)).passed
    return final


def _promoted(both: Both, final: dict[str, str]) -> None:
    old, new, scope = both.old, both.new, both.scope
    canary = postgres_in.accepted(new, scope)
    assert isinstance(canary.effect, OnHost)
    assert both.perform(canary.effect).code == "guard"  # a standby
    unguarded = OnHost(host="new", commands=canary.effect.commands, timeout=10.0)
    assert both.perform(unguarded).commands[0].exit == 3
    ended = postgres.Stopped(None, final, False, False, True, None)  # type: ignore[arg-type]
    both.guard(postgres.caught_up(new, ended)[0], "new")
    promote = postgres_in.promote(new, old, scope)
    both.act(promote)
    assert isinstance(promote.effect, OnHost)
    assert both.perform(promote.effect).commands[0].exit == 3  # recovery is not in progress
    for act in (postgres_in.slot(new, slot_of(old), scope), canary):
        both.act(act)
        both.act(act)
    both.read("new", *postgres.ask(new, postgres.SLOTS))
    assert both.read("new", *postgres.find_in(new, "standby.signal")).commands[0].stdout == b""


def _followed(both: Both) -> None:
    old = both.old
    kind = ReattachPostgres(database="old", to="new")
    follow, checkpoint, _ = acts(kind.unfold(both.scope))
    both.act(follow)
    both.act(checkpoint)
    both.do("old", "start")
    real = both.real["new"]
    wait_until(lambda: real.sql("SELECT state FROM pg_stat_replication") == "streaming")
    both.sim.flow()
    assert both.sim.cluster("old").streaming
    both.guard(postgres.answers(old, postgres.IN_RECOVERY, "t", ""), "old")
    level = "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn = pg_current_wal_lsn()"
    wait_until(lambda: real.sql(level) == "1")
    both.do("old", "stop")
    both.control("old", "shut down in recovery")
    both.guard(postgres.has_state(old, postgres.SHUT_DOWN), "old", holds=False)
    both.do("old", "start")
    wait_until(lambda: real.sql(level) == "1")
    _taken_back(both, checkpoint)


def _taken_back(both: Both, checkpoint: Act) -> None:
    """The new primary is stopped while the old one follows; the old one has all of it, and becomes the primary."""
    both.sim.flow()
    both.do("new", "stop")
    final = both.control("new", "shut down")
    ended = postgres.Stopped(None, final, False, False, True, None)  # type: ignore[arg-type]
    both.guard(postgres.caught_up(both.old, ended)[0], "old")
    assert checkpoint.undo is not None
    promote = checkpoint.undo(None)
    assert promote is not None
    both.act(promote)
    reopen = postgres_out.close(both.old, both.scope).undo
    assert reopen is not None
    opened = reopen(None)
    assert opened is not None
    both.act(opened)
    for cluster in (both.real["old"], both.sim.hosts["old"]):
        text = Path(both.old.hba).read_text() if isinstance(cluster, Cluster) else cluster.files[both.old.hba]
        assert text == clusters.HBA
    both.do("old", "kill")
    both.control("old", "in production", whole=False)


def test_every_script_that_is_sent_has_a_rule() -> None:
    texts = [value for name, value in vars(postgres).items() if isinstance(value, str) and value.endswith(";\n")]
    assert set(texts) == set(psql.SCRIPTS)
