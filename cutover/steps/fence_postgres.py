"""`fence_postgres`: take the old primary out, so that it cannot write again by accident."""

from typing import ClassVar

from cutover.checks import host as on_host
from cutover.checks import postgres, units
from cutover.checks.postgres import OWNER
from cutover.model.databases import Database
from cutover.model.effects import Reply
from cutover.model.kind import Acts, Check, Kind, Poll, Scope, Stage, UnitChange
from cutover.model.verdict import Verdict, failed, passed, unknown
from cutover.steps import postgres_out
from cutover.steps.postgres_acts import the_other

INTERVAL = 0.1
SENDER_TIMEOUT = (5_000, 60_000)


class FencePostgres(Kind):
    """Stop the old primary cleanly, so that its standby can have all of it and nobody can write to it again.

    In this order: two checkpoints, while users still write, so that the one of the stop is short. A block of lines goes
    before all others in pg_hba.conf: it rejects every login but those of replication, of the engine's own role from the
    host itself and of `postgres` at the Unix socket. All other sessions are ended until two counts in a row are 0.
    This makes errors kind and the stop fast; it is never the fence itself. A mark goes into the log: beyond it nobody
    but the engine has written. Then the unit is held down (see `services`) and stopped.

    Only the stopped process is a fence. So what follows must be read, all of it: pg_controldata says "shut down", no
    postmaster's file, no listener, the unit is held down. Then `standby.signal` is made: whoever starts the cluster
    all the same gets a standby, which takes no write and can still follow the new primary without being rewound.

    What it proves: the clean stop, with the position of the final checkpoint; that a write, made as the owner and past
    all rules for logins, finds no server. A cluster that dies while it stops stays where it is: nothing is promoted
    after it, and `await_replication` says the most that can be lost.

    Its way back: `standby.signal` goes, the unit is released and started, the lines leave pg_hba.conf, and it must
    take writes. Nothing is done with ALTER SYSTEM. It is not started again while the other database takes writes.

    On the host it runs `sudo -n` with systemctl, install, sync, mkdir, rm, rmdir, sed and head; and, as `postgres`:
    psql, pg_controldata, find, od, cat, touch, rm.

    ```yaml
    - fence: {fence_postgres: {database: old}}
    ```
    """

    name: ClassVar[str] = "fence_postgres"

    database: str
    """The database whose cluster is fenced."""
    standby: str | None = None
    """The database that takes over; may be left out where there is only one other."""

    def unfold(self, scope: Scope) -> tuple[Stage, ...]:
        """Checkpoint, close, stop, wait until all of it is gone, keep it a standby, prove it."""
        old, new = scope.database(self.database), the_other(scope, self.database, self.standby)
        gone = Check(
            key="gone",
            title=f"{old.key} on {old.host} was stopped cleanly and is gone",
            host=old.host,
            effect=postgres.read_stopped(old, scope.timeout),
            judge=lambda reply: _gone(old, reply),
        )
        return (
            Acts((postgres_out.checkpoint("checkpoint", old, scope, postgres.TWO_CHECKPOINTS),)),
            Acts((postgres_out.close(old, scope),)),
            Acts((postgres_out.stop(old, new, scope),)),
            Poll(key="gone", title=gone.title, checks=(gone,), interval=INTERVAL, deadline=scope.timeout),
            Acts((postgres_out.signal(old, new, scope), postgres_out.refused(old, scope))),
        )

    def checks(self, scope: Scope) -> tuple[Check, ...]:
        """It is the pinned cluster, a primary with a standby, and nothing would keep it from stopping."""
        old = scope.database(self.database)
        return (
            on_host.sudo(old.host, "sudo", timeout=scope.timeout),
            on_host.sudo(old.host, "owner", OWNER, scope.timeout),
            Check(
                key="cluster",
                title=f"{old.key} on {old.host} is a primary that can be fenced",
                host=old.host,
                effect=on_host.reading(
                    old.host,
                    units.show(old.unit),
                    postgres.control(old),
                    postgres.ask(old, postgres.IN_RECOVERY),
                    postgres.ask(old, postgres.BURDENS),
                    timeout=scope.timeout,
                ),
                judge=lambda reply: _can_be_fenced(old, reply),
            ),
        )

    def unit_changes(self, scope: Scope) -> tuple[UnitChange, ...]:
        """Its unit is down; the other cluster's is up already, as a standby."""
        old = scope.database(self.database)
        return (UnitChange(old.host, old.unit, False, False, "its standby takes over"),)


def _gone(old: Database, reply: Reply) -> Verdict:
    found = postgres.stopped_in(reply, old)
    if found is None:
        return unknown(f"how {old.key} on {old.host} ended cannot be read")
    words = f"{old.key} on {old.host}: {found.words}"
    return passed(words) if found.clean and found.unit.hold == "held" else failed(words)


def _can_be_fenced(old: Database, reply: Reply) -> Verdict:
    """What is fenced already is fine: this is read again after a crash in the middle."""
    where = f"{old.key} on {old.host}"
    state, lines = units.state_in(reply, old.unit), postgres.lines_in(reply, 1)
    control = postgres.control_in("\n".join(lines)) if lines else None
    if state is None or control is None:
        return unknown(f"{where} cannot be read{on_host.said(reply.commands[-1]) if reply.commands else ''}")
    if why_not := units.missing(state, old.host):
        return failed(why_not)
    found = control["Database system identifier"]
    if old.system_identifier not in (None, found):
        return failed(f"{where} is cluster {found}, not the pinned {old.system_identifier}")
    if state.hold == "held":
        return passed(f"{where} is {state.words}: it is being fenced")
    if postgres.lines_in(reply, 2) != ["f"]:
        return failed(f"{where} is not a running primary{on_host.said(reply.commands[-1])}")
    burdens = dict(postgres.pairs_in(postgres.lines_in(reply, 3)))
    low, high = SENDER_TIMEOUT
    waits, standbys = burdens.pop("sender timeout ms", None), burdens.pop("standbys", None)
    if waits is None or standbys is None or None in burdens.values():
        return unknown(f"what {where} is busy with cannot be read")
    problems = [f"{count} {name}" for name, count in burdens.items() if count]
    problems += [] if standbys else ["no standby that streams"]
    problems += [] if low <= waits <= high else [f"wal_sender_timeout is {waits} ms, not within {low} to {high}"]
    if problems:
        return failed(f"{where} should not be stopped now: {'; '.join(problems)}")
    streaming = f"{standbys} standby{'s' * (standbys != 1)} streaming"
    return passed(f"{where} is a primary with {streaming}, wal_sender_timeout {waits} ms")
