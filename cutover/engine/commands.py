"""What the commander can say to a running engine, besides answering: decided here, in one place, durable first.

Every command carries an id and acts once, however often it is given. `expect_seq` and `plan` protect a person from
deciding on a picture that is no longer true: a command that was meant for another plan, or for an older state of the
question it answers, is refused with a sentence.
"""

from collections.abc import Callable, Sequence
from typing import Any

from cutover.engine.context import Context
from cutover.engine.machine import RUN, STEP
from cutover.engine.questions import NO_WAY_BACK, Questions
from cutover.model.events import Event
from cutover.model.text import visible, visible_line

# What changes the meaning of a command that is already on its way.
_TURNS = frozenset({"question.asked", "question.amended", "run.moved", "point.crossed"})

VERBS = ("hold", "release", "retry", "skip", "abort", "answer", "exclude", "note")


class Commands:
    """Takes commands for one engine start."""

    def __init__(self, context: Context, questions: Questions) -> None:
        """`context` of this engine start."""
        self._context = context
        self._record = context.record
        self._questions = questions
        self._turned = 0
        self._verbs: dict[str, Callable[[dict[str, Any], str], str | None]] = {
            "hold": self._hold,
            "release": self._release,
            "retry": self._retry,
            "skip": self._skip,
            "abort": self._abort,
            "answer": self._answer,
            "exclude": self._exclude,
            "note": self._note,
        }

    async def take(self, command: dict[str, Any]) -> dict[str, Any]:
        """Decide on one command, make it durable and say `{accepted: true}` or `{refused: why}`."""
        name, verb = str(command.get("id", "")), str(command.get("verb", ""))
        args, actor = command.get("args") or {}, visible_line(str(command.get("actor") or "unknown"))[:100]
        if not name or not isinstance(args, dict):
            return {"refused": "a command has an id, a verb and args"}
        if name in self._record.state.commands:
            await self._record.commit()
            return {"accepted": True, "again": True}
        why = self._stale(command) or self._decide(verb, args, actor)
        if why is not None:
            return {"refused": why}
        shown = {key: visible(str(value)) for key, value in args.items()}
        self._record.decide("command.accepted", actor=actor, id=name, verb=verb, args=shown)
        await self._record.commit()
        return {"accepted": True}

    def _stale(self, command: dict[str, Any]) -> str | None:
        plan = command.get("plan")
        if plan is not None and plan != self._context.plan.hash:
            return f"this run follows plan {self._context.plan.short_hash}, the command was meant for {str(plan)[:6]}"
        expected = command.get("expect_seq")
        in_time = command.get("verb") in ("hold", "note")  # never wrong, and a hold may be urgent
        if isinstance(expected, int) and expected < self._turned and not in_time:
            return f"since event {expected}, which this command was decided on, the picture has changed; look again"
        return None

    def saw(self, events: Sequence[Event]) -> None:
        """Observe what became durable: after these a decision made on an older picture does not count."""
        self._turned = max((event.seq for event in events if event.type in _TURNS), default=self._turned)

    def _decide(self, verb: str, args: dict[str, Any], actor: str) -> str | None:
        decide = self._verbs.get(verb)
        if decide is None:
            return f"there is no command '{visible_line(verb)}'; there are: {', '.join(VERBS)}"
        return decide(args, actor)

    def _hold(self, args: dict[str, Any], actor: str) -> str | None:
        state = self._record.state
        if state.status in ("held", "back_held"):
            return None
        if not RUN.allows(state.status, "hold"):
            return f"a run that is {state.status.replace('_', ' ')} cannot be held"
        self._record.move_run("hold", _reason(args) or "held by the commander", actor)
        return None

    def _release(self, args: dict[str, Any], actor: str) -> str | None:
        if not RUN.allows(self._record.state.status, "release"):
            return f"the run is {self._record.state.status.replace('_', ' ')}, not held"
        self._record.move_run("release", _reason(args) or "released by the commander", actor)
        return None

    def _abort(self, args: dict[str, Any], actor: str) -> str | None:
        if "hard" in self._record.state.crossed:
            return NO_WAY_BACK
        if not RUN.allows(self._record.state.status, "go_back"):
            return f"a run that is {self._record.state.status.replace('_', ' ')} cannot be aborted"
        self._record.move_run("go_back", _reason(args) or "aborted by the commander", actor)
        return None

    def _retry(self, args: dict[str, Any], actor: str) -> str | None:
        return self._answer_for(args, "retry", actor)

    def _skip(self, args: dict[str, Any], actor: str) -> str | None:
        step = str(args.get("step", ""))
        if not _reason(args):
            return "skip needs a reason"
        if step not in self._record.state.steps:
            return self._no_step(step)
        if self._questions.open_for(step):
            return self._answer_for(args, "skip", actor)
        if not STEP.allows(self._record.state.step(step).status, "skip"):
            return f"{step} is {self._record.state.step(step).status.replace('_', ' ')}: it cannot be skipped now"
        self._record.move_step(step, "skip", _reason(args), actor)
        return None

    def _answer_for(self, args: dict[str, Any], choice: str, actor: str) -> str | None:
        step = str(args.get("step", ""))
        if step not in self._record.state.steps:
            return self._no_step(step)
        name = self._questions.open_for(step)
        if name is None:
            return f"nothing is asked about {step}; it is {self._record.state.step(step).status.replace('_', ' ')}"
        return self._questions.answer(name, choice, _reason(args), actor)

    def _answer(self, args: dict[str, Any], actor: str) -> str | None:
        return self._questions.answer(str(args.get("question", "")), str(args.get("choice", "")), _reason(args), actor)

    def _exclude(self, args: dict[str, Any], actor: str) -> str | None:
        host = str(args.get("host", ""))
        if host not in self._context.plan.hosts:
            return f"there is no host '{visible_line(host)}' in this plan: {', '.join(self._context.plan.hosts)}"
        if not _reason(args):
            return "exclude needs a reason"
        self._record.decide("host.excluded", host=host, actor=actor, reason=visible(_reason(args)))
        return None

    def _note(self, args: dict[str, Any], actor: str) -> str | None:
        text = str(args.get("text", "")).strip()
        if not text:
            return "a note needs a text"
        self._record.decide("run.noted", actor=actor, text=visible(text)[:2000])
        return None

    def _no_step(self, step: str) -> str:
        return f"there is no step '{visible_line(step)}' in this run: {', '.join(self._record.state.steps)}"


def _reason(args: dict[str, Any]) -> str:
    return visible(str(args.get("reason") or "")).strip()[:1000]
