"""`reattach_postgres`: let the old cluster follow the new primary; the way back once users have written."""

from dataclasses import replace
from typing import ClassVar

from cutover.checks import host as on_host
from cutover.checks import postgres
from cutover.checks.postgres import ask, has_file, is_cluster, script
from cutover.model.databases import Database
from cutover.model.effects import Guard, Query, Reply
from cutover.model.kind import Act, Acts, Check, Gate, Kind, Poll, Probe, Scope, Stage
from cutover.model.lsn import parse_lsn
from cutover.model.verdict import Probed, Verdict, failed, passed, unknown
from cutover.steps import postgres_acts, postgres_out, unit_acts
from cutover.steps.postgres_acts import act_on, effect_on, role_in, role_reading, the_other
from cutover.steps.postgres_in import out_of_the_way
from cutover.steps.promote_postgres import slot_of
from cutover.steps.unit_acts import root

INTERVAL = 0.25
# A standby says at least every 10 s (wal_receiver_status_interval) how far it is.
FRESH = 15.0


class ReattachPostgres(Kind):
    """Start the old cluster as a standby of the new primary: the reverse channel.

    After users have written on the new side this is the only way back that loses nothing. It needs no rewind, since
    the old cluster was stopped cleanly, the new one had replayed all of it, and `standby.signal` kept it as it was.

    How it follows is written to `conf.d/cutover.conf` beside its postgresql.conf: the address of the new primary, the
    role to log in with (`replicator` of the database; its password, if it needs one, lies in ~postgres/.pgpass), and
    the slot that `promote_postgres` has made. Then the unit is released and started.

    What it proves: the new primary sees it streaming, with 0 bytes to go. That it is up and in recovery proves
    nothing: a cluster that cannot follow answers just the same.

    Its way back: the new primary is stopped cleanly while the old one still follows, and held down; then the old one
    is promoted, guarded in the same call by the new one's final checkpoint, and its settings are removed.

    ```yaml
    - way-back: {reattach_postgres: {database: old, to: new}}
    ```
    """

    name: ClassVar[str] = "reattach_postgres"

    database: str
    """The database that follows."""
    to: str | None = None
    """The new primary; may be left out where there is only one other."""

    def unfold(self, scope: Scope) -> tuple[Stage, ...]:
        """Write how to follow, checkpoint, start; wait until it streams.

        Taken back in reverse: the new primary is stopped, the old one is promoted, its settings go.
        """
        old, new = scope.database(self.database), the_other(scope, self.database, self.to)
        streams = Check(
            key="streams",
            title=f"{old.key} on {old.host} follows {new.key} with nothing to go",
            host=new.host,
            effect=Query(database=new.key, name="primary", timeout=min(scope.timeout, on_host.READ_TIMEOUT)),
            judge=lambda reply: _streams(old, new, reply),
        )
        checkpoint = postgres_out.checkpoint(
            "checkpoint", new, scope, postgres.ONE_CHECKPOINT, lambda _: _promote_back(old, new, scope)
        )
        return (
            Acts((_configure(old, new, scope),)),
            Acts((checkpoint,)),
            Acts((_start(old, new, scope),)),
            Poll(key="streams", title=streams.title, checks=(streams,), interval=INTERVAL, deadline=scope.timeout),
        )

    def checks(self, scope: Scope) -> tuple[Check, ...]:
        """The old host gets into the new cluster for replication, and it is the same cluster."""
        old, new = scope.database(self.database), the_other(scope, self.database, self.to)
        argv = (*postgres.AS_OWNER, "psql", "-XAt", f"{_way(old, new)} replication=true", "-c", "IDENTIFY_SYSTEM")
        return (
            on_host.sudo(old.host, "sudo", timeout=scope.timeout),
            Check(
                key="reaches",
                title=f"{old.host} reaches {new.key} for replication",
                host=old.host,
                effect=on_host.reading(old.host, argv, timeout=scope.timeout),
                judge=lambda reply: _reaches(old, new, reply),
            ),
        )


def _way(old: Database, new: Database) -> str:
    return f"host={new.address} port={new.port} user={new.replicator} application_name={slot_of(old)}"


