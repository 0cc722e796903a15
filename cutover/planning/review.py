"""What a careful reviewer refuses in a plan, and what a reviewer only remarks on.

Every sentence says what, where, and the way out. Nothing here reads the world: what holds only at some moment is for
the checks and guards of the steps.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from cutover.model.effects import Effect, OnHost, is_reading
from cutover.model.kind import Act, Acts, Ask, Check, Cross, Kind, Poll
from cutover.model.plan import Plan, Source, Step
from cutover.model.units import show_duration
from cutover.planning import planner
from cutover.planning.diagnostics import Diagnostic, Span
from cutover.planning.graph import Before, islands
from cutover.planning.one_site import Finding, unit_findings
from cutover.planning.points import Points, points_of, some, undo_of
from cutover.planning.problems import Refused, texts_of

_SAY_WHY = "Say `undo: nothing` if it leaves nothing behind, or why it cannot be taken back: `no_way_back: …`."


class Review(NamedTuple):
    """The verdict on a plan: with errors it must not run; warnings are for people to weigh."""

    errors: list[Diagnostic]
    warnings: list[Diagnostic]


class _View(NamedTuple):
    """A plan, and what was worked out about it."""

    plan: Plan
    before: Before
    points: Points


def reviewed_plan(source: Source, kinds: Mapping[str, type[Kind]]) -> tuple[Plan, list[Diagnostic]]:
    """Make a plan that passes review, with what a reviewer remarks on. Raises Refused."""
    plan = planner.plan(source, kinds)
    errors, warnings = review(plan)
    if errors:
        raise Refused(errors, texts_of(source))
    return plan, warnings


def review(plan: Plan) -> Review:
    """Look at a plan as a careful reviewer does; both lists are in the order of the runbook."""
    needs = {step.name: step.needs for step in plan.steps}
    view = _View(plan, Before(needs), points_of(plan))
    refusals = (
        _announcement,
        _cut_off,
        _empty,
        _receipts,
        _waits,
        _questions,
        _points,
        _ways_back,
        _units,
    )
    remarks = (_unpinned, _budget, _unasked, _unused)
    return Review(
        _in_order(plan, (each for rule in refusals for each in rule(view))),
        _in_order(plan, (each for rule in remarks for each in rule(view))),
    )


def _in_order(plan: Plan, findings: Iterable[Finding]) -> list[Diagnostic]:
    ordered = sorted(findings, key=lambda each: (each.step.place.line, each.step.place.column))
    return [_diagnostic(plan.source.file, each) for each in ordered]


def _diagnostic(file: str, finding: Finding) -> Diagnostic:
    step = finding.step
    span = Span(step.place.line, step.place.column, step.place.line, step.place.column + len(step.name))
    return Diagnostic.at(span, file, finding.message, hint=finding.hint, where=step.name)


# What is refused.


def _announcement(view: _View) -> Iterator[Finding]:
    """Nothing disrupts before the start is confirmed by a channel that does not depend on a site, or waived."""
    plan = view.plan
    starts = {step.name: step.kind.announces(plan.scope) for step in plan.steps if _is_start(step)}
    if plan.announcement is not None:
        for name in starts:
            message = f"{name} announces the downtime, and `announcement` says why nobody is told."
            yield Finding(plan.step(name), message, "Remove the line `announcement`, or the step.")
        return
    confirmed = [name for name, channels in starts.items() if channels]
    for step in plan.steps:
        if not step.disruptive or any(view.before.before(name, step.name) for name in confirmed):
            continue
        if starts and not confirmed:
            message = f"{step.name} disrupts, and {some(list(starts))} is confirmed by no channel that lives elsewhere."
            yield Finding(step, message, "Announce it on a channel with `lives_on: elsewhere` too.")
        elif starts:
            message = f"{step.name} disrupts, and may begin before {some(confirmed)} is confirmed."
            yield Finding(step, message, f"Let it need {confirmed[0]}.")
        else:
            message = f"{step.name} disrupts, and no announcement comes before it."
            hint = "Announce it, or add the line `announcement: {waived: why nobody needs to be told}`."
            yield Finding(step, message, hint)
        return  # what comes after it has the same trouble


def _is_start(step: Step) -> bool:
    return getattr(step.kind, "what", None) == "start" and step.kind.name == "announce"


def _cut_off(view: _View) -> Iterator[Finding]:
    """A group of steps that nothing connects with the first step would begin at once, and nothing would wait for it."""
    plan = view.plan
    written_first = min(plan.steps, key=lambda step: step.place.line).name
    for group in islands({step.name: step.needs for step in plan.steps}):
        if written_first not in group:
            message = f"{group[0]} is not connected with the other steps: it begins at once, and nothing waits for it."
            yield Finding(plan.step(group[0]), message, "Say what it needs, or name it in the 'needs' of a later step.")


def _empty(view: _View) -> Iterator[Finding]:
    for step in view.plan.steps:
        if not any(not isinstance(stage, Acts) or stage.acts for stage in step.stages):
            yield Finding(step, f"{step.name} does nothing on any host.", "Name hosts and what to do, or remove it.")


def _receipts(view: _View) -> Iterator[Finding]:
    """A receipt is named for step and act: two acts with one name would each be taken for the other after a crash."""
    taken: dict[tuple[str | None, str], Step] = {}
    for step in view.plan.steps:
        for act in step.acts:
            first = taken.setdefault((act.host, f"{step.name}.{act.key}"), step)
            if first is not step:
                message = f"{step.name} and {first.name} would write the same receipt, '{step.name}.{act.key}'."
                yield Finding(step, message, "Give one of them another name.")


def _waits(view: _View) -> Iterator[Finding]:
    for step in view.plan.steps:
        for poll in step.stages:
            if not isinstance(poll, Poll):
                continue
            if poll.deadline is None:
                message = f"{step.name} waits without a deadline: {poll.title}."
                yield Finding(step, message, "Say how long it may take.")
            elif poll.steady >= poll.deadline:
                message = (
                    f"{step.name} can never pass: it has to hold for {show_duration(poll.steady)} within "
                    f"{show_duration(poll.deadline)}."
                )
                yield Finding(step, message, "Give it a longer deadline.")
            if poll.interval <= 0:
                yield Finding(step, f"{step.name} would ask without a pause.", "Give it an interval, such as 1s.")


def _questions(view: _View) -> Iterator[Finding]:
    for step in view.plan.steps:
        for ask in step.stages:
            if not isinstance(ask, Ask):
                continue
            if ask.silence == "back":
                yield from _silence(view, step, ask)
            for point in sorted(ask.arms):
                later = [each for each in view.plan.steps if point in each.points]
                if not any(view.before.before(step.name, each.name) for each in later):
                    message = f"{step.name} arms the {point} point of no return, and no step after it goes over one."
                    yield Finding(
                        step, message, f"Take '{point}' out of 'arms', or let the point's step need this one."
                    )


def _silence(view: _View, step: Step, ask: Ask) -> Iterator[Finding]:
    """Silence may only turn a run back while nothing is lost by it."""
    if ask.until is None:
        yield Finding(step, f"{step.name}: silence goes back, after no time.", "Say after how long.")
    over = (name for name in view.points.hards if name != step.name and not view.before.before(step.name, name))
    if (hard := next(over, None)) is not None:
        message = f"{step.name}: silence cannot go back here: {hard} may have crossed the hard point of no return."
        yield Finding(step, message, "Leave 'silence' out: it then holds.")


def _points(view: _View) -> Iterator[Finding]:
    for step in view.plan.steps:
        hard = _past_hard(view, step) if "soft" in step.points else None
        if hard is not None:
            message = f"{step.name} hands data over after {hard} has crossed the hard point of no return."
            yield Finding(step, message, "The soft point comes first.")


def _ways_back(view: _View) -> Iterator[Finding]:
    for step in view.plan.steps:
        acting = [act for act in _before_hard(view, step) if not is_reading(act.effect)]
        undone = [act for act in acting if undo_of(act) is not None]
        if step.nothing_to_undo is None and step.no_way_back is None:
            lost = next((act for act in acting if act.undo is None), None)
            if lost is not None:
                yield Finding(step, f"{step.name} has no way back and does not say why: {lost.title}.", _SAY_WHY)
        elif step.nothing_to_undo in (None, planner.SAID) and acting and len(undone) == len(acting):
            word = "no_way_back" if step.no_way_back is not None else "undo: nothing"
            message = f"{step.name} says `{word}`, but it has a way back, which would be walked."
            yield Finding(step, message, f"Remove `{word}`.")


def _before_hard(view: _View, step: Step) -> Iterator[Act]:
    """Return the acts of a step that a run may have to take back: those not certain to follow the hard point."""
    if _past_hard(view, step) is not None:
        return
    for stage in step.stages:
        if isinstance(stage, Cross) and stage.point == "hard":
            return
        if isinstance(stage, Acts):
            yield from stage.acts


def _past_hard(view: _View, step: Step) -> str | None:
    """Return the step that is certain to have crossed the hard point before this one begins."""
    return next((name for name in view.points.hards if view.before.before(name, step.name)), None)


def _units(view: _View) -> Iterator[Finding]:
    return unit_findings(view.plan, view.before, frozenset(s.name for s in view.plan.steps if _past_hard(view, s)))


# What is only remarked on.


def _unpinned(view: _View) -> Iterator[Finding]:
    hosts = [host.name for host in view.plan.hosts.values() if host.acted_upon and host.machine_id is None]
    if hosts:
        message = f"Nothing proves that {some(hosts)} will be the right machine{'s' * (len(hosts) > 1)}."
        yield Finding(view.plan.steps[0], message, "Run `cutover pin` and commit the pins.")


def _budget(view: _View) -> Iterator[Finding]:
    first = next((step for step in view.plan.steps if step.disruptive), None)
    downtime = view.plan.downtime
    if first is not None and downtime is None:
        message = f"{first.name} disrupts, and there is no budget at which the commander would be asked."
        yield Finding(first, message, "Add `downtime: {announced: 30m, budget: 5m}`.")
    elif first is not None and downtime is not None and downtime.budget > downtime.announced:
        message = (
            f"Users are told {show_duration(downtime.announced)}, and the commander is asked only at "
            f"{show_duration(downtime.budget)}."
        )
        yield Finding(first, message, "Let the budget be the shorter one.")


def _unasked(view: _View) -> Iterator[Finding]:
    """In a plan that asks people, something disruptive that begins beside the first step is likely a slip."""
    asks = [step.name for step in view.plan.steps if any(isinstance(stage, Ask) for stage in step.stages)]
    first = min(view.plan.steps, key=lambda step: step.place.line)
    for step in view.plan.steps if asks else ():
        if step.disruptive and not step.needs and step is not first:
            yield Finding(step, f"{step.name} disrupts, and begins before anyone is asked.", "Let it need an ask.")


def _unused(view: _View) -> Iterator[Finding]:
    plan = view.plan
    used = {host for step in plan.steps for effect in _effects(step) if (host := _host(effect)) is not None}
    idle = [name for name in plan.hosts if name not in used]
    if idle:
        yield Finding(plan.steps[0], f"No step reads or changes {some(idle)}.", "Remove what is not needed.")
    for name in plan.channels:
        if not any(name in getattr(step.kind, "channels", ()) for step in plan.steps):
            yield Finding(plan.steps[0], f"Nothing is announced on the channel '{name}'.", "Remove it.")
    for name in plan.secrets:
        if f"${{secret:{name}}}" not in plan.source.runbook:
            yield Finding(plan.steps[0], f"The secret '{name}' is used nowhere.", "Remove it.")


def _effects(step: Step) -> Iterator[Effect]:
    checks: list[Check] = [*step.checks]
    for stage in step.stages:
        if isinstance(stage, Poll):
            checks += stage.checks
    yield from (check.effect for check in checks)
    yield from (act.effect for act in step.acts)


def _host(effect: Effect) -> str | None:
    return effect.host if isinstance(effect, OnHost) else None
