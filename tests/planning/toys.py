"""Small kinds of step for the tests of planning, and a way to write a runbook around steps."""

from dataclasses import replace
from typing import ClassVar, Literal

from cutover.model.effects import Command, Http, OnHost, Reply
from cutover.model.kind import Act, Acts, Ask, Check, Cross, Kind, Point, Poll, Scope, Stage, UnitChange
from cutover.model.plan import Plan, Source
from cutover.model.sealed import SealedText
from cutover.model.units import Duration
from cutover.model.verdict import Verdict, passed
from cutover.planning import planner


def _fine(_: Reply) -> Verdict:
    return passed("fine")


class Units(Kind):
    """Stop and start units."""

    name: ClassVar[str] = "units"

    on: str | tuple[str, ...]
    """Where."""
    stop: tuple[str, ...] = ()
    """What to stop."""
    start: tuple[str, ...] = ()
    """What to start."""
    one_site_only: bool = True
    stays_down: str | None = None

    def unfold(self, scope: Scope) -> tuple[Stage, ...]:
        """Act on every host."""
        verbs = (("stop", self.stop, "start"), ("start", self.start, "stop"))
        return tuple(
            Acts(tuple(_act(host, verb, unit, back, scope) for host in scope.hosts(self.on) for unit in units))
            for verb, units, back in verbs
            if units
        )

    def checks(self, scope: Scope) -> tuple[Check, ...]:
        """The hosts answer."""
        return tuple(
            Check(key=f"true.{host}", title=f"{host} answers", effect=_read(host, "true"), judge=_fine, host=host)
            for host in scope.hosts(self.on)
        )

    def unit_changes(self, scope: Scope) -> tuple[UnitChange, ...]:
        """What is up and down."""
        hosts = scope.hosts(self.on)
        down = (UnitChange(h, u, False, self.one_site_only, self.stays_down) for h in hosts for u in self.stop)
        up = (UnitChange(h, u, True, self.one_site_only) for h in hosts for u in self.start)
        return (*down, *up)


class Do(Kind):
    """Do what cannot be taken back."""

    name: ClassVar[str] = "do"

    on: str
    argv: tuple[str, ...] = ("true",)
    stdin: SealedText = ()
    harmless: bool = False

    def unfold(self, scope: Scope) -> tuple[Stage, ...]:
        """One act for each host."""
        return (
            Acts(
                tuple(
                    Act(
                        key=f"do.{host}",
                        title=f"do it on {host}",
                        effect=OnHost(host=host, commands=(Command(self.argv, self.stdin),), timeout=scope.timeout),
                        host=host,
                        disruptive=not self.harmless,
                    )
                    for host in scope.hosts(self.on)
                )
            ),
        )


class Question(Kind):
    """Ask."""

    name: ClassVar[str] = "question"

    text: str
    arms: tuple[Point, ...] = ()
    silence: Literal["hold", "back"] = "hold"
    until: Duration | None = None

    def unfold(self, scope: Scope) -> tuple[Stage, ...]:
        """One question."""
        arms = frozenset(self.arms)
        return (Ask(key="ask", question=self.text, arms=arms, silence=self.silence, until=self.until),)

    def claims_nothing_to_undo(self) -> str | None:
        """It only asks."""
        return "it only asks"


class Over(Kind):
    """Cross a point of no return, after an act if `first` is given."""

    name: ClassVar[str] = "over"

    point: Point
    first: str | None = None

    def unfold(self, scope: Scope) -> tuple[Stage, ...]:
        """Cross it."""
        acts = Do(on=self.first).unfold(scope) if self.first else ()
        return (*acts, Cross(self.point))


class Same(Kind):
    """Do something under a key of one's own."""

    name: ClassVar[str] = "same"

    on: str
    key: str

    def unfold(self, scope: Scope) -> tuple[Stage, ...]:
        """One act."""
        act = _act(scope.host(self.on), "start", "x", "stop", scope)
        return (Acts((replace(act, key=self.key),)),)


class Final(Kind):
    """Start a unit for good."""

    name: ClassVar[str] = "final"

    on: str
    start: str

    def unfold(self, scope: Scope) -> tuple[Stage, ...]:
        """One act without a way back."""
        return (Acts((_act(scope.host(self.on), "start", self.start, None, scope),)),)

    def unit_changes(self, scope: Scope) -> tuple[UnitChange, ...]:
        """It is up."""
        return (UnitChange(scope.host(self.on), self.start, True),)


class Until(Kind):
    """Wait for a URL."""

    name: ClassVar[str] = "until"

    url: SealedText
    deadline: Duration | None = None
    steady: Duration = 0.0
    interval: Duration = 1.0

    def unfold(self, scope: Scope) -> tuple[Stage, ...]:
        """Poll it."""
        effect = Http(method="GET", url=self.url, timeout=scope.timeout, reads=True)
        check = Check(key="get", title="it answers", effect=effect, judge=_fine)
        return (
            Poll(
                key="until",
                title="it answers",
                checks=(check,),
                interval=self.interval,
                deadline=self.deadline,
                steady=self.steady,
            ),
        )


KINDS: dict[str, type[Kind]] = {kind.name: kind for kind in (Units, Do, Question, Over, Same, Final, Until)}

HEAD = """\
title: A small move
vars: {unit: web, port: 8080, url: "https://${domain}/health", domain: social.example}
downtime: {announced: 30m, budget: 5m}
announcement: {waived: a rehearsal}
secrets: {pg: {env: PG_PASSWORD}}
sites:
  old: {db: alice, web: [yakko, wakko]}
  new: {db: nixie, web: [freud, fritz]}
"""
FILE = "move.yaml"


def source(steps: str, *, head: str = HEAD, **fields: object) -> Source:
    """A runbook of these steps."""
    return Source(FILE, f"{head}steps:\n{steps}", **fields)  # type: ignore[arg-type]


def planned(steps: str, **fields: object) -> Plan:
    """The plan of these steps."""
    return planner.plan(source(steps, **fields), KINDS)  # type: ignore[arg-type]


def _act(host: str, verb: str, unit: str, back: str | None, scope: Scope) -> Act:
    command = Command(("systemctl", verb, unit))
    return Act(
        key=f"{verb}.{host}.{unit}",
        title=f"{verb} {unit} on {host}",
        effect=OnHost(host=host, commands=(command,), timeout=scope.timeout, idempotent=True),
        host=host,
        before=_read(host, "systemctl", "is-active", unit),
        undo=(lambda _: _act(host, back, unit, None, scope)) if back else None,
    )


def _read(host: str, *argv: str) -> OnHost:
    return OnHost(host=host, commands=(Command(argv),), timeout=5.0, reads=True)
