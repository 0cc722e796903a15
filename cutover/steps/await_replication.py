"""`await_replication`: wait until the standby has what the primary has; after the fence, all of it."""

from typing import Annotated, ClassVar

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from cutover.checks import host as on_host
from cutover.checks import postgres
from cutover.model.databases import Database
from cutover.model.effects import Query, Reply
from cutover.model.kind import Check, Kind, Poll, Scope, Stage
from cutover.model.lsn import parse_lsn, show_lsn
from cutover.model.units import Duration, Size
from cutover.model.verdict import Verdict, failed, passed, unknown

INTERVAL = 0.25
# A standby says at least every 10 s (wal_receiver_status_interval) how far it is; an older word is no word.
FRESH = 15.0


class AwaitReplication(Kind):
    """Wait until the standby has replayed what the primary has written.

    Positions in the log are compared, never seconds: the seconds grow on an idle primary, and stay small on a frozen
    standby. Nothing passes on a reading that is missing, empty or older than 15 s.

    `within: 1MB`, before the window: the standby is at most so many bytes behind where the primary writes now, it
    streams, its replay is not paused, and none of its settings is smaller than the primary's (replay would stop without
    a word). `for` asks for this to hold that long.

    `exactly: true`, after the fence: the catch-up proof. pg_controldata says that the old primary was stopped cleanly,
    its process and its port are gone, its unit is held down; and the standby, of the same cluster and on the same
    timeline, has replayed strictly beyond the final checkpoint. A standby with an archive may take 5 s to look at what
    it has. If the old primary has died instead, the step fails at once, and says the most that can be lost: the bytes
    between what the standby has replayed and the mark that the fence put into the log.

    Its way back: none is needed, it only reads.

    ```yaml
    - nearly: {await_replication: {from: old, to: new, within: 1MB, for: 30s, timeout: 10m}}
    - last-byte: {await_replication: {from: old, to: new, exactly: true, timeout: 60s}}
    ```
    """

    name: ClassVar[str] = "await_replication"

    from_: str = Field(alias="from")
    """The database that is followed."""
    to: str
    """The database that follows."""
    within: Size | None = None
    """How many bytes it may be behind."""
    exactly: bool = False
    """Whether it must have all of a primary that was fenced."""
    for_: Annotated[Duration, Field(alias="for")] = 0.0
    """How long `within` has to hold."""
    timeout: Duration | None = None
    """How long to wait; without it, the step's timeout."""

    @model_validator(mode="after")
    def _one_goal(self) -> "AwaitReplication":
        if (self.within is not None) == self.exactly:
            raise PydanticCustomError("await_replication", "It takes one of 'within' and 'exactly'.")
        if self.exactly and self.for_:
            raise PydanticCustomError("await_replication", "'for' goes with 'within': what is stopped stays as it is.")
        return self

    def unfold(self, scope: Scope) -> tuple[Stage, ...]:
        """One poll."""
        old, new = scope.database(self.from_), scope.database(self.to)
        check = self._exactly(old, new, scope) if self.exactly else self._within(old, new, scope)
        deadline = scope.timeout if self.timeout is None else self.timeout
        poll = Poll(
            key="replayed",
            title=check.title,
            checks=(check,),
            interval=INTERVAL,
            deadline=deadline,
            steady=self.for_,
        )
        return (poll,)

    def checks(self, scope: Scope) -> tuple[Check, ...]:
        """Before the window, that replay cannot stop by itself; after the fence, that the old primary did not die."""
        old, new = scope.database(self.from_), scope.database(self.to)
        if self.exactly:
            return (
                Check(
                    key="alive",
                    title=f"{old.key} on {old.host} has not died",
                    host=old.host,
                    effect=postgres.read_stopped(old, scope.timeout),
                    against=_query(new, "standby", scope),
                    judge=lambda stopped, standby: _not_dead(old, new, stopped, standby),
                ),
            )
        return (
            Check(
                key="settings",
                title=f"no setting of {new.key} is smaller than that of {old.key}",
                host=new.host,
                effect=_query(new, "settings", scope),
                against=_query(old, "settings", scope),
                judge=lambda here, there: _large_enough(old, new, here, there),
            ),
        )

    def claims_nothing_to_undo(self) -> str | None:
        """It only reads."""
        return "it only reads"

    def _within(self, old: Database, new: Database, scope: Scope) -> Check:
        within = self.within or 0
        return Check(
            key="behind",
            title=f"{new.key} on {new.host} to be at most {within} bytes behind {old.key}",
            host=new.host,
            effect=_query(new, "standby", scope),
            against=_query(old, "primary", scope),
            judge=lambda standby, primary: _behind(old, new, within, standby, primary),
        )

    def _exactly(self, old: Database, new: Database, scope: Scope) -> Check:
        return Check(
            key="all",
            title=f"{new.key} on {new.host} to have replayed beyond the final checkpoint of {old.key}",
            host=new.host,
            effect=postgres.read_stopped(old, scope.timeout),
            against=_query(new, "standby", scope),
            judge=lambda stopped, standby: _all_of_it(old, new, stopped, standby),
        )


def _query(database: Database, name: str, scope: Scope) -> Query:
    return Query(database=database.key, name=name, timeout=min(scope.timeout, on_host.READ_TIMEOUT))


