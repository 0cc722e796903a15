"""The World port over a fleet: what the engine drives when nothing is real."""

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from cutover.errors import NoRule
from cutover.model.effects import ClaimHost, Effect, Http, Look, OnHost, Query, Reply, Wait
from cutover.ports import Clock, Output
from cutover.simulator import faults, rules
from cutover.simulator.faults import Fault
from cutover.simulator.fleet import NO_RULE, Fleet
from cutover.simulator.host import NEVER, Host, Visit


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast the world is, in seconds.

    round_trip: to each host, and to those in `round_trips` instead. connect: opening a connection, in round trips.
    notice: after how long of silence a connection is given up. jitter: the share by which round trips vary, with the
    world's generator. nap: the longest wait of a caller before it looks again, for worlds that others change too.
    """

    round_trip: float = 0.02
    round_trips: Mapping[str, float] | None = None
    connect: float = 10.0
    notice: float = 6.0
    jitter: float = 0.0
    nap: float = 60.0


class SimWorld:
    """A World in process. Time is the clock's; what is under way goes on in the fleet whoever waits for it."""

    def __init__(
        self, fleet: Fleet, clock: Clock, *, pace: Pace | None = None, rng: random.Random | None = None
    ) -> None:
        """Drive `fleet`, whose time is the clock's: a clock that begins later than the fleet's `now` goes on from it.

        rng: needed only for jitter.
        """
        self._fleet = fleet
        self._clock = clock
        self._pace = pace or Pace()
        self._rng = rng
        self._connections: dict[str, int] = {}

    @property
    def fleet(self) -> Fleet:
        """The fleet as it is now."""
        self._fleet.advance(self._now())
        return self._fleet

    async def perform(self, effect: Effect, output: Output | None = None) -> Reply:
        """As the port says; raises NoRule when a command has no answer in this world."""
        began = self._clock.monotonic()
        match effect:
            case Wait(seconds=seconds):
                await self._clock.sleep(seconds)
                reply = Reply(outcome="answered")
            case Http():
                reply = await self._request(effect)
            case Query():
                reply = await self._query(effect)
            case OnHost() | Look() | ClaimHost():
                reply = await self._call(effect)
        for command in reply.commands:
            if command.exit == NO_RULE:
                raise NoRule(command.stderr.decode())
        if output:
            for command in reply.commands:
                for stream, data in ((1, command.stdout), (2, command.stderr)):
                    if data:
                        output(stream, data)
        return replace(reply, seconds=self._clock.monotonic() - began)

    async def connect(self, hosts: Iterable[str]) -> dict[str, Reply]:
        """As the port says."""
        names = list(hosts)
        await self._clock.sleep(max((self._round_trip(name) * self._pace.connect for name in names), default=0.0))
        replies: dict[str, Reply] = {}
        for name in names:
            refused = self._open(name)
            replies[name] = refused or Reply(outcome="answered")
        if any(reply.code == "unreachable" for reply in replies.values()):
            await self._clock.sleep(self._pace.notice)
        return replies

    async def close(self) -> None:
        """As the port says."""
        self._connections.clear()

    # --- hosts

    async def _call(self, effect: OnHost | Look | ClaimHost) -> Reply:
        deadline = self._now() + effect.timeout
        number = self.fleet.number(effect)
        struck = self._fleet.struck_by(effect, number)
        self._check_rules(effect)
        if self._fleet.hosts.get(effect.host) is None or not self._is_open(effect.host):
            await self._clock.sleep(self._round_trip(effect.host) * self._pace.connect)
            refused = self._open(effect.host)
            if refused:
                await self._clock.sleep(max(0.0, min(self._pace.notice, deadline - self._now())))
                return refused
        host = self._fleet.hosts[effect.host]
        self._fleet.visits += 1
        visit = Visit(id=self._fleet.visits, effect=effect, due=NEVER)
        if any(isinstance(fault, faults.LoseRequest | faults.ArriveLate) for fault in struck):
            return await self._lose_request(host, visit, struck)
        for fault in struck:
            match fault:
                case faults.Delay(seconds=seconds):
                    visit.delay = seconds
                case faults.KillSupervisor(after=after):
                    visit.kill = after
        try:
            lost = await self._travel(host, deadline)
            if lost:
                return lost
            visit.due = self._now()
            self.fleet.send(host, visit)
            lost = await self._await_answer(host, visit, deadline) or await self._travel(host, deadline)
            if lost:
                return lost
        finally:
            self._fleet.hang_up(host, visit)
        if any(isinstance(fault, faults.LoseReply) for fault in struck):
            return self._lost(host, "the connection was lost before the answer came")
        assert visit.reply is not None
        return visit.reply

    async def _await_answer(self, host: Host, visit: Visit, deadline: float) -> Reply | None:
        while True:
            fleet = self.fleet
            now = fleet.now
            if visit.reply:
                return None
            if not self._is_open(host.name):
                return self._lost(host, "the connection was lost")
            silent = host.silent_since(now)
            if silent is not None and now >= silent + self._pace.notice:
                return self._lost(host, f"no packet came back for {self._pace.notice:.0f} s")
            if now >= deadline:
                return Reply(outcome="unknown", detail=f"no answer within {visit.effect.timeout:g} s")
            wake = min(fleet.next_due(host), deadline, now + self._pace.nap)
            if silent is not None:
                wake = min(wake, silent + self._pace.notice)
            await self._clock.sleep(max(wake - now, 0.0))

    async def _travel(self, host: Host, deadline: float) -> Reply | None:
        """Half a round trip. While the link is down packets are sent again, until the connection is given up."""
        await self._clock.sleep(self._round_trip(host.name) / 2)
        while True:
            now = self.fleet.now
            if not self._is_open(host.name):
                return self._lost(host, "the connection was lost")
            if now >= host.cut_until:
                return None
            given_up = host.cut_since + self._pace.notice
            if now >= given_up:
                return self._lost(host, f"no packet came back for {self._pace.notice:.0f} s")
            if now >= deadline:
                return Reply(outcome="unknown", detail="no answer came in time")
            await self._clock.sleep(min(given_up, host.cut_until, deadline, now + self._pace.nap) - now)

    async def _lose_request(self, host: Host, visit: Visit, struck: list[Fault]) -> Reply:
        for fault in struck:
            if isinstance(fault, faults.ArriveLate):
                visit.due, visit.abandoned = self._now() + fault.after, True
                self.fleet.send(host, visit)
        await self._clock.sleep(self._round_trip(host.name))
        return self._lost(host, "the connection was lost")

    def _check_rules(self, effect: OnHost | Look | ClaimHost) -> None:
        host = self._fleet.hosts.get(effect.host)
        if host and isinstance(effect, OnHost):
            for argv in [guard.argv for guard in effect.guards] + [command.argv for command in effect.commands]:
                rules.check(host, argv, effect.receipt.act if effect.receipt else "")

    # --- connections

    def _is_open(self, name: str) -> bool:
        host = self._fleet.hosts.get(name)
        return host is not None and self._connections.get(name) == host.connection

    def _open(self, name: str) -> Reply | None:
        host = self.fleet.hosts.get(name)
        if host is None:
            return Reply(outcome="refused", code="unreachable", detail=f"{name}: no such host")
        if host.silent_since(self._fleet.now) is not None:
            return Reply(outcome="refused", code="unreachable", detail=f"{name} does not answer")
        if host.host_key_changed:
            return Reply(outcome="refused", code="host-key", detail=f"{name} shows another host key")
        if host.pinned not in (None, host.machine_id):
            return Reply(outcome="refused", code="identity", detail=f"{name} is {host.machine_id}, not {host.pinned}")
        self._connections[name] = host.connection
        return None

    def _lost(self, host: Host, detail: str) -> Reply:
        self._connections.pop(host.name, None)
        return Reply(outcome="unknown", detail=detail)

    # --- HTTP

    async def _request(self, effect: Http) -> Reply:
        struck = self.fleet.struck_by(effect, self._fleet.number(effect))
        kinds = {type(fault) for fault in struck}
        if faults.LoseRequest in kinds:
            await self._clock.sleep(effect.timeout)
            return Reply(outcome="unknown", detail="the connection was lost")
        await self._clock.sleep(self._pace.round_trip)
        reply = self.fleet.request(effect)
        if reply is None or faults.LoseReply in kinds:
            await self._clock.sleep(max(0.0, effect.timeout - self._pace.round_trip))
            return Reply(outcome="unknown", detail=f"no answer within {effect.timeout:g} s")
        return reply

    # --- databases

    async def _query(self, effect: Query) -> Reply:
        """Over a held connection of its own: what is lost on the way was only read."""
        struck = self.fleet.struck_by(effect, self._fleet.number(effect))
        if effect.database not in self._fleet.databases:
            return Reply(outcome="refused", code="unreachable", detail=f"there is no database {effect.database}")
        host = self._fleet.hosts[self._fleet.databases[effect.database][0]]
        await self._clock.sleep(self._round_trip(host.name))
        lost = any(isinstance(fault, faults.LoseRequest | faults.LoseReply) for fault in struck)
        if lost or self.fleet.hosts[host.name].silent_since(self._fleet.now) is not None:
            await self._clock.sleep(min(self._pace.notice, effect.timeout))
            return Reply(outcome="unknown", detail=f"{effect.database} on {host.name} did not answer")
        return self._fleet.query(effect)

    # --- time

    def _now(self) -> float:
        return self._clock.monotonic()

    def _round_trip(self, name: str) -> float:
        base = (self._pace.round_trips or {}).get(name, self._pace.round_trip)
        return base * self._rng.uniform(1, 1 + self._pace.jitter) if self._rng and self._pace.jitter else base
