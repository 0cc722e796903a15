"""Taking a Postgres primary out: close, stop, make it a standby for whoever starts it; and the way back of each.

Each act is guarded in its own call by who the cluster is; what has to hold on the other host, a gate reads before it.
"""

from dataclasses import replace

from cutover.checks import host as on_host
from cutover.checks import postgres, units
from cutover.checks.postgres import as_owner, ask, has_file, has_state, is_cluster, script
from cutover.model.databases import Database
from cutover.model.effects import Command, Guard, OnHost, Reply
from cutover.model.kind import Act, Gate, Probe, Scope
from cutover.model.lsn import show_lsn
from cutover.model.verdict import Probed, Verdict, failed, passed, unknown
from cutover.steps import unit_acts
from cutover.steps.postgres_acts import (
    Undo,
    act_on,
    all_went_well,
    effect_on,
    is_primary,
    nothing,
    place_of,
    repeated,
    role_in,
    role_reading,
    there_is,
)
from cutover.steps.unit_acts import root


def checkpoint(key: str, database: Database, scope: Scope, statement: str, undo: Undo = nothing) -> Act:
    """Write out what is dirty, so that the checkpoint of the stop is short."""
    title = f"checkpoint {database.key} on {database.host}"
    effect = effect_on(database, [script(database, statement)], scope, is_primary(database))
    return act_on(key, title, effect, repeated(database, scope, "a checkpoint does no harm twice"), False, undo)


def close(database: Database, scope: Scope) -> Act:
    """Reject every login but replication and the engine's own, end all other sessions, and mark the log."""
    mark = postgres.mark_file(database)
    commands = [
        as_owner("rm", "-f", mark),
        postgres.put_fence(database),
        script(database, postgres.CLOSE, into=mark, role=database.user, step=scope.step),
    ]
    reading = on_host.reading(
        database.host,
        (*on_host.AS_ROOT, "head", "-n", "1", database.hba),
        postgres.find_in(database, "cutover.mark"),
        timeout=scope.timeout,
    )

    def probe(reply: Reply, _: Reply | None) -> Probed:
        first, marked = postgres.lines_in(reply, 0), postgres.lines_in(reply, 1)
        if first is None or marked is None:
            return Probed("unknown", f"whether {database.key} is closed cannot be read on {database.host}")
        fenced = first == [postgres.FENCE_BEGIN]
        found = {2: "done", 0: "not_done"}.get(fenced + bool(marked), "partly")
        words = f"the hba file of {database.key} {'begins' if fenced else 'does not begin'} with the fence"
        return Probed(found, f"{words}, the log is {'' if marked else 'not '}marked")  # type: ignore[arg-type]

    title = f"close {database.key} on {database.host} to everybody else, and mark its log"
    effect = effect_on(database, commands, scope, is_primary(database))
    return act_on(
        "close", title, effect, Probe(effect=reading, judge=probe), True, lambda _: _open_again(database, scope)
    )


def _open_again(database: Database, scope: Scope) -> Act:
    commands = [
        postgres.lift_fence(database),
        script(database, postgres.RELOAD),
        as_owner("rm", "-f", postgres.mark_file(database)),
        Command(ask(database, postgres.IN_RECOVERY)),
    ]
    title = f"open {database.key} on {database.host} again"
    act = act_on("open", title, effect_on(database, commands, scope, is_cluster(database)), None, False, None)

    def judge(reply: Reply) -> Verdict:
        verdict = all_went_well(title, act.effect, reply)
        if verdict.passed and postgres.lines_in(reply, len(commands) - 1) != ["f"]:
            return failed(f"{title}: it is open, but a standby: it takes no writes")
        return verdict

    return replace(act, judge=judge, probe=repeated(database, scope, "opening does no harm twice"))


def stop(database: Database, other: Database, scope: Scope) -> Act:
    """Stop the primary cleanly and hold its unit down."""
    act = stopping("stop", database, scope, (has_file(database, "standby.signal", False),))
    start = unit_acts.stop(place_of(database), scope, "held").undo
    assert start is not None

    def undo(before: Reply | None) -> Act | None:
        again = start(before)
        if again is None or not isinstance(again.effect, OnHost):
            return again
        guarded = replace(again.effect, guards=is_cluster(database))
        return replace(again, effect=guarded, gate=not_writable(other, scope))

    return replace(act, before=units.read_unit(*place_of(database), scope.timeout), undo=undo)


