"""A plan for people to read before they approve it: as text, as JSON, as a Mermaid diagram.

The text shows every command that changes something as it will be given to the host, secrets by name, and leaves none
out: what is not here does not happen. Text from the runbook is made visible on the way out.
"""

import json
import shlex
from collections.abc import Iterator

from cutover.model.effects import Command, Effect, Http, OnHost, sealed_text
from cutover.model.kind import Act, Acts, Ask, Cross, Poll, Stage
from cutover.model.plan import Plan, PlannedHost, Step
from cutover.model.text import visible_line
from cutover.model.units import show_duration
from cutover.planning.as_json import plan_json
from cutover.planning.points import points_of, undo_of, ways_back

_INDENT = "    "


def text(plan: Plan, *, readings: bool = False) -> str:
    """Return the whole plan for a person, in plain lines that any terminal shows as they are.

    readings: also how each precondition and each wait is read; without it only what they ask is shown, so that the
    commands that change something stand out.
    """
    return "\n".join(visible_line(line).rstrip() for line in _lines(plan, readings)) + "\n"


def json_text(plan: Plan) -> str:
    """Return the whole plan for a program."""
    points = points_of(plan)
    back = [
        {
            "after": name,
            "lossless": way.lossless,
            "closed": way.closed,
            "loses": way.loses,
            "steps": len(way.steps),
            "seconds": way.seconds,
        }
        for name, way in ways_back(plan)
    ]
    data = {**plan_json(plan), "points": {"soft": points.soft, "hard": points.hard}, "way_back": back}
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def mermaid(plan: Plan) -> str:
    """Return the graph of the steps as a Mermaid flowchart: questions, points and what disrupts look different."""
    node = {step.name: f"s{number}" for number, step in enumerate(plan.steps, 1)}
    points = points_of(plan)
    lines = ["flowchart TD"]
    for step in plan.steps:
        crosses = [word for word, name in (("soft", points.soft), ("hard", points.hard)) if name == step.name]
        label = [step.name, step.kind.name, *(f"◆ {word} point of no return" for word in crosses)]
        opening, closing = _shape(step)
        lines.append(f'    {node[step.name]}{opening}"{"<br/>".join(map(_escaped, label))}"{closing}')
    lines += [f"    {node[need]} --> {node[step.name]}" for step in plan.steps for need in step.needs]
    for name, style, members in (
        ("disrupts", "stroke-width:3px", [step for step in plan.steps if step.disruptive]),
        ("point", "stroke-dasharray:6 3", [step for step in plan.steps if step.points]),
    ):
        if members:
            lines.append(f"    classDef {name} {style}")
            lines.append(f"    class {','.join(node[step.name] for step in members)} {name}")
    return "\n".join(lines) + "\n"


def _shape(step: Step) -> tuple[str, str]:
    if any(isinstance(stage, Ask) for stage in step.stages):
        return "{{", "}}"
    return ("[[", "]]") if step.points else ("[", "]")


def _escaped(label: str) -> str:
    """Write what Mermaid would read as its own as a character code."""
    return "".join(char if char.isalnum() or char in " ._@-◆" else f"#{ord(char)};" for char in visible_line(label))


def _lines(plan: Plan, readings: bool) -> Iterator[str]:
    yield plan.title
    yield f"plan {plan.hash}"
    yield from _head(plan)
    yield ""
    yield "Hosts"
    yield from _table([_host(host) for host in plan.hosts.values()])
    backs = dict(ways_back(plan))
    for number, step in enumerate(plan.steps, 1):
        yield ""
        yield from _step(number, step, readings)
        yield f"{_INDENT}way back after it: {backs[step.name]}"


def _head(plan: Plan) -> Iterator[str]:
    points = points_of(plan)
    if plan.pinned:
        yield "pinned: every host has to prove its identity"
    else:
        yield "NOT PINNED: nothing proves that the hosts are the right machines (`cutover pin`)"
    if plan.announcement is not None:
        yield f"announcement waived: {plan.announcement.waived}"
    if plan.downtime is not None:
        announced, budget = show_duration(plan.downtime.announced), show_duration(plan.downtime.budget)
        yield f"downtime: {announced} announced; at {budget} the commander is asked: on, or back?"
    for name, channel in plan.channels.items():
        lives = channel.lives_on if channel.elsewhere else f"on {channel.lives_on}"
        yield f"channel {name}: {getattr(channel, 'kind', '')}, lives {lives}"
    for name, measure in plan.measures.items():
        method, url = ("GET", measure.get) if measure.get is not None else ("POST", measure.post)
        every = show_duration(measure.every)
        yield f"measure {name}: {method} {url} expects {measure.expect} ({measure.means}), every {every}"
    for name, secret in plan.secrets.items():
        source = secret.model_dump(exclude_none=True)
        yield f"secret {name}: " + "; ".join(f"{kind} {_words(value)}" for kind, value in source.items())
    if points.hard is None and points.soft is None:
        yield "points of no return: none; the way back is open to the end"
    else:
        yield f"points of no return: soft at {points.soft or 'none'}, hard at {points.hard or 'none'}"
    if owners := list(dict.fromkeys(step.owner for step in plan.steps if step.owner)):
        yield f"who must be there: {', '.join(owners)}"


