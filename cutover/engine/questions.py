"""Questions to the commander: asked, amended, answered, withdrawn; always in the journal first.

A question says what happened, what is known, what each answer does, loses and takes, how long there is, and what
silence does. It survives the engine: a resumed run finds it open and goes on waiting with the same deadline.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from cutover.engine.context import Context, GoingBack
from cutover.model.events import utc_text
from cutover.model.text import visible, visible_line
from cutover.model.units import show_duration


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer: the word to give, and what it does, loses and takes."""

    word: str
    does: str
    loses: str = "nothing"
    takes: str = ""
    needs_reason: bool = False


GO_BACK = Choice("back", "aborts the run and walks the way back")
NO_WAY_BACK = (
    "the hard point of no return has been passed: there is no lossless way back; "
    "back means a second, planned cutover in the other direction"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a person is asked. base: its name without the running number; answers given ahead are found by it."""

    base: str
    step: str | None
    about: Literal["ask", "failed", "in_doubt", "budget", "point", "undo", "check"]
    what: str
    choices: Sequence[Choice]
    known: Sequence[str] = ()
    silence: Literal["hold", "back"] = "hold"
    until: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """What was chosen, by whom and why."""

    choice: str
    reason: str
    actor: str


class Questions:
    """The open questions of one engine start."""

    def __init__(self, context: Context) -> None:
        """`context` of this engine start."""
        self._context = context
        self._record = context.record
        self._waiting: dict[str, asyncio.Future[Answer]] = {}

    async def ask(self, question: Question, *, back: bool = False) -> Answer:
        """Ask and wait. Raises GoingBack, and withdraws the question, when a forward run turns round meanwhile."""
        name = self._open(question)
        ahead = self._given_ahead(question)
        if ahead is not None and self.answer(name, ahead, "given ahead", "answers file") is None:
            await self._record.commit()
            return _forth(Answer(ahead, "given ahead", "answers file"))
        future = self._waiting.setdefault(name, asyncio.get_running_loop().create_future())
        await self._record.commit()
        silence = asyncio.ensure_future(self._silence(name, question))
        turned = asyncio.ensure_future(self._turned_round(back))
        first: list[asyncio.Future[Any]] = [future, turned]
        try:
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        finally:
            silence.cancel()
            turned.cancel()
            self._waiting.pop(name, None)
        if not future.done():
            self._record.decide("question.withdrawn", question.step, id=name, why="the run goes back")
            raise GoingBack
        return _forth(future.result())

    def answer(self, name: str, choice: str, reason: str, actor: str) -> str | None:
        """Take an answer. Returns None when accepted, else why not."""
        question = self._record.state.questions.get(name)
        if question is None:
            known = ", ".join(self._record.state.questions) or "none"
            return f"there is no open question '{visible_line(name)}'; open: {known}"
        chosen = next((offered for offered in question["choices"] if offered["word"] == choice), None)
        if chosen is None:
            words = ", ".join(str(offered["word"]) for offered in question["choices"])
            return f"'{visible_line(choice)}' is no answer to this question; the answers are: {words}"
        if chosen.get("needs_reason") and not reason.strip():
            return f"'{choice}' needs a reason"
        if choice == "back" and "hard" in self._record.state.crossed:
            return NO_WAY_BACK
        arms = question.get("arms", ()) if choice != "back" else ()
        why = visible(reason)
        step = question["step"]
        self._record.decide(
            "question.answered", step, actor=actor, id=name, choice=choice, reason=why, arms=list(arms), by=actor
        )
        if choice == "back" and not self._context.going_back():  # in one transaction with the answer
            self._record.move_run("go_back", why or f"{actor} chose to go back", actor)
        future = self._waiting.get(name)
        if future and not future.done():
            future.set_result(Answer(choice, reason, actor))
        return None

    def given(self, step: str) -> Answer | None:
        """What a person has decided about a step that has not moved since: perhaps to an engine that died then."""
        answer = self._record.state.step(step).answer
        return Answer(answer["choice"], answer["reason"], answer["by"]) if answer else None

    def answered(self, base: str) -> Answer | None:
        """What was answered to a question that is asked once in a run, perhaps to an earlier engine."""
        given = [answer for answer in self._record.state.answers.values() if answer.get("base") == base]
        return Answer(given[-1]["choice"], given[-1]["reason"], given[-1]["by"]) if given else None

    def way_back(self) -> tuple[Choice, ...]:
        """The choice to go back, where there is a way back."""
        state = self._record.state
        if "hard" in state.crossed:
            return ()
        touched = [name for name in reversed(state.steps) if state.steps[name].touched]
        return (
            replace(GO_BACK, takes=f"takes back {', '.join(touched)}" if touched else "nothing: nothing was done yet"),
        )

    def withdraw_all(self, why: str, *, but: str = "") -> None:
        """Nobody waits for these answers any more; `but`: questions about this stay open."""
        for name, asked in list(self._record.state.questions.items()):
            if asked["about"] != but:
                self._record.decide("question.withdrawn", asked["step"] or None, id=name, why=why)

    def open_for(self, step: str) -> str | None:
        """The open question about a step, if there is one."""
        return next((name for name, asked in self._record.state.questions.items() if asked["step"] == step), None)

    def amend(self, name: str, **changes: Any) -> None:
        """Change what an open question says; it keeps its name and its deadline."""
        self._record.decide("question.amended", id=name, **changes)

    def _given_ahead(self, question: Question) -> str | None:
        """An answer from before the run: under the question's name, its step's name, or the point's. Used once."""
        names = [question.base]
        if question.about == "ask" and question.step:
            names.append(question.step)
        if question.about == "point":
            names.append(question.base.removeprefix("point."))
        given = [self._context.answers.pop(name) for name in names if name in self._context.answers]
        if not given:
            return None
        typed = (choice.word for choice in question.choices if choice.word.startswith("go-"))
        return next(typed, given[0]) if given[0] == "go" else given[0]  # the run's own word is not known before it

    def _open(self, question: Question) -> str:
        state = self._record.state
        for name, asked in state.questions.items():
            if asked["base"] == question.base:  # found open after a crash: the same question, the same deadline
                return name
        number = state.asked.get(question.base, 0) + 1
        name = f"{question.base}.{number}"
        deadline = self._context.clock.utc() + timedelta(seconds=question.until) if question.until else None
        self._record.decide(
            "question.asked",
            question.step,
            id=name,
            base=question.base,
            about=question.about,
            what=visible(question.what),
            known=[visible_line(line) for line in question.known],
            choices=[choice_to_json(choice) for choice in question.choices],
            silence=question.silence,
            until=utc_text(deadline) if deadline else None,
            **question.extra,
        )
        return name

    async def _silence(self, name: str, question: Question) -> None:
        """Nobody answered in time: hold on waiting, or go back where that is allowed and loses nothing."""
        asked = self._record.state.questions[name]
        if not asked["until"] or asked["silence"] != "back":
            return
        until = datetime.fromisoformat(asked["until"])
        while self.back_is_lossless():
            left = (until - self._context.clock.utc()).total_seconds()
            if left <= 0:
                why = f"nobody answered within {show_duration(question.until or 0.0)}"
                self.answer(name, "back", why, "silence")
                return
            await self._context.changed_within(left)
        known = [*asked["known"], "going back is no longer lossless, or something is in doubt: silence holds"]
        self.amend(name, silence="hold", known=known)
        await self._record.commit()

    def back_is_lossless(self) -> bool:
        """Whether the way back is open and loses nothing, as far as the engine knows."""
        state = self._record.state
        in_doubt = any(step.status in ("in_doubt", "undo_in_doubt") for step in state.steps.values())
        return "hard" not in state.crossed and not in_doubt

    async def _turned_round(self, back: bool) -> None:
        while back or not self._context.going_back():
            await self._record.changed.wait()


def _forth(answer: Answer) -> Answer:
    if answer.choice == "back":
        raise GoingBack
    return answer


def choice_to_json(choice: Choice) -> dict[str, Any]:
    """A choice as the journal and the protocol write it."""
    return {
        "word": choice.word,
        "does": choice.does,
        "loses": choice.loses,
        "takes": choice.takes,
        "needs_reason": choice.needs_reason,
    }
