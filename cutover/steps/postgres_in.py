"""Making a Postgres primary: promote, keep the log for the old one, prove that it takes writes."""

from dataclasses import replace

from cutover.checks import host as on_host
from cutover.checks import postgres
from cutover.checks.postgres import Stopped, ask, is_cluster, script
from cutover.model.databases import Database
from cutover.model.effects import Guard, Reply
from cutover.model.kind import Act, Gate, Probe, Scope
from cutover.model.verdict import Probed, Verdict, failed, unknown
from cutover.steps.postgres_acts import (
    act_on,
    effect_on,
    is_primary,
    nothing,
    repeated,
    role_is,
)
from cutover.steps.postgres_out import take_out


def out_of_the_way(stopped: Database, reply: Reply) -> Stopped | Verdict:
    """The cluster as it ended, when it was stopped cleanly and whoever starts it gets no second primary; else why not.

    A cluster that died while it stopped is never out of the way: nobody can prove what else it had written.
    """
    found = postgres.stopped_in(reply, stopped)
    where = f"{stopped.key} on {stopped.host}"
    if found is None:
        return unknown(f"how {where} ended cannot be read")
    if not found.fenced:
        held = "" if found.unit.hold == "held" else "; it is not held down"
        signalled = "" if found.signal else "; it has no standby.signal"
        return failed(f"{where} is not provably out of the way: {found.words}{held}{signalled}")
    wanted = stopped.system_identifier
    if wanted not in (None, found.system_identifier):
        return failed(f"{where} is cluster {found.system_identifier}, not the pinned {wanted}")
    return found


def promote(database: Database, other: Database, scope: Scope) -> Act:
    """Promote it, once the other was stopped cleanly and this one has replayed all of it: proved in the same call."""

    def opens(reply: Reply) -> tuple[Guard, ...] | Verdict:
        found = out_of_the_way(other, reply)
        return found if isinstance(found, Verdict) else postgres.caught_up(database, found)

    gate = Gate(effects=(postgres.read_stopped(other, scope.timeout),), opens=opens)
    title = f"promote {database.key} on {database.host}"
    effect = effect_on(database, [script(database, postgres.PROMOTE)], scope, is_cluster(database), idempotent=False)
    act = act_on(
        "promote", title, effect, role_is(database, "f", "t", scope), True, lambda _: take_out(database, scope)
    )
    return replace(act, gate=gate)


def slot(database: Database, name: str, scope: Scope) -> Act:
    """Keep on the new primary all that the old one will need to follow it."""
    reading = on_host.reading(database.host, ask(database, postgres.SLOTS), timeout=scope.timeout)

    def probe(reply: Reply, _: Reply | None) -> Probed:
        lines = postgres.lines_in(reply, 0)
        if lines is None:
            return Probed("unknown", f"the slots of {database.key} cannot be read on {database.host}")
        there = name in lines
        return Probed("done" if there else "not_done", f"{database.key} has {'a' if there else 'no'} slot {name}")

    title = f"make the slot {name} on {database.host}"
    effect = effect_on(database, [script(database, postgres.SLOT, slot=name)], scope, is_primary(database))
    return act_on("slot", title, effect, Probe(effect=reading, judge=probe), False, nothing)


def accepted(database: Database, scope: Scope) -> Act:
    """A write of our own is accepted: that it is no standby any more does not say so."""
    title = f"write a canary into {database.key} on {database.host}"
    effect = effect_on(database, [script(database, postgres.CANARY, step=scope.step)], scope, is_primary(database))
    return act_on("canary", title, effect, repeated(database, scope, "a canary may be written twice"), False, nothing)