def _words(value: str | tuple[str, ...]) -> str:
    return value if isinstance(value, str) else shlex.join(value)


def _host(host: PlannedHost) -> list[str]:
    login = f"{host.user}@" if host.user else ""
    port = f" port {host.port}" if host.port else ""
    identity = f"machine {host.machine_id}" if host.machine_id else "not pinned"
    does = "acted upon" if host.acted_upon else "only read"
    return [host.name, f"{host.site}: {host.role}", f"ssh {login}{host.destination}{port}", identity, does]


def _table(rows: list[list[str]]) -> Iterator[str]:
    shown = [[visible_line(cell) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*shown, strict=True)]
    for row in shown:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))


def _step(number: int, step: Step, readings: bool) -> Iterator[str]:
    said = [step.kind.name, "disrupts" if step.disruptive else "disrupts nothing"]
    said += [f"{step.owner} answers for it"] if step.owner else []
    said += [f"up to {step.retries} retries"] if step.retries else []
    yield f"{number}. {step.name}: {', '.join(said)}"
    if not step.needs:
        yield f"{_INDENT}begins at once"
    for why in step.why_waits:
        yield f"{_INDENT}waits: {why}"
    for check in step.checks:
        yield f"{_INDENT}only if {check.title}" + (" (or a person says go on)" if check.red == "ask" else "")
        if readings:
            yield from _effect(check.effect, 2)
    for stage in step.stages:
        yield from _stage(stage, readings)
    if step.nothing_to_undo is not None:
        yield f"{_INDENT}nothing to take back: {step.nothing_to_undo}"
    if step.no_way_back is not None:
        yield f"{_INDENT}no way back: {step.no_way_back}"


def _stage(stage: Stage, readings: bool) -> Iterator[str]:
    match stage:
        case Acts(acts=acts):
            if stage.enough == "any":
                yield f"{_INDENT}at the same time, until one is done; then the others go on beside the run:"
            elif len(acts) > 1:
                yield f"{_INDENT}at the same time:"
            for act in acts:
                yield from _act(act)
        case Poll():
            yield f"{_INDENT}waits for {_until(stage)}"
            for check in stage.checks:
                yield f"{_INDENT}{_INDENT}{check.title}"
                if readings:
                    yield from _effect(check.effect, 3)
        case Ask():
            yield f"{_INDENT}asks: {stage.question}"
            yield f"{_INDENT}{_INDENT}{_answer(stage)}"
        case Cross(point=point):
            yield f"{_INDENT}◆ {point} point of no return: passed on a person's typed go, given now or ahead"


def _until(poll: Poll) -> str:
    most = "WITHOUT A DEADLINE" if poll.deadline is None else f"at most {show_duration(poll.deadline)}"
    steady = f", true for {show_duration(poll.steady)}" if poll.steady else ""
    return f"{poll.title}: {most}, looking every {show_duration(poll.interval)}{steady}"


def _answer(ask: Ask) -> str:
    said = ["go, as a typed word, or back" if ask.typed else "go or back"]
    if ask.arms:
        said.append(
            f"go also passes the {' and the '.join(sorted(ask.arms, reverse=True))} point, if all guards are green"
        )
    within = f" after {show_duration(ask.until)}" if ask.until is not None else ""
    said.append(f"silence goes back{within}" if ask.silence == "back" else "silence holds")
    return "; ".join(said)


def _act(act: Act) -> Iterator[str]:
    yield f"{_INDENT}{_INDENT}{act.title}{', beside the run' if act.beside else ''}"
    yield from _effect(act.effect, 3)
    undo = undo_of(act)
    if undo is not None:
        yield f"{_INDENT}{_INDENT}  taken back by: {undo.title}{', beside the run' if undo.beside else ''}"
        yield from _effect(undo.effect, 4)


def _effect(effect: Effect, depth: int) -> Iterator[str]:
    """Show an effect to the last word: what is guarded, what is run, what it reads on stdin."""
    indent = _INDENT * depth
    match effect:
        case OnHost(host=host, commands=commands, guards=guards):
            for guard in guards:
                yield f"{indent}{host} ? only if {shlex.join(guard.argv)} prints {guard.want!r}"
            for command in commands:
                yield f"{indent}{host} $ {shlex.join(command.argv)}"
                yield from _stdin(command, indent)
        case Http():
            yield f"{indent}{effect.method} {sealed_text(effect.url)}"
            for name, value in effect.headers:
                yield f"{indent}  {name}: {sealed_text(value)}"
            if effect.body:
                yield f"{indent}  {sealed_text(effect.body)}"


def _stdin(command: Command, indent: str) -> Iterator[str]:
    for line in sealed_text(command.stdin).splitlines():
        yield f"{indent}  < {line}"
