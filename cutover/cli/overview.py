"""Where a run stands, for `status` and for whoever attaches late; and its one line for the bottom of a terminal."""

from datetime import datetime
from typing import Any

from cutover import wiring
from cutover.errors import ExitCode
from cutover.model.run_state import RunState, StepState
from cutover.model.text import visible_line
from cutover.model.units import show_duration

_STEP_MARKS = {
    "pending": "·", "checking": "▶", "acting": "▶", "failed": "✗", "in_doubt": "?", "done": "✓", "skipped": "·",
    "undoing": "◀", "undo_failed": "✗", "undo_in_doubt": "?", "undone": "◀",
}  # fmt: skip
_RUN_MARKS = {"done": "✓", "rolled_back": "◀", "refused": "✗", "held": "‖", "back_held": "‖", "going_back": "◀"}
_WORDS = {"back_held": "held on its way back", "going_back": "going back", "rolled_back": "rolled back"}
_BACKWARDS = ("going_back", "back_held")
_ENDED = ("done", "rolled_back", "refused")
UNDER_WAY = ("checking", "acting", "undoing")

Line = tuple[str, str]
"""A mark and what stands behind it."""


def words(status: str) -> str:
    """A status as people say it."""
    return _WORDS.get(status, status.replace("_", " "))


def overview(
    state: RunState, *, now: datetime, alive: bool, budget: float | None = None, silent: str | None = None
) -> list[Line]:
    """The run, its window and its steps; questions are shown whole elsewhere."""
    lines = [_head(state, now, alive, silent)]
    if state.why and state.status in ("held", "back_held", "refused", "going_back"):
        lines.append(("·", f"because: {visible_line(state.why)}"))
    window = window_words(state, now, budget)
    lines += [("·", window)] if window else []
    if state.crossed:
        lines.append(("◆", f"passed: the {' and the '.join(sorted(state.crossed, reverse=True))} point of no return"))
    asked = {str(question["step"]): str(question["since"]) for question in state.questions.values()}
    width = max((len(name) for name in state.steps), default=0)
    lines += [
        (_step_mark(name, state), f"{name:<{width}}  {said}".rstrip())
        for name, step in state.steps.items()
        for said in [f"waits for a person, since {asked[name][11:19]}Z" if name in asked else _step(step, now, state)]
    ]
    lines += [("✗", f"{host} is excluded: {visible_line(reason)}") for host, reason in state.excluded.items()]
    lines += [("✗", f"left as it is: {visible_line(what)}") for what in state.outstanding]
    return lines


def _head(state: RunState, now: datetime, alive: bool, silent: str | None) -> Line:
    began = datetime.fromisoformat(state.created)
    title = visible_line(state.title)
    if state.ended:
        took = show_duration(int((datetime.fromisoformat(state.ended) - began).total_seconds()))
        when = f"{words(state.status)} since {_moment(state.ended)}, after {took}"
    else:
        age = show_duration(int(max(0.0, (now - began).total_seconds())))
        when = f"{words(state.status)}, begun {_moment(state.created)}, {age} ago"
        when += "" if alive else f"; {silent or f'NO ENGINE DRIVES IT: cutover resume {state.run}'}"
    mark = _RUN_MARKS.get(state.status, "▶") if alive or state.ended else "✗"
    return mark, f"{state.run} “{title}” (plan {state.plan[:6]}): {when}"


def _moment(at: str) -> str:
    return f"{at[:10]} {at[11:19]}Z"


def _step_mark(name: str, state: RunState) -> str:
    if any(question["step"] == name for question in state.questions.values()):
        return "◆"
    step = state.step(name)
    return "·" if _left(step, state) else _STEP_MARKS.get(step.status, "·")


def _left(step: StepState, state: RunState) -> bool:
    """Whether the run turned round in the middle of this step, so that nothing of it goes on."""
    return step.status in ("checking", "acting") and state.status in (*_BACKWARDS, *_ENDED)


def _step(step: StepState, now: datetime, state: RunState) -> str:
    if step.status == "pending":
        return ""
    if _left(step, state):
        return f"not finished, left at {step.since[11:19]}Z"
    if step.status in UNDER_WAY:
        return f"{step.status} for {_for(step.since, now)}{_doing(step)}"
    why = f": {visible_line(step.why)}" if step.why else ""
    return f"{step.status.replace('_', ' ')} {step.since[11:19]}Z{why}"


