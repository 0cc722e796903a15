"""The simulated world as data: hosts, what URLs answer, the faults to come, and all that was done so far.

Time comes from outside: `advance(now)` lets everything happen that is due until then, in order. The same calls at the
same times always lead to the same fleet; a copy goes its own way.
"""

import heapq
import json
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator, TypeAdapter

from cutover.errors import NoRule
from cutover.model.effects import Command, Effect, Http, Receipt, Reply, is_reading, sealed_text
from cutover.simulator import channels, faults, rules, systemd, wrapper
from cutover.simulator.call import Answer
from cutover.simulator.channels import Board
from cutover.simulator.faults import At, FailCommand, Fault, HttpAnswers
from cutover.simulator.host import NEVER, Host, Unit, Visit

NO_RULE = 256
"""The exit of a command that nothing here answers: no real one has it."""


@dataclass(frozen=True, slots=True)
class Done:
    """One command that acted, or one acting request: for tests that nothing happened twice and nothing was skipped.

    receipt: run/act.attempt, empty where the effect had none. at: seconds of the world.
    """

    at: float
    host: str
    receipt: str
    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UnitIs:
    """A unit is up (or down) on a host, and the host can be reached."""

    host: str
    unit: str
    up: bool = True


@dataclass(frozen=True, slots=True)
class Url:
    """One answer that a URL may give, when the units in `all_of` are as they should be and one of `any_of` is up."""

    status: int = 200
    body: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    all_of: tuple[UnitIs, ...] = ()
    any_of: tuple[UnitIs, ...] = ()


Planned = Annotated[Fault, PlainSerializer(faults.fault_to_json), PlainValidator(faults.fault_from_json)]