def _configure(old: Database, new: Database, scope: Scope) -> Act:
    path = postgres.follow_file(old)
    text = f"primary_conninfo = '{_way(old, new)}'\nprimary_slot_name = '{slot_of(old)}'\n"
    owned = ("install", "-m", "0640", "-o", postgres.OWNER, "-g", postgres.OWNER)
    write = root(*owned, "/dev/stdin", path, stdin=text)
    guards = (*is_cluster(old), has_file(old, "standby.signal", True))
    effect = effect_on(old, [write, root("sync", path, f"{old.config}/conf.d")], scope, guards)
    title = f"let {old.key} on {old.host} follow {new.key}"
    reading = on_host.reading(old.host, (*on_host.AS_ROOT, "find", path), timeout=scope.timeout)

    def probe(reply: Reply, _: Reply | None) -> Probed:
        there = bool(reply.commands) and reply.commands[0].exit == 0
        return Probed("done" if there else "not_done", f"{path} is {'' if there else 'not '}there on {old.host}")

    def undo(_: Reply | None) -> Act:
        gone = effect_on(old, [root("rm", "-f", path), root("sync", f"{old.config}/conf.d")], scope, is_cluster(old))
        words = f"have {old.key} on {old.host} follow nobody"
        absent = Probe(effect=reading, judge=lambda reply, before: _inverted(probe(reply, before)))
        return act_on("unfollow", words, gone, absent, False, None)

    return act_on("follow", title, effect, Probe(effect=reading, judge=probe), False, undo)


def _inverted(found: Probed) -> Probed:
    return replace(found, done="not_done" if found.done == "done" else "done")


def _start(old: Database, new: Database, scope: Scope) -> Act:
    start = unit_acts.start(postgres_acts.place_of(old), scope)
    guards = (*is_cluster(old), has_file(old, "standby.signal", True))
    effect = replace(start.effect, guards=guards)  # type: ignore[arg-type]
    reading = on_host.reading(new.host, ask(new, postgres.IN_RECOVERY), ask(new, postgres.SLOTS), timeout=scope.timeout)

    def opens(reply: Reply) -> tuple[Guard, ...] | Verdict:
        if postgres.lines_in(reply, 0) != ["f"]:
            return failed(f"{new.key} on {new.host} is not a running primary")
        if slot_of(old) not in (postgres.lines_in(reply, 1) or ()):
            return failed(f"{new.key} on {new.host} has no slot {slot_of(old)}: what {old.key} needs may be gone")
        return ()

    gate = Gate(effects=(reading,), opens=opens)
    return replace(start, effect=effect, gate=gate, undo=lambda _: postgres_out.take_out(new, scope), disruptive=True)


def _promote_back(old: Database, new: Database, scope: Scope) -> Act:
    """The old cluster a primary again, with all that the new one had; nothing to do where it never followed."""

    def opens(here: Reply, there: Reply) -> tuple[Guard, ...] | Verdict:
        role = role_in(here, old)
        if role in ("down", "primary"):
            return passed(f"{old.key} on {old.host} is {'down' if role == 'down' else 'a primary already'}")
        if role is None:
            return unknown(f"what {old.key} on {old.host} is cannot be read")
        found = out_of_the_way(new, there)
        return found if isinstance(found, Verdict) else postgres.caught_up(old, found)

    effect = effect_on(old, [script(old, postgres.PROMOTE)], scope, is_cluster(old), idempotent=True)
    title = f"promote {old.key} on {old.host} again"
    gate = Gate(effects=(role_reading(old, scope), postgres.read_stopped(new, scope.timeout)), opens=opens)
    probe = postgres_acts.role_is(old, "f", "t", scope)
    return replace(act_on("promote-back", title, effect, probe, True, None), gate=gate)


def _reaches(old: Database, new: Database, reply: Reply) -> Verdict:
    lines = postgres.lines_in(reply, 0)
    if not lines:
        said = on_host.said(reply.commands[0]) if reply.commands else ""
        return failed(f"{old.host} does not get into {new.key} at {new.address} for replication{said}")
    found = lines[0].partition("|")[0]
    if old.system_identifier not in (None, found):
        return failed(f"{new.address} is cluster {found}, not the pinned {old.system_identifier}")
    return passed(f"{old.host} gets into {new.key} at {new.address} for replication; it is cluster {found}")


def _streams(old: Database, new: Database, reply: Reply) -> Verdict:
    row = reply.rows[0] if len(reply.rows) == 1 else None
    lsn = parse_lsn(row["lsn"]) if row else None
    if row is None or lsn is None:
        return unknown(f"{new.key} on {new.host} does not say how far it has written")
    mine = [each for each in row["standbys"] if each["name"] == slot_of(old)]
    if len(mine) != 1:
        return unknown(f"{new.key} sees {len(mine)} standbys called {slot_of(old)}")
    replayed, age = parse_lsn(mine[0]["replayed"]), mine[0]["reply_age"]
    if mine[0]["state"] != "streaming" or replayed is None or age is None or not 0 <= age <= FRESH:
        return unknown(f"{old.key} is '{mine[0]['state']}', replayed to {mine[0]['replayed']}, last heard {age} s ago")
    if lsn > replayed:
        return failed(f"{old.key} follows {new.key} and has {lsn - replayed} bytes to go", behind=lsn - replayed)
    return passed(f"{old.key} follows {new.key}, streaming, with 0 bytes to go at {row['lsn']}", behind=0)