def _standby(new: Database, reply: Reply) -> tuple[int, int, str] | Verdict:
    """How far a standby has replayed, its timeline and its cluster; or why it is none that one can wait for."""
    where = f"{new.key} on {new.host}"
    if len(reply.rows) != 1:
        return unknown(f"{where} says nothing of itself as a standby")
    row = reply.rows[0]
    if row["in_recovery"] is not True:
        return failed(f"{where} is not a standby")
    pinned = new.system_identifier
    if pinned not in (None, row["system_identifier"]):
        return failed(f"{where} is cluster {row['system_identifier']}, not the pinned {pinned}")
    replayed = parse_lsn(row["replayed"])
    if replayed is None or row["timeline"] is None:
        return unknown(f"{where} does not say how far it has replayed")
    if row["pause"] != "not paused":
        return failed(f"replay on {where} is {row['pause']}")
    return replayed, row["timeline"], row["system_identifier"]


def _behind(old: Database, new: Database, within: int, standby: Reply, primary: Reply) -> Verdict:
    found = _standby(new, standby)
    if isinstance(found, Verdict):
        return found
    replayed, timeline, cluster = found
    row = primary.rows[0] if len(primary.rows) == 1 else None
    lsn = parse_lsn(row["lsn"]) if row else None
    if row is None or lsn is None:
        return unknown(f"{old.key} on {old.host} does not say how far it has written: is it a primary?")
    if (row["system_identifier"], row["timeline"]) != (cluster, timeline):
        there = f"cluster {row['system_identifier']}, timeline {row['timeline']}"
        return failed(f"{new.key} is of cluster {cluster}, timeline {timeline}, {old.key} of {there}")
    if standby.rows[0]["delay"] != "0":
        return failed(f"{new.key} replays late on purpose: recovery_min_apply_delay is {standby.rows[0]['delay']}")
    ages = [each["reply_age"] for each in row["standbys"] if each["state"] == "streaming"]
    fresh = [age for age in ages if age is not None and -1 <= age <= FRESH]
    if not fresh or standby.rows[0]["receiver"] != "streaming":
        heard = f"; it last heard of one {max(age or 0 for age in ages):.1f} s ago" if ages else ""
        return unknown(f"{old.key} sees {len(ages)} standbys streaming{heard}; {new.key}'s receiver is "
                       f"{standby.rows[0]['receiver'] or 'gone'}")  # fmt: skip
    behind = max(0, lsn - replayed)
    numbers = f"{new.key} has replayed to {show_lsn(replayed)}, {old.key} writes at {show_lsn(lsn)}"
    verdict = passed if behind <= within else failed
    return verdict(f"{numbers}: {behind} bytes behind, at most {within} are allowed", behind=behind, within=within)


def _all_of_it(old: Database, new: Database, stopped: Reply, standby: Reply) -> Verdict:
    primary = postgres.stopped_in(stopped, old)
    if primary is None:
        return unknown(f"how {old.key} on {old.host} ended cannot be read")
    if not primary.clean or primary.unit.hold != "held":
        return failed(f"{old.key} on {old.host} is not provably stopped: {primary.words}")
    found = _standby(new, standby)
    if isinstance(found, Verdict):
        return found
    replayed, timeline, cluster = found
    if (primary.system_identifier, primary.timeline) != (cluster, timeline):
        there = f"cluster {primary.system_identifier}, timeline {primary.timeline}"
        return failed(f"{new.key} is of cluster {cluster}, timeline {timeline}, {old.key} of {there}")
    numbers = f"{old.key} stopped cleanly at {show_lsn(primary.final)}, {new.key} has replayed to {show_lsn(replayed)}"
    observed = {"final": show_lsn(primary.final), "replayed": show_lsn(replayed)}
    if replayed > primary.final:
        return passed(f"{numbers}: beyond it", **observed)
    return failed(f"{numbers}: {primary.final - replayed} bytes short, and it has to be beyond", **observed)


def _not_dead(old: Database, new: Database, stopped: Reply, standby: Reply) -> Verdict:
    """Red only if it is gone and was not stopped cleanly: before the fence it is up, and that is fine."""
    primary = postgres.stopped_in(stopped, old)
    where = f"{old.key} on {old.host}"
    if primary is None:
        return unknown(f"whether {where} lives cannot be read")
    if not primary.gone or primary.state == postgres.SHUT_DOWN:
        return passed(f"{where}: {primary.words}")
    replayed = parse_lsn(standby.rows[0]["replayed"]) if len(standby.rows) == 1 else None
    if primary.mark is None or replayed is None:
        most = "how much of what users wrote can be lost was not measured"
    else:
        lost = max(0, primary.mark - replayed)
        most = (
            f"{new.key} has replayed to {show_lsn(replayed)}, and nobody wrote beyond the fence's mark at "
            f"{show_lsn(primary.mark)}: at most {lost} bytes of what users wrote can be lost by promoting it"
        )
    return failed(
        f"{where} has died: {primary.words}. {most}. The engine does not promote it. Start {old.key} again behind its "
        "fence and let it be stopped cleanly (back, then anew), or promote by hand"
    )


def _large_enough(old: Database, new: Database, here: Reply, there: Reply) -> Verdict:
    mine, theirs = ({row["name"]: row["setting"] for row in reply.rows} for reply in (here, there))
    if not mine or mine.keys() != theirs.keys():
        return unknown(f"the settings of {new.key} and {old.key} cannot be compared: {len(mine)} and {len(theirs)}")
    smaller = [f"{name} is {mine[name]}, there {theirs[name]}" for name in mine if mine[name] < theirs[name]]
    if smaller:
        return failed(f"replay on {new.key} would stop without a word: {'; '.join(smaller)}")
    return passed(f"{len(mine)} settings of {new.key} are no smaller than those of {old.key}")