@dataclass(slots=True)
class Fleet:
    """The whole simulated world. urls: by exact URL, the last answer that holds, or 502; any other URL is answered 200.
    boards: the services behind channels, by the URL that their paths begin with.

    acting: how many acting effects have come. struck: per fault (by its place), how often it has struck.
    """

    hosts: dict[str, Host] = field(default_factory=dict)
    urls: dict[str, list[Url]] = field(default_factory=dict)
    boards: dict[str, Board] = field(default_factory=dict)
    faults: list[Planned] = field(default_factory=list)
    struck: dict[int, int] = field(default_factory=dict)
    history: list[Done] = field(default_factory=list)
    now: float = 0.0
    acting: int = 0
    visits: int = 0
    # When each host is to be looked at: (time, place, name). An entry counts while it is the one in _expected.
    _agenda: list[tuple[float, int, str]] = field(default_factory=list, repr=False, compare=False)
    _expected: dict[str, float] = field(default_factory=dict, repr=False, compare=False)
    _place: dict[str, int] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Find out what is due where."""
        self._place = {name: place for place, name in enumerate(self.hosts)}
        for host in self.hosts.values():
            self.notice(host)

    # --- time

    def next_due(self, host: Host) -> float:
        """When something may change for a caller who waits for this host."""
        return min(host.next_due(), self._next_fault())

    def advance(self, now: float) -> None:
        """Let everything happen that is due until `now`."""
        while True:
            fault_at = self._next_fault()
            host_at = self._agenda[0][0] if self._agenda else NEVER
            if min(fault_at, host_at) > now:
                break
            if fault_at <= host_at:
                self.now = max(self.now, fault_at)
                self._strike_timed()
                continue
            _, _, name = heapq.heappop(self._agenda)
            if self._expected.get(name) == host_at:
                del self._expected[name]
                self.now = max(self.now, host_at)
                self._turn(self.hosts[name], self.now)
        self.now = max(self.now, now)

    def _turn(self, host: Host, at: float) -> None:
        if host.down_until and host.down_until <= at:
            host.down_until = 0.0
            host.boots += 1
            systemd.boot(host, at)
        for unit in [unit for unit in host.units.values() if unit.due <= at]:
            systemd.step(host, unit, at)
        for sequence in list(host.running.values()):
            if min(sequence.due, sequence.supervisor_dies_at) <= at:
                wrapper.step(host, sequence, at, self._run)
        for visit in [visit for visit in host.visits.values() if visit.reply is None and visit.due <= at]:
            wrapper.receive(host, visit, at, self._run)
        wrapper.lock_freed(host, at)
        self._forget_abandoned(host)
        self.notice(host)

    def notice(self, host: Host) -> None:
        """Something has changed on a host: find out anew when something is due there."""
        due = host.next_due()
        if due < NEVER and self._expected.get(host.name) != due:
            self._expected[host.name] = due
            heapq.heappush(self._agenda, (due, self._place[host.name], host.name))

    def _forget_abandoned(self, host: Host) -> None:
        for key in [key for key, visit in host.visits.items() if visit.abandoned and visit.reply]:
            del host.visits[key]

    # --- calls from outside

    def number(self, effect: Effect) -> int:
        """Count an effect that comes; returns its place among the acting ones."""
        if not is_reading(effect):
            self.acting += 1
        return self.acting

    def send(self, host: Host, visit: Visit) -> None:
        """Let a call be on its way to a host, to arrive when it is due."""
        host.visits[visit.id] = visit
        self.notice(host)

    def hang_up(self, host: Host, visit: Visit) -> None:
        """Nobody waits for the answer any more; what was sent goes on."""
        visit.abandoned = True
        self._forget_abandoned(host)

    def struck_by(self, effect: Effect, number: int) -> list[Fault]:
        """The faults that strike this effect, each counted; those of the world have struck before this returns."""
        found: list[Fault] = []
        for place, fault in enumerate(self.faults):
            at = getattr(fault, "at", None)
            if isinstance(fault, FailCommand) or not isinstance(at, At) or self.struck.get(place, 0) >= at.times:
                continue
            if at.matches(effect, number):
                self.struck[place] = self.struck.get(place, 0) + 1
                found.append(fault)
                self._strike(fault)
        return found

    def inject(self, fault: Fault) -> None:
        """Add a fault to those to come."""
        self.faults.append(fault)

    def request(self, effect: Http) -> Reply | None:
        """Answer an HTTP request; None is no answer at all."""
        url = sealed_text(effect.url)
        if not effect.reads:
            self.history.append(Done(self.now, "", "", (effect.method, url)))
        for place, fault in enumerate(self.faults):
            if not isinstance(fault, HttpAnswers) or self.struck.get(place, 0) >= fault.times:
                continue
            if fault.after <= self.now and fnmatchcase(url, fault.url):
                self.struck[place] = self.struck.get(place, 0) + 1
                return Reply(outcome="answered", status=fault.status) if fault.status else None
        for base, board in self.boards.items():
            if url.startswith(base):
                return channels.answer(board, effect, url.removeprefix(base), self.now)
        for known in reversed(self.urls.get(url, [Url()])):
            if all(map(self._is, known.all_of)) and (not known.any_of or any(map(self._is, known.any_of))):
                body = known.body.encode()[: effect.cap]
                return Reply(outcome="answered", status=known.status, headers=known.headers, body=body)
        return Reply(outcome="answered", status=502)

    def _is(self, state: UnitIs) -> bool:
        host = self.hosts.get(state.host)
        unit = systemd.find(host, state.unit) if host else None
        up = host is not None and host.silent_since(self.now) is None and unit is not None and unit.active == "active"
        return up == state.up

    def _run(self, host: Host, receipt: Receipt | None, command: Command, now: float) -> Answer:
        try:
            return self._answer(host, receipt, command, now)
        except NoRule as problem:
            # It is the caller's to raise, and no other's who happens to let time go on.
            return Answer(NO_RULE, stderr=str(problem))

    def _answer(self, host: Host, receipt: Receipt | None, command: Command, now: float) -> Answer:
        line = " ".join(command.argv)
        if receipt:
            self.history.append(Done(now, host.name, wrapper.receipt_key(receipt), command.argv))
        for place, fault in enumerate(self.faults):
            if not isinstance(fault, FailCommand) or self.struck.get(place, 0) >= fault.at.times:
                continue
            if fnmatchcase(host.name, fault.at.host) and fnmatchcase(line, fault.at.argv or "*"):
                self.struck[place] = self.struck.get(place, 0) + 1
                if fault.acts:
                    rules.answer(host, command.argv, wrapper.stdin_of(command), now)
                return Answer(fault.exit, stderr=fault.stderr)
        return rules.answer(host, command.argv, wrapper.stdin_of(command), now)

    # --- faults of the world

    def _next_fault(self) -> float:
        timed = (self._timed(place, fault) for place, fault in enumerate(self.faults))
        return min(timed, default=NEVER)

    def _timed(self, place: int, fault: Fault) -> float:
        at = getattr(fault, "at", None)
        return at if isinstance(at, float | int) and not self.struck.get(place) else NEVER

    def _strike_timed(self) -> None:
        for place, fault in enumerate(self.faults):
            if self._timed(place, fault) <= self.now:
                self.struck[place] = 1
                self._strike(fault)

    def _strike(self, fault: Fault) -> None:
        host = self.hosts.get(getattr(fault, "host", ""))
        if host is None:
            return
        now = self.now
        match fault:
            case faults.CutLink(lasts=lasts):
                host.cut_since, host.cut_until = now, now + lasts
            case faults.FreezeHost(lasts=lasts):
                host.frozen_since, host.frozen_until = now, now + lasts
            case faults.Reboot(lasts=lasts):
                wrapper.power_cut(host)
                systemd.power_cut(host, now)
                host.down_until = now + lasts
                host.connection += 1
            case faults.FillDisk(full=full):
                host.disk_full = full
            case faults.ChangeMachineId(machine_id=machine_id):
                host.machine_id = machine_id
            case faults.ChangeHostKey():
                host.host_key_changed = True
            case faults.LoseStateDirectory():
                host.state_directory = False
            case faults.RestartByItself(unit=name, after=after):
                if unit := host.units.get(systemd.full_name(name)):
                    unit.comes_back = after
            case faults.Crash(unit=name):
                if unit := host.units.get(systemd.full_name(name)):
                    systemd.crash(unit, now)
            case _:
                return
        self.notice(host)

    # --- for tests and for the explorer

    def effects(self, *, host: str = "*") -> dict[tuple[str, str], int]:
        """How often each command acted: (host, receipt without its attempt and argv) to a count."""
        counts: dict[tuple[str, str], int] = {}
        for done in self.history:
            if fnmatchcase(done.host, host):
                key = (done.host, f"{done.receipt.rpartition('.')[0]} {' '.join(done.argv)}".strip())
                counts[key] = counts.get(key, 0) + 1
        return counts

    def unit(self, host: str, name: str) -> Unit:
        """A unit, for a test to look at. Raises KeyError."""
        return self.hosts[host].units[systemd.full_name(name)]

    def copy(self) -> "Fleet":
        """A deep copy: the two go on apart."""
        hosts = {name: host.copy() for name, host in self.hosts.items()}
        urls = {url: list(known) for url, known in self.urls.items()}
        boards = {base: board.copy() for base, board in self.boards.items()}
        return replace(
            self, hosts=hosts, urls=urls, boards=boards, faults=list(self.faults), struck=dict(self.struck),
            history=list(self.history), _agenda=[], _expected={}, _place={},
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """The fleet as JSON-ready data."""
        data: dict[str, Any] = _ADAPTER.dump_python(self, mode="json", exclude={"_agenda", "_expected", "_place"})
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Fleet":
        """The inverse of `to_json`. Raises pydantic.ValidationError or KeyError."""
        fleet: Fleet = _ADAPTER.validate_python(data)
        return fleet

    def digest(self) -> str:
        """The fleet's state as canonical text: equal states have equal text."""
        return json.dumps(self.to_json(), sort_keys=True)


_ADAPTER: TypeAdapter[Any] = TypeAdapter(Fleet)
