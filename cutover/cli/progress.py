"""The live view: what of the timeline a person needs to see while it happens, each thing once.

A step says that it begins once something of it does, and what it did when it is done; acts that went well within a few
seconds are no news of their own. What goes wrong is said at once. Questions come whole. Telemetry is never shown.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime

from cutover.audit.timeline import Entry, entry
from cutover.cli.questions import question_text
from cutover.model.events import TELEMETRY, Event
from cutover.model.run_state import RunState
from cutover.model.units import show_duration

# An act that took longer than this, in seconds, is news of its own.
LONG = 5.0

# Said by what follows in the same breath (a question, the run's own move, the step's end), or of no use at night.
_SILENT = TELEMETRY | {
    "act.before", "budget.reached", "check.verdict", "claim.refused", "claim.released", "claim.taken",
    "command.accepted", "engine.stopped", "host.unreached",
}  # fmt: skip
_FAILURES = ("failed", "in_doubt", "undo_failed", "undo_in_doubt")


@dataclass(slots=True)
class _Telling:
    """What has been told of a step since it began to act."""

    pending: bool = False
    began: str = ""
    acts: list[str] = field(default_factory=list)
    waited_for: str = ""
    answered: bool = False
    said: set[str] = field(default_factory=set)


class Progress:
    """Folds events into lines. `typing`: the reader can type answers."""

    def __init__(self, *, typing: bool = False) -> None:
        """Nothing has happened yet."""
        self.state = RunState()
        self.budget: float | None = None
        self._typing = typing
        self._reason = ""
        self._known: dict[str, list[str]] = {}
        self._told: dict[str, _Telling] = defaultdict(_Telling)

    def skip(self, events: Iterable[Event]) -> None:
        """Take in what happened before anybody looked, without telling it."""
        for event in events:
            list(self.take(event))

    def questions(self, now: datetime) -> list[str]:
        """Every open question, whole."""
        open_ones = self.state.questions.values()
        return [question_text(self.state.run, asked, now=now, typing=self._typing) for asked in open_ones]

    def take(self, event: Event) -> Iterator[Entry]:
        """The lines that an event is worth, often none."""
        self.state.apply(event)
        told = entry(event, self.state)
        match event.type:
            case "run.created":
                self.budget = event.body.get("budget")
                yield replace(told, details=())
            case "step.moved":
                yield from self._step_moved(event, told)
            case "act.intent":
                yield from self._begin(told, f"begins: {told.text}")
            case "act.outcome":
                yield from self._outcome(event, told)
            case "act.probed":
                yield from self._probed(event, told)
            case "poll.verdict" | "poll.ended":
                yield from self._poll(event, told)
            case "question.asked":
                yield self._asked(event, told)
            case "question.amended":
                yield self._amended(event, told)
            case "question.answered":
                yield self._answered(event, told)
            case "point.crossed":
                self._told[told.step].answered = True
                yield told
            case "run.moved":
                yield from self._run_moved(event, told)
            case other if other not in _SILENT or self._is_news(event):
                yield told

    def _is_news(self, event: Event) -> bool:
        """Whether something that is mostly silent must be said for once."""
        match event.type:
            case "claim.released":
                return bool(event.body.get("why"))
            case "engine.stopped":
                return bool(event.body.get("fenced"))
            case "host.unreached" | "claim.refused":  # the run holds already: no move of it will repeat this
                return self.state.status in ("held", "back_held")
        return False

    def _run_moved(self, event: Event, told: Entry) -> Iterator[Entry]:
        if event.body["trigger"] == "go_back" and event.body["why"] == self._reason:
            told = replace(told, text="the run turns back")  # the answer has just said why
        yield told
        if self.state.ended:
            yield from (replace(told, mark="✗", text=f"left as it is: {what}") for what in self.state.outstanding)

    def _answered(self, event: Event, told: Entry) -> Entry:
        self._told[told.step].answered = True
        self._reason = event.body["reason"]
        return told

    def _begin(self, told: Entry, text: str) -> Iterator[Entry]:
        telling = self._told[told.step]
        if telling.pending:
            telling.pending = False
            yield replace(told, mark="▶", text=text, details=())

    def _step_moved(self, event: Event, told: Entry) -> Iterator[Entry]:
        to = event.body["to"]
        telling = self._told[told.step]
        if to in ("checking", "undoing"):
            self._told[told.step] = _Telling(began=event.at_utc)
            yield from [told] if to == "undoing" else ()
        elif to == "acting":
            telling.pending, telling.began = True, event.at_utc
        elif telling.answered and not telling.acts:
            return  # the answer has said it
        elif to in ("done", "undone"):
            yield replace(told, text=self._done(event, telling))
        elif to not in _FAILURES:
            yield told

    def _done(self, event: Event, telling: _Telling) -> str:
        done = "taken back" if event.body["to"] == "undone" else "done"
        seconds = _seconds(telling.began, event.at_utc) if telling.began else 0.0
        took = f" in {show_duration(seconds)}" if seconds >= 0.1 else ""
        if telling.waited_for:
            return f"{done}{took}: {telling.waited_for}"
        if len(telling.acts) == 1:
            return f"{done}{took}: {_without_time(telling.acts[0])}"
        return f"{done}{took}: {len(telling.acts)} acts" if telling.acts else f"{done}{took}"

    def _outcome(self, event: Event, told: Entry) -> Iterator[Entry]:
        passed = event.body["finding"] == "passed"
        if passed:
            self._told[told.step].acts.append(event.body["because"])
        if not passed or event.body["reply"].get("seconds", 0.0) >= LONG:
            yield from self._once(told, event.body["because"])

    def _probed(self, event: Event, told: Entry) -> Iterator[Entry]:
        if event.body["done"] == "done":
            self._told[told.step].acts.append(event.body["because"])
        yield from self._once(told, event.body["because"])

    def _poll(self, event: Event, told: Entry) -> Iterator[Entry]:
        telling, passed = self._told[told.step], event.body["finding"] == "passed"
        if passed:
            telling.waited_for = event.body["because"]
        elif event.type == "poll.verdict":
            telling.pending = False
            yield from self._once(replace(told, mark="▶", text=_waiting(event)), event.body["because"])

    def _once(self, told: Entry, what: str) -> Iterator[Entry]:
        """Say it, unless the very same was said since this attempt of the step began."""
        said = self._told[told.step].said
        if what not in said:
            said.add(what)
            yield replace(told, details=())

    def _amended(self, event: Event, told: Entry) -> Entry:
        """Only what is new: the question itself stands above."""
        question = event.body["id"]
        known = [str(line) for line in event.body.get("known", ())]
        new = [line for line in known if line not in self._known.get(question, ())]
        self._known[question] = known
        return replace(told, text=f"{told.text}: {'; '.join(new)}" if new else told.text, details=())

    def _asked(self, event: Event, told: Entry) -> Entry:
        question = self.state.questions[event.body["id"]]
        because = str(question["what"]).partition(": ")[2]
        said = question["about"] in ("failed", "in_doubt") and because in self._told[told.step].said
        self._known[event.body["id"]] = list(question["known"])
        text = question_text(self.state.run, question, now=event.at, said=said, typing=self._typing)
        mark = {"failed": "✗", "undo": "✗", "in_doubt": "?"}.get(question["about"], "◆")
        return replace(told, mark=mark, step="", text=text, details=())


def _waiting(event: Event) -> str:
    limit = f", for at most {show_duration(event.body['until'])}" if event.body.get("until") else ""
    return f"waits{limit}: {event.body['because']}"


def _seconds(began: str, ended: str) -> float:
    return max(0.0, (datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds())


def _without_time(because: str) -> str:
    """The step's own line says how long it took."""
    head, separator, tail = because.rpartition(": done in ")
    return head if separator and tail.removesuffix(" s").replace(".", "").isdigit() else because
