"""Units that must never be up on two sites at once, in any order that the plan allows, forward or back.

Steps are a partial order: unless one is certain to come before another, some run will have them the other way round.
A unit is taken to be up in the beginning where the plan's first word about it is to stop it.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import NamedTuple

from cutover.model.kind import UnitChange
from cutover.model.plan import Plan, Step
from cutover.planning.graph import Before
from cutover.planning.points import some


class Finding(NamedTuple):
    """What is wrong with a step, and the way out."""

    step: Step
    message: str
    hint: str


class _Change(NamedTuple):
    """A step takes the unit up or down on a host."""

    step: Step
    site: str
    change: UnitChange


@dataclass(slots=True)
class _Unit:
    """All that a plan does with one unit: who takes it up, and down, by host."""

    name: str
    ups: dict[str, list[_Change]] = field(default_factory=lambda: defaultdict(list))
    downs: dict[str, list[_Change]] = field(default_factory=lambda: defaultdict(list))

    def hosts(self) -> Iterable[str]:
        return dict.fromkeys((*self.ups, *self.downs))

    def up_at_first(self, host: str, before: Before) -> bool:
        """Whether the first that is done with the unit on a host may be to stop it."""
        ups = _set(self.ups[host], before)
        return any(not before.between(None, down.step.name, ups) for down in self.downs[host])


def unit_findings(plan: Plan, before: Before, past_hard: Collection[str]) -> Iterator[Finding]:
    """Return all that is wrong with what a plan does to its units, each once.

    past_hard: the steps that no run takes back, because it is past the hard point when they begin.
    """
    found: dict[tuple[str, str, int], Finding] = {}
    for unit in _units(plan):
        rules = (
            _on_two_sites(unit, before),
            _on_the_way_back(unit, before, past_hard),
            _left_down(unit, before),
            _undecided(unit, before),
        )
        for number, rule in enumerate(rules):
            for finding in rule:  # one host of several says it for all
                found.setdefault((finding.step.name, unit.name, number), finding)
    yield from found.values()


def _units(plan: Plan) -> Iterable[_Unit]:
    site_of = {host.name: host.site for host in plan.hosts.values()}
    units: dict[str, _Unit] = {}
    for step in plan.steps:
        for change in step.kind.unit_changes(replace(plan.scope, step=step.name, timeout=step.timeout)):
            unit = units.setdefault(change.unit, _Unit(change.unit))
            here = unit.ups if change.up else unit.downs
            here[change.host].append(_Change(step, site_of[change.host], change))
    return units.values()


def _on_two_sites(unit: _Unit, before: Before) -> Iterator[Finding]:
    """Wherever it is taken up, it must be certain to be down at all other sites."""
    for up, host in _elsewhere(unit):
        yield from _beside(unit, up, host, before)


def _elsewhere(unit: _Unit) -> Iterator[tuple[_Change, str]]:
    """Return every start, with each host at another site that the plan has a word about."""
    site_of = {host: each[0].site for host, each in chain(unit.ups.items(), unit.downs.items()) if each}
    for up in chain.from_iterable(list(unit.ups.values())):
        if up.change.one_site_only:
            yield from ((up, host) for host, site in site_of.items() if site != up.site)


def _beside(unit: _Unit, up: _Change, host: str, before: Before) -> Iterator[Finding]:
    """May the unit be up on `host`, at another site, when `up` starts it?"""
    start, downs = up.step.name, _set(unit.downs[host], before)
    where = f"{unit.name} may start on {up.change.host}"
    out = "say `one_site_only: false` if it may be up on both."
    if unit.up_at_first(host, before) and not before.between(None, start, downs):
        stops = list(dict.fromkeys(down.step.name for down in unit.downs[host]))
        message = f"{start}: {where} while it is still up on {host}: {some(stops)} may come later."
        yield Finding(up.step, message, f"Let '{start}' need '{stops[0]}', or {out}")
    for other in unit.ups[host]:
        if before.before(start, other.step.name) or before.between(other.step.name, start, downs):
            continue  # the other comes later, where it is looked at the other way round; or it is down again by then
        message = f"{start}: {where} while {other.step.name} has it up on {host}, at another site."
        yield Finding(up.step, message, f"Stop it on {host} in a step between the two, or {out}")


def _on_the_way_back(unit: _Unit, before: Before, past_hard: Collection[str]) -> Iterator[Finding]:
    """Going back takes the unit up again where it was; then it must be taken down where it had been started."""
    for up, host in _elsewhere(unit):
        if _has_undo(up) or up.step.name in past_hard:
            continue
        undone = _set((down for down in unit.downs[host] if _has_undo(down)), before)
        if before.between(None, up.step.name, undone):
            message = (
                f"{up.step.name}: going back would start {unit.name} on {host} again while it stays up on "
                f"{up.change.host}, which this step does not take back."
            )
            yield Finding(up.step, message, "Give it a way back, or put it after the hard point of no return.")


def _has_undo(change: _Change) -> bool:
    return any(act.undo is not None for act in change.step.acts if act.host == change.change.host)


def _left_down(unit: _Unit, before: Before) -> Iterator[Finding]:
    """What is stopped is started somewhere, or the runbook says why not."""
    for host, downs in list(unit.downs.items()):
        elsewhere = any(ups for other, ups in unit.ups.items() if other != host)
        for down in downs:
            again = any(not before.before(up.step.name, down.step.name) for up in unit.ups[host])
            if not (elsewhere or again or down.change.stays_down):
                message = f"{down.step.name}: {unit.name} is stopped here and started nowhere."
                yield Finding(down.step, message, "Start it in a later step, or say why not: `stays_down: …`.")


def _undecided(unit: _Unit, before: Before) -> Iterator[Finding]:
    """Whether a unit is up or down in the end must not depend on which of two steps is faster."""
    for host in unit.hosts():
        for up in unit.ups[host]:
            for down in unit.downs[host]:
                one, other = sorted((up.step, down.step), key=lambda step: step.place.line)
                if one is not other and not before.ordered(one.name, other.name):
                    message = (
                        f"{up.step.name} starts {unit.name} on {host} and {down.step.name} stops it there, "
                        "and either may come first."
                    )
                    yield Finding(other, message, f"Let '{other.name}' need '{one.name}', or the other way round.")


def _set(changes: Iterable[_Change], before: Before) -> int:
    return before.set_of(change.step.name for change in changes)
