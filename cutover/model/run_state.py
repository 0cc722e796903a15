"""The state of a run, as a fold of its events. Engine, resume, screens and reports all use this one fold."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cutover.model.events import Event
from cutover.model.kind import Point
from cutover.model.units import show_duration


@dataclass(slots=True)
class ActState:
    """What is known of one act (or of its undo, under the key KEY.undo).

    status: begun (an intent and nothing after it), done, failed (known to have run and failed), not_done (known not
    to be done), unknown. attempt: of the last intent. before: the reply read just before the first attempt. observed:
    what its outcome or a probe noted, such as the id of a message. given_up: it is outstanding; nobody tries it again.
    """

    status: str = "not_done"
    attempt: int = 0
    host: str | None = None
    title: str = ""
    before: dict[str, Any] | None = None
    because: str = ""
    observed: dict[str, Any] = field(default_factory=dict)
    given_up: bool = False

    @property
    def touched(self) -> bool:
        """Whether it may have changed anything."""
        return self.attempt > 0


@dataclass(slots=True)
class StepState:
    """What is known of one step. answer: the last one about it, until it moves."""

    status: str = "pending"
    why: str = ""
    since: str = ""
    began: str = ""
    acts: dict[str, ActState] = field(default_factory=dict)
    polls: dict[str, dict[str, Any]] = field(default_factory=dict)
    crossed: set[Point] = field(default_factory=set)
    retries: int = 0
    answer: dict[str, Any] | None = None

    @property
    def touched(self) -> bool:
        """Whether any act of it may have changed anything."""
        return any(act.touched for act in self.acts.values())


@dataclass(slots=True)
class RunState:
    """Everything that the events of a run say. Unknown event types are skipped: a newer screen reads older runs."""

    run: str = ""
    plan: str = ""
    title: str = ""
    status: str = "preparing"
    why: str = ""
    operator: str = ""
    created: str = ""
    ended: str = ""
    seq: int = 0
    starts: int = 0
    owner: str = ""
    engine_up: bool = False
    steps: dict[str, StepState] = field(default_factory=dict)
    questions: dict[str, dict[str, Any]] = field(default_factory=dict)
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    armed: set[str] = field(default_factory=set)
    crossed: set[str] = field(default_factory=set)
    claims: dict[str, int] = field(default_factory=dict)
    last_claims: dict[str, int] = field(default_factory=dict)
    excluded: dict[str, str] = field(default_factory=dict)
    commands: dict[str, dict[str, Any]] = field(default_factory=dict)
    window: dict[str, Any] | None = None
    windows: list[dict[str, Any]] = field(default_factory=list)
    budget_asked: bool = False
    measures: dict[str, dict[str, Any]] = field(default_factory=dict)
    outstanding: list[str] = field(default_factory=list)

    def step(self, name: str) -> StepState:
        """The state of a step; a step without events is pending."""
        return self.steps.setdefault(name, StepState())

    def act(self, step: str, key: str) -> ActState:
        """The state of an act; an act without events is not done."""
        return self.step(step).acts.setdefault(key, ActState())

    def window_length(self, now: datetime) -> str:
        """How long users could not write, so far, for a reader; without a measure it is not known."""
        lengths = [float(window["seconds"]) for window in self.windows if window.get("measured")]
        if self.window and self.window.get("measured"):
            lengths.append((now - datetime.fromisoformat(self.window["opened"])).total_seconds())
        return show_duration(sum(lengths)) if lengths else "a time that was not measured"

    def apply(self, event: Event) -> None:
        """Take one event in."""
        self.seq = event.seq
        self.take(event.type, event.step, event.body, event.at_utc, event.host)

    def take(self, kind: str, step: str | None, body: dict[str, Any], at: str, host: str | None) -> None:
        """Take in what an event says. The engine does so with what it has decided, just before it is durable."""
        handler = _HANDLERS.get(kind)
        if handler:
            handler(self, step or "", body, at, host)


def fold(events: Iterable[Event]) -> RunState:
    """The state after all these events."""
    state = RunState()
    for event in events:
        state.apply(event)
    return state


def _created(state: RunState, _step: str, body: dict[str, Any], at: str, _host: str | None) -> None:
    state.run, state.plan, state.title = body["run"], body["plan"], body["title"]
    state.operator, state.created = body["operator"], at
    for name in body["steps"]:
        state.step(name)


def _engine_started(state: RunState, _step: str, body: dict[str, Any], _at: str, _host: str | None) -> None:
    state.starts, state.owner, state.engine_up = body["start"], body["owner"], True
    state.claims = {}


def _engine_stopped(state: RunState, _step: str, _body: dict[str, Any], _at: str, _host: str | None) -> None:
    state.engine_up = False


def _claim_taken(state: RunState, _step: str, body: dict[str, Any], _at: str, host: str | None) -> None:
    state.claims[host or ""] = state.last_claims[host or ""] = body["token"]


def _claim_gone(state: RunState, _step: str, _body: dict[str, Any], _at: str, host: str | None) -> None:
    state.claims.pop(host or "", None)


def _run_moved(state: RunState, _step: str, body: dict[str, Any], at: str, _host: str | None) -> None:
    state.status, state.why = body["to"], body.get("why", "")
    if state.status in ("done", "rolled_back", "refused"):
        state.ended = at


def _step_moved(state: RunState, step: str, body: dict[str, Any], at: str, _host: str | None) -> None:
    this = state.step(step)
    this.status, this.why, this.since = body["to"], body.get("why", ""), at
    this.began, this.answer = this.began or at, None
    if this.status == "checking":
        this.polls = {}  # what an earlier attempt waited for says nothing about this one
    if body.get("outstanding"):
        state.outstanding.append(f"{step}: {this.why}")


def _retried(state: RunState, step: str, _body: dict[str, Any], _at: str, _host: str | None) -> None:
    state.step(step).retries += 1


def _act_before(state: RunState, step: str, body: dict[str, Any], _at: str, _host: str | None) -> None:
    act = state.act(step, body["key"])
    if act.before is None:
        act.before = body["reply"]


def _act_intent(state: RunState, step: str, body: dict[str, Any], _at: str, host: str | None) -> None:
    act = state.act(step, body["key"])
    act.status, act.attempt, act.host, act.title = "begun", body["attempt"], host, body["title"]


def _act_outcome(state: RunState, step: str, body: dict[str, Any], _at: str, _host: str | None) -> None:
    act = state.act(step, body["key"])
    refused = body["reply"].get("outcome") == "refused"
    if body.get("nothing_done") or (refused and body["reply"].get("code") != "receipt-exists"):  # that one has begun
        act.status = "not_done"
    else:
        act.status = {"passed": "done", "failed": "failed"}.get("" if refused else body["finding"], "unknown")
    act.because = body["because"]
    act.observed = {**act.observed, **(body.get("observed") or {})}


def _act_probed(state: RunState, step: str, body: dict[str, Any], _at: str, _host: str | None) -> None:
    act = state.act(step, body["key"])
    act.status = body["done"] if body["done"] in ("done", "not_done") else "unknown"
    act.because = body["because"]
    act.observed = {**act.observed, **(body.get("observed") or {})}


def _act_outstanding(state: RunState, step: str, body: dict[str, Any], _at: str, _host: str | None) -> None:
    state.act(step, body["key"]).given_up = True
    state.outstanding.append(f"{step}: {body['because']}")


def _poll(state: RunState, step: str, body: dict[str, Any], at: str, _host: str | None) -> None:
    poll = state.step(step).polls.setdefault(body["key"], {"since": at})
    poll.update(body, at=at)


def _asked(state: RunState, step: str, body: dict[str, Any], at: str, _host: str | None) -> None:
    question = body["id"]
    if question not in state.questions:
        state.asked[body["base"]] = state.asked.get(body["base"], 0) + 1
    state.questions[question] = {**body, "step": step, "since": at}


def _amended(state: RunState, _step: str, body: dict[str, Any], _at: str, _host: str | None) -> None:
    if body["id"] in state.questions:
        state.questions[body["id"]].update(body)


def _answered(state: RunState, step: str, body: dict[str, Any], at: str, _host: str | None) -> None:
    question = state.questions.pop(body["id"], {})
    state.answers[body["id"]] = {**question, **body, "at": at}
    state.armed.update(body.get("arms", ()))
    if step:
        state.step(step).answer = body


def _withdrawn(state: RunState, _step: str, body: dict[str, Any], _at: str, _host: str | None) -> None:
    state.questions.pop(body["id"], None)


def _command(state: RunState, _step: str, body: dict[str, Any], _at: str, _host: str | None) -> None:
    state.commands[body["id"]] = body


def _point_crossed(state: RunState, step: str, body: dict[str, Any], _at: str, _host: str | None) -> None:
    state.crossed.add(body["point"])
    state.step(step).crossed.add(body["point"])


def _excluded(state: RunState, _step: str, body: dict[str, Any], _at: str, host: str | None) -> None:
    state.excluded[host or ""] = body["reason"]


def _window_opened(state: RunState, _step: str, body: dict[str, Any], at: str, _host: str | None) -> None:
    state.window = {**body, "opened": at}


def _window_closed(state: RunState, _step: str, body: dict[str, Any], at: str, _host: str | None) -> None:
    state.windows.append({**(state.window or {}), **body, "closed": at})
    state.window = None


def _budget(state: RunState, _step: str, _body: dict[str, Any], _at: str, _host: str | None) -> None:
    state.budget_asked = True


def _measured(state: RunState, _step: str, body: dict[str, Any], at: str, _host: str | None) -> None:
    state.measures[body["measure"]] = {**body, "at": at}


_HANDLERS = {
    "run.created": _created,
    "engine.started": _engine_started,
    "engine.stopped": _engine_stopped,
    "claim.taken": _claim_taken,
    "claim.refused": _claim_gone,
    "claim.released": _claim_gone,
    "run.moved": _run_moved,
    "step.moved": _step_moved,
    "step.retried": _retried,
    "act.before": _act_before,
    "act.intent": _act_intent,
    "act.outcome": _act_outcome,
    "act.probed": _act_probed,
    "act.outstanding": _act_outstanding,
    "poll.verdict": _poll,
    "poll.sample": _poll,
    "poll.ended": _poll,
    "question.asked": _asked,
    "question.amended": _amended,
    "question.answered": _answered,
    "question.withdrawn": _withdrawn,
    "command.accepted": _command,
    "point.crossed": _point_crossed,
    "host.excluded": _excluded,
    "window.opened": _window_opened,
    "window.closed": _window_closed,
    "budget.reached": _budget,
    "measure.sample": _measured,
}