def _for(since: str, now: datetime) -> str:
    return show_duration(int(max(0.0, (now - datetime.fromisoformat(since)).total_seconds())))


def _doing(step: StepState) -> str:
    """The act that is under way, or what a poll saw last."""
    titles = [act.title for act in step.acts.values() if act.status == "begun" and act.title]
    if titles:
        more = f" and {len(titles) - 1} more" if len(titles) > 1 else ""
        return f": {visible_line(titles[0])}{more}"
    waits = [poll for poll in step.polls.values() if "seconds" not in poll]
    return f": {visible_line(str(waits[-1]['because']))}" if waits else ""


def window_words(state: RunState, now: datetime, budget: float | None) -> str:
    """How long users could not write, or cannot; empty when they always could."""
    closed = sum(float(window["seconds"]) for window in state.windows)
    of = f" of {show_duration(budget)}" if budget else ""
    if state.window is not None:
        opened = datetime.fromisoformat(state.window["opened"])
        now_open = closed + max(0.0, (now - opened).total_seconds())
        return f"window open {show_duration(int(now_open))}{of}"
    return f"window closed after {show_duration(closed)}{of}" if state.windows else ""


def status_line(state: RunState, *, now: datetime, budget: float | None = None) -> str:
    """What happens now and until when, in one line; the most urgent first, since the end may be cut off."""
    parts = [_asks(state, now)] if state.questions else []
    if state.status in ("held", "back_held"):
        parts.append("‖ held: `release` goes on")
    busy = [(name, step) for name, step in state.steps.items() if step.status in UNDER_WAY and not _left(step, state)]
    if not state.questions:
        parts += [f"▶ {name} {_for(step.since, now)}{_doing(step)}{_deadline(step, now)}" for name, step in busy[:1]]
        parts += [f"and {', '.join(name for name, _ in busy[1:])}"] if busy[1:] else []
    window = window_words(state, now, budget) if state.window is not None else ""
    done = sum(step.status in ("done", "skipped") for step in state.steps.values())
    parts = [f"{now:%H:%M:%S}Z", *([window] if window else []), *parts, f"{done}/{len(state.steps)} steps"]
    return " · ".join(parts)


def _asks(state: RunState, now: datetime) -> str:
    question = next(iter(state.questions.values()))
    offered = ", ".join(visible_line(str(choice["word"])) for choice in question["choices"])
    more = f" (and {len(state.questions) - 1} more)" if len(state.questions) > 1 else ""
    until = question.get("until")
    left = int((datetime.fromisoformat(until) - now).total_seconds()) if until else 0
    silence = f", else back in {show_duration(left)}" if left > 0 and question.get("silence") == "back" else ""
    return f"◆ asks: {offered}{silence}{more}"


def _deadline(step: StepState, now: datetime) -> str:
    for poll in step.polls.values():
        if "seconds" not in poll and poll.get("until"):
            left = poll["until"] - (now - datetime.fromisoformat(poll["since"])).total_seconds()
            return f", {show_duration(int(max(0.0, left)))} left"
    return ""


def status_json(state: RunState, *, alive: bool) -> dict[str, Any]:
    """The same for a program."""
    return {
        "run": state.run,
        "title": state.title,
        "plan": state.plan,
        "status": state.status,
        "why": state.why,
        "engine": alive,
        "operator": state.operator,
        "created": state.created,
        "ended": state.ended or None,
        "seq": state.seq,
        "exit_code": int(exit_code(state, alive)),
        "window": state.window,
        "windows": state.windows,
        "crossed": sorted(state.crossed),
        "questions": list(state.questions.values()),
        "steps": {
            name: {"status": step.status, "why": step.why, "since": step.since} for name, step in state.steps.items()
        },
        "excluded": state.excluded,
        "outstanding": state.outstanding,
    }


def exit_code(state: RunState, alive: bool) -> ExitCode:
    """What the run's state says to a script; a run that has not ended and has no engine is stuck."""
    if not alive and not state.ended:
        return ExitCode.STUCK
    return wiring.exit_code(state)
