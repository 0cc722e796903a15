"""The timeline: each event of a journal as a sentence with its evidence. Needs nothing but the events.

The live view of `attach` is made of the same sentences (`entry`), so that what a person saw at night and what the
reviewer reads the day after agree. Text from outside is left as it is: whoever shows it makes it visible.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from cutover.model.events import TELEMETRY, Event
from cutover.model.run_state import RunState
from cutover.model.text import visible_line
from cutover.model.units import show_duration

MARKS = {"passed": "✓", "failed": "✗", "unknown": "?", "done": "✓", "not_done": "·", "partly": "?"}
_OUTPUT_LINES = 4
_OUTPUT_WIDTH = 160

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a timeline.

    mark: ✓ good, ✗ bad, ? nobody can tell, ◆ a person's part, ▶ begins, ◀ back, ‖ holds, · all else. details: the
    evidence below it: commands, what they answered.
    """

    seq: int
    at: str
    mark: str
    step: str
    text: str
    details: tuple[str, ...] = ()

    @property
    def clock(self) -> str:
        """The time of day, UTC, to the second."""
        return f"{self.at[11:19]}Z"

    @property
    def day(self) -> str:
        """The date, UTC."""
        return self.at[:10]


Sentence = tuple[str, str] | tuple[str, str, list[str]]


def timeline(events: Iterable[Event]) -> Iterator[Entry]:
    """Every decision, in order; telemetry (samples, output in pieces) is left out."""
    state = RunState()
    for event in events:
        state.apply(event)
        if belongs(event):
            yield entry(event, state)


def belongs(event: Event) -> bool:
    """Whether an event is worth a line: all are but samples and pieces of output. That some were lost is."""
    return event.type not in TELEMETRY or event.type == "journal.dropped"


def entry(event: Event, state: RunState) -> Entry:
    """What an event says. `state` has taken it in already. An event of an unknown type is shown as it is."""
    describe = _SENTENCES.get(event.type)
    try:
        mark, text, *more = describe(event, event.body, state) if describe else _unknown(event)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        mark, text, *more = _unknown(event)
    details = tuple(more[0]) if more else ()
    who = "" if event.actor in ("engine", "") or event.actor in text else f" (by {event.actor})"
    return Entry(event.seq, event.at_utc, mark, event.step or "", f"{text}{who}", details)


def _unknown(event: Event) -> Sentence:
    words = ", ".join(f"{name}: {value}" for name, value in event.body.items())
    return "·", f"{event.type}{f': {words}' if words else ''}"[:400]


def _created(_event: Event, body: Body, _state: RunState) -> Sentence:
    pinned = "its hosts are pinned" if body.get("pinned") else "its hosts are not pinned"
    details = [f"announcement waived: {body['waived']}"] if body.get("waived") else []
    text = f"run {body['run']} of “{body['title']}” was made by {body['operator']}: plan {body['plan'][:6]}, {pinned}"
    return "▶", text, details


def _started(_event: Event, body: Body, _state: RunState) -> Sentence:
    begins = "takes the run up again" if body.get("resumed") else "begins"
    taken = "; a person said that the one before is dead (take-over)" if body.get("take_over") else ""
    return "▶", f"engine {body['start']}, {body['owner']}, {begins}{taken}"


def _stopped(_event: Event, body: Body, _state: RunState) -> Sentence:
    if body.get("fenced"):
        return "✗", f"this engine must not act any more: {body['why']}"
    return "·", f"the engine ends: {body['why']}"


def _claim(event: Event, body: Body, _state: RunState) -> Sentence:
    if event.type == "claim.taken":
        why = f" {body['why']}" if str(body["why"]).startswith("to look") else ""
        return "·", f"{event.host} is claimed, token {body['token']}{why}"
    if event.type == "claim.released":
        bad = f"{event.host} could not be given back: {body['why']}" if body.get("why") else ""
        return ("✗", bad) if bad else ("·", f"{event.host} is given back")
    holder = f", held by {body['owner']}" if body.get("owner") else ""
    why = ": ".join(word for word in (body.get("code"), body.get("detail")) if word)
    return "✗", f"{event.host} could not be claimed: {why}{holder}"


def _check(event: Event, body: Body, _state: RunState) -> Sentence:
    about = "" if body["title"] in body["because"] else f"{body['title']}: "
    when = "before the run, " if body.get("before") else ""
    return MARKS[body["finding"]], f"{when}{about}{body['because']}", _commands(event)


