"""`promote_postgres`: make the standby the primary, once nothing can be lost by it."""

from typing import ClassVar

from cutover.checks import host as on_host
from cutover.checks import postgres
from cutover.checks.postgres import OWNER
from cutover.model.databases import Database
from cutover.model.effects import Reply
from cutover.model.kind import Acts, Check, Cross, Kind, Scope, Stage
from cutover.model.verdict import Verdict, failed, passed, unknown
from cutover.steps import postgres_in
from cutover.steps.postgres_acts import the_other


class PromotePostgres(Kind):
    """Promote the standby. This is the soft point of no return.

    Nothing is believed from before: at the moment of acting the old cluster's host is read again (stopped cleanly,
    gone, held down, a standby for whoever starts it), and the very call that promotes first compares the old one's
    final checkpoint with what the standby has replayed, which must be strictly beyond it, on the same timeline of the
    same cluster. Anything else refuses, and a person is asked. There is no unplanned failover: after the death of the
    old primary the engine never promotes.

    What it proves: that the promotion has ended; that a write of the engine's own is accepted, into `cutover.canary`.
    At once it makes a replication slot, so that everything the old cluster needs to follow is kept.

    Its way back: the new primary is stopped cleanly and held down, a standby for whoever starts it; then the old one
    can be opened again. Going back loses nothing as long as nobody but the engine has written.

    ```yaml
    - promote: {promote_postgres: {database: new}}
    ```
    """

    name: ClassVar[str] = "promote_postgres"

    database: str
    """The database that becomes the primary."""
    old: str | None = None
    """The database that was fenced; may be left out where there is only one other."""

    def unfold(self, scope: Scope) -> tuple[Stage, ...]:
        """Over the soft point; promote; then keep the log for the old one and write a canary, at once."""
        new, old = scope.database(self.database), the_other(scope, self.database, self.old)
        slot = postgres_in.slot(new, slot_of(old), scope)
        return (
            Cross("soft"),
            Acts((postgres_in.promote(new, old, scope),)),
            Acts((slot, postgres_in.accepted(new, scope))),
        )

    def checks(self, scope: Scope) -> tuple[Check, ...]:
        """It answers, and is of the same cluster as the other one."""
        new, old = scope.database(self.database), the_other(scope, self.database, self.old)
        return (
            on_host.sudo(new.host, "sudo", timeout=scope.timeout),
            on_host.sudo(new.host, "owner", OWNER, scope.timeout),
            Check(
                key="twin",
                title=f"{new.key} on {new.host} is a copy of {old.key} on {old.host}",
                host=new.host,
                effect=on_host.reading(new.host, postgres.control(new), timeout=scope.timeout),
                against=on_host.reading(old.host, postgres.control(old), timeout=scope.timeout),
                judge=lambda here, there: _twins(new, old, here, there),
            ),
        )


def slot_of(old: Database) -> str:
    """The slot that keeps the log for a database: lower case, as Postgres wants it."""
    return "cutover_" + "".join(char if char.isalnum() and char.isascii() else "_" for char in old.key.lower())


def _twins(new: Database, old: Database, here: Reply, there: Reply) -> Verdict:
    found = []
    for database, reply in ((new, here), (old, there)):
        lines = postgres.lines_in(reply, 0)
        control = postgres.control_in("\n".join(lines)) if lines else None
        if control is None:
            return unknown(f"who {database.key} on {database.host} is cannot be read")
        found.append(control["Database system identifier"])
        if database.system_identifier not in (None, found[-1]):
            pinned = database.system_identifier
            return failed(f"{database.key} on {database.host} is cluster {found[-1]}, not the pinned {pinned}")
    if found[0] != found[1]:
        return failed(f"{new.key} is cluster {found[0]}, {old.key} is cluster {found[1]}: not a copy of it")
    return passed(f"{new.key} and {old.key} are both cluster {found[0]}")
