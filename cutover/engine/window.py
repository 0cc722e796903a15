"""The window: how long users cannot write, by the measures; and the question at the budget's line.

With a `writable` measure the window opens at the first sample that fails after one that worked, and closes at the
first that works again. Without one it is counted from the first disruptive act and marked as not measured.
"""

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta

from cutover.engine.context import Context, GoingBack
from cutover.engine.questions import Choice, Question, Questions
from cutover.model.effects import Http, effect_to_json
from cutover.model.runbook import Measure
from cutover.model.units import show_duration

SAMPLE_TIMEOUT = 5.0


class Window:
    """Watches the measures of one engine start."""

    def __init__(self, context: Context, questions: Questions) -> None:
        """`context` of this engine start."""
        self._context = context
        self._record = context.record
        self._questions = questions
        self._worked = False

    @property
    def measured(self) -> bool:
        """Whether any measure says when users can write."""
        return any(measure.means == "writable" for measure in self._context.plan.measures.values())

    async def watch(self) -> None:
        """Sample every measure and keep the budget, until cancelled."""
        measures = self._context.plan.measures.items()
        await asyncio.gather(*(self._sample_for_ever(name, measure) for name, measure in measures), self._keep_budget())

    def opened_by(self, step: str) -> None:
        """A disruptive step begins: without measures the window is counted from here."""
        if not self.measured and self._record.state.window is None and not self._record.state.windows:
            self._record.decide("window.opened", step, measured=False, why=f"{step} is the first disruptive step")

    def closed_by_end(self) -> None:
        """The run ended: a window that nothing measures is closed with it."""
        if self._record.state.window is not None and not self.measured:
            self._record.decide("window.closed", measured=False, seconds=self._open_for())

    async def _sample_for_ever(self, name: str, measure: Measure) -> None:
        while True:
            effect = _request(measure)
            reply = await self._context.world.perform(effect)
            works = reply.outcome == "answered" and reply.status == measure.expect
            said = f"answered {reply.status}" if reply.outcome == "answered" else reply.code or reply.outcome
            self._record.decide(
                "measure.sample", measure=name, works=works, because=said, seconds=round(reply.seconds, 4),
                effect=effect_to_json(effect),
            )  # fmt: skip
            if measure.means == "writable":
                await self._move_window(name, works)
            await self._context.clock.sleep(measure.every)

    async def _move_window(self, name: str, works: bool) -> None:
        if works and self._record.state.window is not None:
            self._record.decide("window.closed", measured=True, seconds=self._open_for(), measure=name)
            await self._record.commit()
        elif not works and self._worked and self._record.state.window is None:
            self._record.decide("window.opened", measured=True, why=f"{name} stopped working", measure=name)
            await self._record.commit()
        self._worked = self._worked or works

    def _open_for(self) -> float:
        window = self._record.state.window
        if window is None:
            return 0.0
        return (self._context.clock.utc() - datetime.fromisoformat(window["opened"])).total_seconds()

    async def _keep_budget(self) -> None:
        downtime = self._context.plan.downtime
        if downtime is None:
            return
        while not self._context.going_back():  # nobody turns round twice
            window = self._record.state.window
            if window is None or self._record.state.budget_asked:
                await self._record.changed.wait()
                continue
            line = datetime.fromisoformat(window["opened"]) + timedelta(seconds=downtime.budget)
            left = (line - self._context.clock.utc()).total_seconds()
            if left > 0:
                await self._context.changed_within(left)
                continue
            await self._ask(downtime.budget)

    async def _ask(self, budget: float) -> None:
        counted = (
            "since the first write that failed" if self.measured else "since the first disruptive step, not measured"
        )
        what = f"The downtime budget of {show_duration(budget)} is used up ({counted}). On, or back?"
        self._record.decide("budget.reached", seconds=self._open_for())
        for name in self._record.state.questions:  # a pending question is amended, never doubled
            known = [*self._record.state.questions[name].get("known", []), what]
            self._questions.amend(name, known=known, over_budget=True)
            await self._record.commit()
            return
        choices = [Choice("on", "goes on past the budget", takes="unknown"), *self._questions.way_back()]
        with suppress(GoingBack):
            await self._questions.ask(Question(base="budget", step=None, about="budget", what=what, choices=choices))


def _request(measure: Measure) -> Http:
    if measure.post is not None:
        headers: tuple[tuple[str, tuple[str, ...]], ...] = (("X-Cutover-Canary", ("1",)),)
        return Http(method="POST", url=(measure.post,), headers=headers, timeout=SAMPLE_TIMEOUT, reads=True)
    return Http(method="GET", url=(measure.get or "",), timeout=SAMPLE_TIMEOUT, reads=True)