def stopping(key: str, database: Database, scope: Scope, guards: tuple[Guard, ...] = (), *more: Command) -> Act:
    """Stop it, hold it down, and read how it ended. A stop that ends in any other state is a death, and is said so."""
    base = unit_acts.stop(place_of(database), scope, "held")
    assert isinstance(base.effect, OnHost)
    assert base.judge is not None
    assert base.probe is not None
    down, unit_probed = base.judge, base.probe.judge
    commands = (*base.effect.commands, *more, Command(postgres.control(database)))
    effect = replace(base.effect, commands=commands, guards=(*is_cluster(database), *guards))

    def judge(reply: Reply) -> Verdict:
        verdict = down(reply)
        if not verdict.passed:
            return verdict
        lines = postgres.lines_in(reply, len(commands) - 1)
        control = postgres.control_in("\n".join(lines)) if lines else None
        if control is None:
            return unknown(f"{base.title}: how it ended cannot be read from pg_controldata")
        return _ended_cleanly(database, control["Database cluster state"], control["Latest checkpoint location"])

    def probe(reply: Reply, before: Reply | None) -> Probed:
        unit, found = unit_probed(reply, before), postgres.stopped_in(reply, database)
        if found is None or unit.done != "done":
            return unit if unit.done != "done" else Probed("unknown", f"{base.title}: how it ended cannot be read")
        if not found.gone:
            return Probed("partly", f"{base.title}: {found.words}")
        ended = _ended_cleanly(database, found.state, show_lsn(found.final))
        return Probed("done" if ended.passed else "not_done", ended.because)

    reading = postgres.read_stopped(database, scope.timeout)
    return replace(base, key=key, effect=effect, judge=judge, probe=Probe(effect=reading, judge=probe), undo=nothing)


def _ended_cleanly(database: Database, state: str, final: str) -> Verdict:
    where = f"{database.key} on {database.host}"
    if state == postgres.SHUT_DOWN:
        return passed(f"{where} is held down and was stopped cleanly at {final}", final=final)
    return failed(
        f"{where} is down and was not stopped cleanly: pg_controldata says '{state}'. What it wrote last may be "
        "nowhere else, so nothing is promoted"
    )


def signal(database: Database, other: Database, scope: Scope) -> Act:
    """Whoever starts the cluster from now on gets a standby, that takes no write and stays as it is."""
    path = postgres.signal_file(database)
    guards = (
        *is_cluster(database),
        has_state(database, postgres.SHUT_DOWN),
        has_file(database, "postmaster.pid", False),
    )
    title = f"make {database.key} on {database.host} a standby for whoever starts it"
    effect = effect_on(database, [as_owner("touch", path), root("sync", path, database.directory)], scope, guards)

    def undo(_: Reply | None) -> Act:
        gone = effect_on(
            database, [as_owner("rm", "-f", path), root("sync", database.directory)], scope, is_cluster(database)
        )
        words = f"have {database.key} on {database.host} a primary again when it starts"
        return replace(
            act_on("unsignal", words, gone, there_is(database, "standby.signal", False, scope), False, None),
            gate=not_writable(other, scope),
        )

    return act_on("signal", title, effect, there_is(database, "standby.signal", True, scope), True, undo)


def not_writable(other: Database, scope: Scope) -> Gate:
    """The other cluster takes no writes: its unit is down, or it is a standby."""
    reading = role_reading(other, scope)

    def opens(reply: Reply) -> tuple[Guard, ...] | Verdict:
        role = role_in(reply, other)
        if role in ("down", "standby"):
            return ()
        where = f"{other.key} on {other.host}"
        if role == "primary":
            return failed(f"{where} is a running primary: there would be two")
        return unknown(f"whether {where} takes writes cannot be read")

    return Gate(effects=(reading,), opens=opens)


def take_out(database: Database, scope: Scope) -> Act:
    """Take a promoted cluster out again: stopped cleanly, held down, a standby for whoever starts it."""
    touch = as_owner("touch", postgres.signal_file(database))
    act = stopping("take-out", database, scope, (), touch)

    def opens(reply: Reply) -> tuple[Guard, ...] | Verdict:
        role = role_in(reply, database)
        where = f"{database.key} on {database.host}"
        if role == "standby":
            return passed(f"{where} was not promoted: it is a standby")
        return () if role in ("primary", "down") else unknown(f"whether {where} was promoted cannot be read")

    title = f"stop {database.key} on {database.host} and hold it down: it has to be made a standby anew"
    return replace(
        act, title=title, gate=Gate(effects=(role_reading(database, scope),), opens=opens), undo=None, before=None
    )


def refused(database: Database, scope: Scope) -> Act:
    """A write of our own, as the owner and past every rule for logins, finds no server."""
    title = f"prove that {database.key} on {database.host} accepts no write"
    guards = (*is_cluster(database), has_file(database, "postmaster.pid", False))
    effect = effect_on(database, [script(database, postgres.CANARY, step=scope.step)], scope, guards)

    def judge(reply: Reply) -> Verdict:
        if not reply.commands:
            return unknown(f"{title}: no answer")
        answer = reply.commands[0]
        if answer.exit == 0:
            return failed(f"{database.key} on {database.host} accepted a write although it is fenced")
        if answer.exit != 2 or b"connection to server" not in answer.stderr:
            return unknown(f"{title}: it was refused, but not because no server is there{on_host.said(answer)}")
        return passed(f"{database.key} on {database.host} accepts no write{on_host.said(answer)}")

    def probe(reply: Reply, _: Reply | None) -> Probed:
        lines = postgres.lines_in(reply, 0)
        found = "not_done" if lines == [] else "unknown"
        return Probed(found, f"that {database.key} accepts no write is to be proved again")  # type: ignore[arg-type]

    reading = on_host.reading(database.host, postgres.find_in(database, "postmaster.pid"), timeout=scope.timeout)
    act = act_on("refused", title, effect, Probe(effect=reading, judge=probe), False, nothing)
    return replace(act, judge=judge)
