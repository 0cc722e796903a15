"""What all acts upon a Postgres cluster have: who it is, what it is, and how to know what became of them.

All statements run as the cluster's owner on its own host: nothing here needs an open port.
"""

from collections.abc import Callable, Iterable

from cutover.checks import host as on_host
from cutover.checks import postgres, units
from cutover.checks.postgres import answers, ask, is_cluster
from cutover.model.databases import Database
from cutover.model.effects import Command, Guard, OnHost, Reply
from cutover.model.kind import Act, Probe, Scope, ScopeError
from cutover.model.verdict import Probed, Verdict, failed, passed, unknown
from cutover.steps.unit_acts import Place

Undo = Callable[[Reply | None], Act | None]


def nothing(_: Reply | None) -> None:
    """The undo of what leaves nothing to take back."""


def the_other(scope: Scope, key: str, given: str | None) -> Database:
    """The database at the other end: the one given, or the only other one there is. Raises ScopeError."""
    if given is not None:
        return scope.database(given)
    others = [each for name, each in scope.databases.items() if name != key]
    if len(others) != 1:
        raise ScopeError(f"'{key}' has {len(others)} other databases beside it; say which one is meant", key, ())
    return others[0]


def place_of(database: Database) -> Place:
    """The unit of a cluster."""
    return Place(database.host, database.unit)


def is_primary(database: Database) -> tuple[Guard, ...]:
    """It is the pinned cluster, and it is writable."""
    says = f"{database.key} on {database.host} is not a running primary"
    return (*is_cluster(database), answers(database, postgres.IN_RECOVERY, "f", says))


def effect_on(
    database: Database,
    commands: Iterable[Command],
    scope: Scope,
    guards: tuple[Guard, ...],
    *,
    idempotent: bool = True,
) -> OnHost:
    return OnHost(
        host=database.host, commands=tuple(commands), timeout=scope.timeout, guards=guards, idempotent=idempotent
    )


def act_on(key: str, title: str, effect: OnHost, probe: Probe | None, disruptive: bool, undo: Undo | None) -> Act:
    return Act(
        key=key,
        title=title,
        effect=effect,
        host=effect.host,
        disruptive=disruptive,
        probe=probe,
        judge=lambda reply: all_went_well(title, effect, reply),
        undo=undo,
    )


def all_went_well(title: str, effect: object, reply: Reply) -> Verdict:
    assert isinstance(effect, OnHost)
    argvs = [command.argv for command in effect.commands]
    if failure := on_host.first_failure(effect.host, argvs, reply):
        return failed(f"{title}: {failure}")
    if len(reply.commands) < len(argvs):
        return unknown(f"{title}: {len(reply.commands)} of {len(argvs)} commands answered")
    return passed(f"{title}: done")


def repeated(database: Database, scope: Scope, why: str) -> Probe:
    """Nothing tells afterwards whether it was done, and it does no harm twice: so it is done again."""
    reading = on_host.reading(database.host, ask(database, postgres.IN_RECOVERY), timeout=scope.timeout)

    def judge(reply: Reply, _: Reply | None) -> Probed:
        if postgres.lines_in(reply, 0) is None:
            return Probed("unknown", f"{database.key} does not answer on {database.host}")
        return Probed("not_done", why)

    return Probe(effect=reading, judge=judge)


def role_is(database: Database, done: str, not_done: str, scope: Scope) -> Probe:
    reading = on_host.reading(database.host, ask(database, postgres.IN_RECOVERY), timeout=scope.timeout)

    def judge(reply: Reply, _: Reply | None) -> Probed:
        said = "".join(postgres.lines_in(reply, 0) or ["?"])
        words = {"t": "is in recovery", "f": "is a primary"}.get(said, "does not say what it is")
        found = {done: "done", not_done: "not_done"}.get(said, "unknown")
        return Probed(found, f"{database.key} on {database.host} {words}")  # type: ignore[arg-type]

    return Probe(effect=reading, judge=judge)


def there_is(database: Database, name: str, wanted: bool, scope: Scope) -> Probe:
    reading = on_host.reading(database.host, postgres.find_in(database, name), timeout=scope.timeout)

    def judge(reply: Reply, _: Reply | None) -> Probed:
        lines = postgres.lines_in(reply, 0)
        if lines is None:
            return Probed("unknown", f"{database.directory} on {database.host} cannot be read")
        words = f"there is {'a' if lines else 'no'} {name} in {database.directory} on {database.host}"
        return Probed("done" if bool(lines) == wanted else "not_done", words)

    return Probe(effect=reading, judge=judge)


def role_reading(database: Database, scope: Scope) -> OnHost:
    """The reading that `role_in` understands."""
    argvs = (units.show(database.unit), ask(database, postgres.IN_RECOVERY))
    return on_host.reading(database.host, *argvs, timeout=scope.timeout)


def role_in(reply: Reply, database: Database) -> str | None:
    """What a cluster is: down, standby, primary; None where that cannot be told."""
    state, lines = units.state_in(reply, database.unit), postgres.lines_in(reply, 1)
    if lines is not None:
        return {"t": "standby", "f": "primary"}.get("".join(lines))
    return "down" if state is not None and state.down else None