_RUN_MOVES = {
    "start": ("▶", "the run begins"),
    "hold": ("‖", "held"),
    "release": ("▶", "goes on"),
    "go_back": ("◀", "the run turns back"),
    "refuse": ("✗", "refused, and nothing was done"),
}


def _run_moved(_event: Event, body: Body, _state: RunState) -> Sentence:
    if body["trigger"] == "finish":
        mark, text = ("✓", "the run is done") if body["to"] == "done" else ("◀", "the run is rolled back")
    else:
        mark, text = _RUN_MOVES.get(body["trigger"], ("·", f"the run is {body['to']}"))
    return mark, f"{text}: {body['why']}" if body.get("why") else text


_STEP_MOVES = {
    "checking": ("·", "its preconditions are read"),
    "acting": ("▶", "begins"),
    "done": ("✓", "is done"),
    "failed": ("✗", "failed"),
    "in_doubt": ("?", "is in doubt"),
    "skipped": ("·", "is skipped"),
    "undoing": ("◀", "is taken back"),
    "undone": ("✓", "is taken back, all of it"),
    "undo_failed": ("✗", "could not be taken back"),
    "undo_in_doubt": ("?", "may or may not be taken back"),
}


def _step_moved(_event: Event, body: Body, _state: RunState) -> Sentence:
    mark, text = _STEP_MOVES.get(body["to"], ("·", f"is {body['to']}"))
    if body.get("outstanding"):
        mark, text = "✗", "is left as it is, outstanding"
    return mark, f"{text}: {body['why']}" if body.get("why") else text


def _retried(_event: Event, body: Body, _state: RunState) -> Sentence:
    return "·", f"tries again by itself, {body['retry']} of {body['of']}"


def _before(event: Event, _body: Body, _state: RunState) -> Sentence:
    return "·", "what is there before is read", [*_commands(event), *_answers(event)]


def _intent(event: Event, body: Body, _state: RunState) -> Sentence:
    again = f" (attempt {body['attempt']})" if body["attempt"] > 1 else ""
    return "▶", f"{body['title']}{again}", _commands(event)


def _outcome(event: Event, body: Body, _state: RunState) -> Sentence:
    return MARKS[body["finding"]], body["because"], _answers(event)


def _recovering(event: Event, body: Body, state: RunState) -> Sentence:
    return "?", f"nobody knows yet what became of “{_title(event, body, state)}”: looking"


def _probed(_event: Event, body: Body, _state: RunState) -> Sentence:
    return MARKS.get(body["done"], "?"), f"found {found(body['done'])}: {body['because']}"


def _outstanding(_event: Event, body: Body, _state: RunState) -> Sentence:
    return "✗", f"is not tried any more, outstanding: {body['because']}"


def _poll(event: Event, body: Body, _state: RunState) -> Sentence:
    if event.type == "poll.ended":
        waited = f" (after {show_duration(body['seconds'])})" if body["seconds"] >= 0.1 else ""
        return MARKS[body["finding"]], f"{body['because']}{waited}"
    limit = f" (for at most {show_duration(body['until'])})" if body.get("until") else ""
    return "·", f"waits for {body['title']}{limit}: {body['because']}"


def _asked(_event: Event, body: Body, _state: RunState) -> Sentence:
    words = ", ".join(str(choice["word"]) for choice in body["choices"])
    return "◆", f"question {body['id']}: {body['what']}", [*body.get("known", ()), f"answers: {words}"]


def _amended(_event: Event, body: Body, _state: RunState) -> Sentence:
    silence = "; silence holds now" if body.get("silence") == "hold" else ""
    return "◆", f"question {body['id']} now says more{silence}", list(body.get("known", ()))


def _answered(event: Event, body: Body, _state: RunState) -> Sentence:
    arms = f", which arms the {' and the '.join(body['arms'])} point" if body.get("arms") else ""
    why = f": {body['reason']}" if body.get("reason") else ""
    return "◆", f"{event.actor} answers {body['choice']}{arms}{why}"


def _withdrawn(_event: Event, body: Body, _state: RunState) -> Sentence:
    return "·", f"question {body['id']} is withdrawn: {body['why']}"


def _commanded(event: Event, body: Body, _state: RunState) -> Sentence:
    words = " ".join(str(value) for value in body["args"].values())
    return "◆", f"{event.actor} commands: {body['verb']} {words}".rstrip()


def _noted(event: Event, body: Body, _state: RunState) -> Sentence:
    return "◆", f"{event.actor} notes: {body['text']}"


