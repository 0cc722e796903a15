"""From source to plan: order, hosts, pins, and every step unfolded to the effects that it may have."""

import gc
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from cutover.model.effects import OnHost, is_reading
from cutover.model.kind import Act, Acts, Kind, Scope, ScopeError, Stage
from cutover.model.pins import Pins
from cutover.model.plan import Plan, PlannedHost, Source, Step
from cutover.model.runbook import Runbook, StepEntry
from cutover.planning import loader, pins
from cutover.planning.as_json import digest
from cutover.planning.graph import Cycle, ordered
from cutover.planning.inventory import Inventory
from cutover.planning.names import note_unknown_need, note_unknown_place
from cutover.planning.problems import Problems, pins_file
from cutover.planning.step_syntax import Written

SAID = "the runbook says `undo: nothing`"


def plan(source: Source, kinds: Mapping[str, type[Kind]]) -> Plan:
    """Make the plan. Raises Refused with all that keeps it from being one; `review` says what is unwise in it.

    The same source gives the same plan, always: a resumed run plans again and compares the hash.
    """
    with _without_collector():
        return _plan(source, kinds)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Planning makes much that stays and nothing that goes: to look through it for garbage would double its time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _plan(source: Source, kinds: Mapping[str, type[Kind]]) -> Plan:
    loaded = loader.read(source, kinds)
    runbook, problems = loaded.runbook, loaded.problems
    scope = Scope({site: dict(roles) for site, roles in runbook.sites.items()}, channels=dict(runbook.channels))
    pinned = _pins(source, scope, problems)
    order = _order(runbook, loaded.written, problems)
    entries = {entry.name: (entry, step) for entry, step in zip(runbook.steps, loaded.written, strict=True)}
    steps = [_step(*entries[name], needs, scope, problems) for name, needs in order.items()]
    problems.settle()
    done = tuple(step for step in steps if step is not None)
    hosts = _hosts(scope, loaded.inventory, pinned, acted_upon(done))
    made = Plan(
        title=runbook.title,
        hash="",
        source=source,
        scope=scope,
        hosts=hosts,
        steps=done,
        downtime=runbook.downtime,
        announcement=runbook.announcement,
        channels=dict(runbook.channels),
        measures=dict(runbook.measures),
        secrets=dict(runbook.secrets),
        pinned=all(host.machine_id is not None for host in hosts.values()),
    )
    return replace(made, hash=digest(made, runbook))


def acted_upon(steps: Iterable[Step]) -> frozenset[str]:
    """Return the hosts that a step may change, going forward or back."""
    acts = [act for step in steps for act in step.acts]
    undone = [undo for act in acts if act.undo is not None and (undo := act.undo(None)) is not None]
    return frozenset(host for act in (*acts, *undone) if (host := _changed_host(act)) is not None)


def _changed_host(act: Act) -> str | None:
    effect = act.effect
    return effect.host if isinstance(effect, OnHost) and not is_reading(effect) else None


def _pins(source: Source, scope: Scope, problems: Problems) -> Pins | None:
    """Read the pins beside the runbook, if there are any."""
    if source.pins is None:
        return None
    hosts = [host for roles in scope.sites.values() for each in roles.values() for host in each]
    found, diagnostics = pins.read(source.pins, pins_file(source.file), hosts)
    problems.extend(diagnostics)
    return found


def _order(runbook: Runbook, written: tuple[Written, ...], problems: Problems) -> dict[str, tuple[str, ...]]:
    """Return what each step needs, with every step after those it needs."""
    places = {step.name: step for step in written}
    needs: dict[str, tuple[str, ...]] = {}
    previous: tuple[str, ...] = ()
    for entry in runbook.steps:
        for name in entry.needs or ():
            _check_need(entry.name, name, places, problems)
        given = previous if entry.needs is None else tuple(dict.fromkeys(entry.needs))
        needs[entry.name] = tuple(name for name in given if name in places and name != entry.name)
        previous = (entry.name,)
    try:
        return {name: needs[name] for name in ordered(needs)}
    except Cycle as circle:
        names = circle.names
        lines = ", ".join(f"{name} (line {places[name].place.line})" for name in names[:-1])
        last = places[max(names, key=lambda name: places[name].place.line)]
        span = next((at for name in names if (at := last.span_of_need(name)) != last.name_span), last.name_span)
        problems.at(
            span, f"These steps wait for each other, so none can begin: {lines}.", "Take one of the needs away."
        )
        return needs


def _check_need(step: str, need: str, places: Mapping[str, Written], problems: Problems) -> None:
    if need == step:
        problems.at(places[step].span_of_need(need), f"{step} needs itself.", "Take it out of its 'needs'.")
    elif need not in places:
        note_unknown_need(places[step], need, places, problems)


def _step(entry: StepEntry, written: Written, needs: tuple[str, ...], scope: Scope, problems: Problems) -> Step | None:
    """Unfold one step, or note which name in it is not there."""
    scope = replace(scope, step=entry.name, timeout=entry.timeout)
    kind = entry.kind
    try:
        stages, checks = kind.unfold(scope), kind.checks(scope)
        disruptive = _disruptive(kind, stages, scope)
        kind.unit_changes(scope)
    except ScopeError as problem:
        note_unknown_place(written, problem, problems)
        return None
    said = SAID if entry.undo == "nothing" else kind.claims_nothing_to_undo()
    return Step(
        name=entry.name,
        kind=kind,
        place=entry.place,
        needs=needs,
        why_waits=tuple(_why(name, entry) for name in needs),
        timeout=entry.timeout,
        retries=entry.retries,
        owner=entry.owner,
        nothing_to_undo=said,
        no_way_back=entry.no_way_back,
        disruptive=disruptive,
        checks=checks,
        stages=stages,
    )


def _disruptive(kind: Kind, stages: tuple[Stage, ...], scope: Scope) -> bool:
    """Ask the kind; where it has no word of its own, it is as its acts are, which are at hand."""
    if type(kind).disruptive is not Kind.disruptive:
        return kind.disruptive(scope)
    return any(act.disruptive for stage in stages if isinstance(stage, Acts) for act in stage.acts)


def _why(need: str, entry: StepEntry) -> str:
    if entry.needs is None:
        return f"{need} is the step before it, and it names no other."
    return f"{need} is in its 'needs'."


def _hosts(scope: Scope, inventory: Inventory, pinned: Pins | None, acting: frozenset[str]) -> dict[str, PlannedHost]:
    roles: dict[str, list[str]] = {}
    site_of: dict[str, str] = {}
    for site, named in scope.sites.items():
        for role, hosts in named.items():
            for host in hosts:
                roles.setdefault(host, []).append(role)
                site_of[host] = site
    planned = {}
    for name, named_roles in roles.items():
        way = inventory.hosts.get(name)
        pin = pinned.hosts.get(name) if pinned else None
        planned[name] = PlannedHost(
            name=name,
            site=site_of[name],
            role=", ".join(named_roles),
            destination=way.ssh if way else name,
            user=way.user if way else None,
            port=way.port if way else None,
            machine_id=pin.machine_id if pin else None,
            host_keys=pin.host_keys if pin else (),
            acted_upon=name in acting,
        )
    return planned
