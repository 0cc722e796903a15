"""What can go wrong, as frozen data.

A fault strikes at a moment: a time of the world in seconds, or `At`, the coming of an effect. What it did is in the
fleet's state; how often it struck too, so that a copy of the world goes on as the original would.
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from pydantic import TypeAdapter

from cutover.model.effects import ClaimHost, Effect, Http, Look, OnHost, Query, is_reading, sealed_text


@dataclass(frozen=True, slots=True, kw_only=True)
class At:
    """The coming of an effect that all given fields match; `times` of those in a row are struck.

    nth: the n-th acting effect since the world began, from 1. act: the receipt's act. argv: any of its command lines,
    words joined by blanks, or the URL of a request. host, act and argv are patterns as in a shell. reads: a reading
    effect; without it only acting ones count.
    """

    nth: int | None = None
    host: str = "*"
    act: str | None = None
    argv: str | None = None
    reads: bool = False
    times: int = 1

    def matches(self, effect: Effect, number: int) -> bool:
        """Whether this effect is meant; `number` is its place among the acting effects."""
        if is_reading(effect) != self.reads or self.nth not in (None, number):
            return False
        receipt = getattr(effect, "receipt", None)
        if self.act is not None and (receipt is None or not fnmatchcase(receipt.act, self.act)):
            return False
        if self.argv is not None and not any(fnmatchcase(line, self.argv) for line in _lines(effect)):
            return False
        return fnmatchcase(getattr(effect, "host", ""), self.host)


Moment = float | At


@dataclass(frozen=True, slots=True)
class LoseRequest:
    """The connection breaks before the request reaches the host: nothing is done, and nobody can tell."""

    at: At


@dataclass(frozen=True, slots=True)
class LoseReply:
    """The connection breaks after the request has reached the host: it is done, and nobody can tell."""

    at: At


@dataclass(frozen=True, slots=True)
class ArriveLate:
    """The connection breaks, the caller gives up, and `after` seconds later the request reaches the host after all."""

    at: At
    after: float


@dataclass(frozen=True, slots=True)
class Delay:
    """The host stands still for `seconds` between the wrapper's checks and its first command, holding the lock."""

    at: At
    seconds: float


@dataclass(frozen=True, slots=True)
class KillSupervisor:
    """The wrapper's shell is killed `after` seconds after the receipt was written; the running command goes on alone.

    With 0 not even the first command begins: the receipt says that it started, and nothing more.
    """

    at: At
    after: float = 0.0


@dataclass(frozen=True, slots=True)
class FailCommand:
    """Every command line that `at.argv` matches exits with `exit`; `acts`: it does its work all the same."""

    at: At
    exit: int = 1
    stderr: str = ""
    acts: bool = False


@dataclass(frozen=True, slots=True)
class HttpAnswers:
    """Requests to URLs that match the pattern are answered with this status; 0 is no answer at all."""

    url: str
    status: int
    times: int = 1
    after: float = 0.0


@dataclass(frozen=True, slots=True)
class CutLink:
    """No packet passes between the engine and the host for `lasts` seconds."""

    host: str
    at: Moment
    lasts: float


@dataclass(frozen=True, slots=True)
class FreezeHost:
    """The host stands still, with everything on it, for `lasts` seconds."""

    host: str
    at: Moment
    lasts: float


@dataclass(frozen=True, slots=True)
class Reboot:
    """The host loses its power and is back after `lasts` seconds."""

    host: str
    at: Moment
    lasts: float


@dataclass(frozen=True, slots=True)
class FillDisk:
    """The host's disk is full; `full=False`: it has room again."""

    host: str
    at: Moment
    full: bool = True


@dataclass(frozen=True, slots=True)
class ChangeMachineId:
    """Another machine answers under the host's name."""

    host: str
    at: Moment
    machine_id: str


@dataclass(frozen=True, slots=True)
class ChangeHostKey:
    """The host shows another key to connections opened from then on."""

    host: str
    at: Moment


@dataclass(frozen=True, slots=True)
class LoseStateDirectory:
    """The directory with the claim and the receipts is not there."""

    host: str
    at: Moment


@dataclass(frozen=True, slots=True)
class RestartByItself:
    """Whenever the unit has stopped, something that is not systemd starts it again, `after` seconds later."""

    host: str
    unit: str
    at: Moment = 0.0
    after: float = 1.0


@dataclass(frozen=True, slots=True)
class Crash:
    """The unit's main process is killed."""

    host: str
    unit: str
    at: Moment


@dataclass(frozen=True, slots=True)
class CutReplication:
    """Nothing comes from its primary to the standbys of a host for `lasts` seconds."""

    host: str
    at: Moment
    lasts: float


@dataclass(frozen=True, slots=True)
class StallReplay:
    """The standbys of a host receive and do not replay for `lasts` seconds."""

    host: str
    at: Moment
    lasts: float


@dataclass(frozen=True, slots=True)
class DieWhileStopping:
    """The Postgres cluster of a unit is killed in the middle of its next stop."""

    host: str
    unit: str
    at: Moment = 0.0


OnEffect = LoseRequest | LoseReply | ArriveLate | Delay | KillSupervisor
OnWorld = (
    CutLink | FreezeHost | Reboot | FillDisk | ChangeMachineId | ChangeHostKey | LoseStateDirectory | RestartByItself
    | Crash | CutReplication | StallReplay | DieWhileStopping
)  # fmt: skip
Fault = OnEffect | OnWorld | FailCommand | HttpAnswers

_ADAPTERS: dict[str, TypeAdapter[Any]] = {cls.__name__: TypeAdapter(cls) for cls in Fault.__args__}


def fault_to_json(fault: Fault) -> dict[str, Any]:
    """The fault as JSON-ready data, its type under "fault"; fields that hold their default are left out."""
    name = type(fault).__name__
    data: dict[str, Any] = _ADAPTERS[name].dump_python(fault, mode="json", exclude_defaults=True)
    return {"fault": name, **data}


def fault_from_json(data: dict[str, Any]) -> Fault:
    """The inverse of `fault_to_json`. Raises KeyError or pydantic.ValidationError."""
    fields = dict(data)
    fault: Fault = _ADAPTERS[fields.pop("fault")].validate_python(fields)
    return fault


def _lines(effect: Effect) -> list[str]:
    match effect:
        case OnHost(commands=commands):
            return [" ".join(command.argv) for command in commands]
        case Http(url=url):
            return [sealed_text(url)]
        case Query(database=database, name=name):
            return [f"{database} ? {name}"]
        case Look() | ClaimHost():
            return [type(effect).__name__]
        case _:
            return []