def _crossed(_event: Event, body: Body, _state: RunState) -> Sentence:
    return "◆", f"the {body['point']} point of no return is passed: {body['why']}"


def _excluded(event: Event, body: Body, _state: RunState) -> Sentence:
    return "◆", f"{event.actor} excludes {event.host} from here on: {body['reason']}"


def _window(event: Event, body: Body, _state: RunState) -> Sentence:
    measured = "" if body["measured"] else ", not measured"
    if event.type == "window.opened":
        return "▶", f"the window opens{measured}: {body['why']}"
    return "✓", f"the window closes after {show_duration(body['seconds'])}{measured}"


def _budget(_event: Event, body: Body, _state: RunState) -> Sentence:
    return "✗", f"the downtime budget is used up after {show_duration(body['seconds'])}"


def _unreached(event: Event, body: Body, _state: RunState) -> Sentence:
    return "✗", str(body["because"]) if event.host in body["because"] else f"{event.host}: {body['because']}"


def _planned(_event: Event, body: Body, _state: RunState) -> Sentence:
    return "◀", f"to take back, in this order: {', '.join(body['steps']) or 'nothing'}"


def _dropped(_event: Event, body: Body, _state: RunState) -> Sentence:
    return "?", f"{body['count']} samples or pieces of output were not kept: too many at once, or the disk is full"


def found(done: str) -> str:
    """What a probe found, in words."""
    return {"done": "done", "not_done": "not done", "partly": "half done"}.get(done, "no answer to whether it is done")


def _title(event: Event, body: Body, state: RunState) -> str:
    return state.act(event.step or "", body["key"]).title or str(body["key"])


def _commands(event: Event) -> list[str]:
    """What was sent, as it is journalled: a secret is there by its name only."""
    effect = event.body.get("effect") or {}
    host = effect.get("host", event.host) or ""
    if effect.get("effect") == "Http":
        return [f"{effect['method']} {_sealed(effect['url'])}"]
    return [f"{host} $ {' '.join(_quoted(word) for word in command['argv'])}" for command in effect.get("commands", ())]


def _quoted(word: str) -> str:
    """A word of an argv so that its borders can be seen; for reading, not for pasting."""
    plain = word and all(char.isalnum() or char in "-_./:=@%+,~^" for char in word)
    return word if plain else f"'{visible_line(word)}'"


def _sealed(text: Iterable[Any]) -> str:
    return "".join(piece if isinstance(piece, str) else f"${{secret:{piece['secret']}}}" for piece in text)


def _answers(event: Event) -> list[str]:
    """What came back: exits and the first lines of output, or the status."""
    reply = event.body.get("reply") or {}
    lines = [f"HTTP {reply['status']}"] if reply.get("status") is not None else []
    for command in reply.get("commands", ()):
        if command["exit"]:
            lines.append(f"exit {command['exit']}")
        for stream in ("stdout", "stderr"):
            lines += [f"| {line}" for line in _first_lines(command.get(stream, ""))]
    return lines


def _first_lines(said: Any) -> list[str]:
    if not isinstance(said, str):
        return ["(not text)"]
    lines = said.strip("\n").split("\n") if said else []
    shown = [line if len(line) <= _OUTPUT_WIDTH else f"{line[:_OUTPUT_WIDTH]}…" for line in lines[:_OUTPUT_LINES]]
    left = len(lines) - len(shown)
    return [*shown, *([f"… {left} more lines"] if left else [])]


_SENTENCES: dict[str, Callable[[Event, Body, RunState], Sentence]] = {
    "run.created": _created,
    "engine.started": _started,
    "engine.stopped": _stopped,
    "host.unreached": _unreached,
    "claim.taken": _claim,
    "claim.refused": _claim,
    "claim.released": _claim,
    "check.verdict": _check,
    "run.moved": _run_moved,
    "step.moved": _step_moved,
    "step.retried": _retried,
    "act.before": _before,
    "act.intent": _intent,
    "act.outcome": _outcome,
    "act.recovering": _recovering,
    "act.probed": _probed,
    "act.outstanding": _outstanding,
    "poll.verdict": _poll,
    "poll.ended": _poll,
    "question.asked": _asked,
    "question.amended": _amended,
    "question.answered": _answered,
    "question.withdrawn": _withdrawn,
    "command.accepted": _commanded,
    "run.noted": _noted,
    "point.crossed": _crossed,
    "host.excluded": _excluded,
    "window.opened": _window,
    "window.closed": _window,
    "budget.reached": _budget,
    "rollback.planned": _planned,
    "journal.dropped": _dropped,
}
