"""One step forward: recover what was open, prove the preconditions, then stage by stage; or its way back."""

import asyncio
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from cutover.engine.acting import Acting
from cutover.engine.beside import Beside
from cutover.engine.claiming import Claiming
from cutover.engine.context import Context, Fenced, GoingBack, InDoubt, StepFailed
from cutover.engine.polling import Polling, read_check
from cutover.engine.questions import Answer, Choice, Question, Questions
from cutover.engine.table import STEP_SETTLED
from cutover.errors import ClaimRefused
from cutover.model.effects import OnHost, effect_to_json, reply_from_json, reply_to_json
from cutover.model.kind import Act, Acts, Ask, Check, Cross, Poll, Stage
from cutover.model.plan import Step
from cutover.model.verdict import Verdict


class Walking:
    """Walks single steps, forward and back."""

    def __init__(self, context: Context, questions: Questions) -> None:
        """`context` of this engine start."""
        self._context = context
        self._record = context.record
        self._questions = questions
        self._acting = Acting(context)
        self.beside = Beside(context, self._acting)
        self._polling = Polling(context)
        self._claiming = Claiming(context)

    async def forward(self, step: Step) -> None:
        """Bring a step to done or skipped, asking whenever it cannot go on. Raises GoingBack or Fenced."""
        while (status := self._record.state.step(step.name).status) not in STEP_SETTLED:
            try:
                if status not in ("failed", "in_doubt") or await self._goes_on(step, status):
                    await self._attempt(step)
            except StepFailed as problem:
                self._record.move_step(step.name, "fail", str(problem))
            except InDoubt as problem:
                self._record.move_step(step.name, "doubt", str(problem))

    async def _attempt(self, step: Step) -> None:
        self._record.move_step(step.name, "check")
        await self._claim_missing(step.acts)
        awaited = [act for stage in step.stages for act in _awaited(stage)]
        open_acts = [act for act in awaited if self._record.state.act(step.name, act.key).touched]
        await _together(self._acting.find_out(step, act) for act in open_acts)
        if not step.acts or (step.checks and any(self._to_do(step, act) for act in step.acts)):
            while not await self._prove(step):
                pass
        self._record.move_step(step.name, "act")
        for stage in step.stages:
            await self._walk(step, stage)
        if step.acts and all(act.host in self._record.state.excluded for act in step.acts):
            self._record.move_step(step.name, "skip", "every host of it is left out")
        else:
            self._record.move_step(step.name, "finish")

    async def _claim_missing(self, acts: Iterable[Act]) -> None:
        """Hosts that could not be reached when this engine started: one more try, now that they are needed."""
        state = self._record.state
        for host in sorted({act.host for act in acts if act.host and isinstance(act.effect, OnHost)}):
            if host not in state.claims and host not in state.excluded:
                try:
                    await self._claiming.claim_missing(host)
                except ClaimRefused as problem:
                    raise StepFailed(str(problem)) from None

    def _to_do(self, step: Step, act: Act) -> bool:
        return self._record.state.act(step.name, act.key).status != "done"

    async def _prove(self, step: Step) -> bool:
        """Every precondition again, at the moment of acting. False when they are to be read once more."""
        checks = [check for check in step.checks if check.host not in self._record.state.excluded]
        verdicts = await asyncio.gather(*(read_check(self._context, check) for check in checks))
        for check, (reply, verdict) in zip(checks, verdicts, strict=True):
            self._record.decide(
                "check.verdict",
                step.name,
                host=check.host,
                key=check.key,
                title=check.title,
                finding=verdict.finding,
                because=verdict.because,
                effect=effect_to_json(check.effect),
                reply=reply_to_json(reply),
            )
        found = [(check, verdict) for check, (_, verdict) in zip(checks, verdicts, strict=True) if not verdict.passed]
        stops = [verdict.because for check, verdict in found if check.red == "stop"]
        if stops:
            raise StepFailed("; ".join(stops))
        for check, verdict in found:
            if await self._ask_about_check(step, check, verdict) == "retry":
                return False
        return True

    async def _ask_about_check(self, step: Step, check: Check, verdict: Verdict) -> str:
        answer = await self._questions.ask(
            Question(
                base=f"{step.name}.check.{check.key}",
                step=step.name,
                about="check",
                what=f"{check.title}: {verdict.because}. Go on all the same?",
                choices=(
                    Choice("go", "goes on without it"),
                    Choice("retry", "reads it again"),
                    *self._questions.way_back(),
                ),
            )
        )
        return answer.choice

    async def _walk(self, step: Step, stage: Stage) -> None:
        match stage:
            case Acts(acts=acts, enough="any"):
                await self._until_one(step, acts)
            case Acts(acts=acts):
                for act in acts:
                    if act.beside:
                        self.beside.start(step, act)
                await _together(self._acting.settle(step, act) for act in _awaited(stage))
            case Poll():
                await self._context.gate(back=False)
                await self._polling.until_passed(step, stage)
            case Ask():
                await self._ask(step, stage)
            case Cross():
                await self._cross(step, stage)

    async def _until_one(self, step: Step, acts: tuple[Act, ...]) -> None:
        """One of them done is enough; the others go on beside the run. Raises the worst when none can be done."""
        tasks = {asyncio.ensure_future(self._acting.settle(step, act)): act for act in acts}
        try:
            left = set(tasks)
            while left and not any(task not in left and not task.exception() for task in tasks):
                _, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise
        problems = [problem for task in tasks if task not in left and (problem := task.exception())]
        if len(problems) == len(tasks):
            raise min(problems, key=_rank)
        for task, act in tasks.items():
            self.beside.start(step, act, begun=task)

    async def _ask(self, step: Step, stage: Ask) -> None:
        base = f"{step.name}.{stage.key}"
        if self._questions.answered(base):
            return
        go = self._word() if stage.typed else "go"
        arms = sorted(stage.arms)
        does = "goes on" + (f", and passes the {' and the '.join(arms)} point ahead if all is green" if arms else "")
        await self._questions.ask(
            Question(
                base=base,
                step=step.name,
                about="ask",
                what=stage.question,
                choices=(Choice(go, does), *self._questions.way_back()),
                silence=stage.silence,
                until=stage.until,
                extra={"typed": stage.typed, "arms": arms},
            )
        )

    async def _cross(self, step: Step, stage: Cross) -> None:
        """Over a point of no return: armed and all green, or a person's typed go."""
        if stage.point in self._record.state.step(step.name).crossed:
            return
        others = list(self._record.state.questions)
        if stage.point in self._record.state.armed and not others:
            why = "armed by a go given ahead, and every guard is green now"
        else:
            answer = self._questions.answered(f"point.{stage.point}")
            answer = answer or await self._ask_to_cross(step, stage, others)
            why = f"{answer.actor} typed {answer.choice}"
        await self._context.gate(back=False)
        self._record.decide("point.crossed", step.name, point=stage.point, why=why)
        await self._record.commit()

    async def _ask_to_cross(self, step: Step, stage: Cross, others: list[str]) -> Answer:
        after = {
            "soft": "data is handed over; going back is lossless only while nobody else has written on the new side",
            "hard": "work nobody can take back reaches the new side; there is no lossless way back after it",
        }[stage.point]
        known = [f"still open: {', '.join(others)}"] if others else []
        return await self._questions.ask(
            Question(
                base=f"point.{stage.point}",
                step=step.name,
                about="point",
                what=f"Over the {stage.point} point of no return? From here on {after}.",
                choices=(
                    Choice(self._word(), f"passes the {stage.point} point", loses=after),
                    *self._questions.way_back(),
                ),
                known=known,
                extra={"typed": True, "point": stage.point},
            )
        )

    def _word(self) -> str:
        return f"go-{self._context.run}"

    async def _goes_on(self, step: Step, status: str) -> bool:
        """A person decides about a step that failed or is in doubt. False when it is skipped."""
        answer = self._questions.given(step.name) or await self._ask_what_now(step, status)
        if answer.choice == "skip":
            self._record.move_step(step.name, "skip", answer.reason, answer.actor)
            return False
        self._on_a_persons_word(step, answer)
        return True

    async def _ask_what_now(self, step: Step, about: str) -> Answer:
        """Stop and ask, with the evidence. Nothing else begins while this is open."""
        because = self._record.state.step(step.name).why
        choices = [Choice("retry", "looks first, and acts again only on what is found not done")]
        if about == "in_doubt":
            choices.append(Choice("done", "records it as done on your word", needs_reason=True))
            choices.append(Choice("not-done", "records it as not done on your word, and acts again", needs_reason=True))
        choices.append(Choice("skip", "goes on without this step", loses="what it would have done", needs_reason=True))
        choices += self._questions.way_back()
        owner = [f"answers for it: {step.owner}"] if step.owner else []
        return await self._questions.ask(
            Question(
                base=f"{step.name}.{about}",
                step=step.name,
                about="failed" if about == "failed" else "in_doubt",
                what=f"{step.name} {'failed' if about == 'failed' else 'is in doubt'}: {because}",
                known=[*self._evidence(step), *owner, *self._may_be_left_out(step)],
                choices=choices,
            )
        )

    def _may_be_left_out(self, step: Step) -> list[str]:
        """Where a step acts on several hosts, the rest can go on without one of them."""
        hosts = sorted({act.host for act in step.acts if act.host} - set(self._record.state.excluded))
        exclude = f"`cutover ctl {self._context.run} exclude HOST --reason WHY`, then retry"
        return [f"{exclude}: goes on without one of {', '.join(hosts)}"] if len(hosts) > 1 else []

    def _on_a_persons_word(self, step: Step, answer: Answer) -> None:
        found = "done" if answer.choice == "done" else "not_done"
        # Where a probe can tell, `retry` leaves it to the probe.
        settles = ("failed",) if answer.choice == "retry" else ("begun", "unknown")
        for act in step.acts:
            decides = answer.choice != "retry" or act.probe is None
            if decides and self._record.state.act(step.name, act.key).status in settles:
                because = f"{answer.actor} chose {answer.choice}: {answer.reason or 'no reason given'}"
                self._record.decide(
                    "act.probed", step.name, host=act.host, actor=answer.actor, key=act.key, done=found, because=because
                )

    def _evidence(self, step: Step) -> list[str]:
        acts = self._record.state.step(step.name).acts.values()
        return [f"{act.title}: {act.status.replace('_', ' ')}" for act in acts if act.touched and act.title]

    async def back(self, step: Step) -> None:
        """Take a step back, act by act in reverse; a failing undo holds and asks like any other."""
        while (status := self._record.state.step(step.name).status) != "undone":
            try:
                if status not in ("undo_failed", "undo_in_doubt") or await self._undoes_on(step):
                    await self._take_back(step)
            except StepFailed as problem:
                self._record.move_step(step.name, "fail", str(problem))
            except InDoubt as problem:
                self._record.move_step(step.name, "doubt", str(problem))

    async def _take_back(self, step: Step) -> None:
        if self._record.state.step(step.name).status != "undoing":
            self._record.move_step(step.name, "undo")
        excluded = [act.host for act in self._touched(step) if act.undo and act.host in self._record.state.excluded]
        await self._claim_missing(self._touched(step))
        for stage in reversed(step.stages):
            if isinstance(stage, Acts):
                await _together(self._take_back_act(step, act) for act in reversed(stage.acts))
        if excluded:
            why = f"not taken back on {', '.join(sorted(set(map(str, excluded))))}, which is excluded"
            self._record.move_step(step.name, "finish", why, outstanding=True)
            return
        self._record.move_step(step.name, "finish")

    def _touched(self, step: Step) -> list[Act]:
        return [act for act in step.acts if self._record.state.act(step.name, act.key).touched]

    async def _take_back_act(self, step: Step, act: Act) -> None:
        state = self._record.state.act(step.name, act.key)
        if not state.touched or act.undo is None or act.host in self._record.state.excluded:
            return
        if self.beside.takes_back(step, act):
            return
        if state.status in ("begun", "unknown"):  # it must have come to rest before it is taken back
            with suppress(StepFailed):  # it has come to rest: it failed
                await self._acting.find_out(step, act)
        before = reply_from_json(state.before) if state.before else None
        undo = act.undo(before)
        if undo is not None:
            await self._acting.settle(step, replace(undo, key=f"{act.key}.undo", undo=None), back=True)

    async def _undoes_on(self, step: Step) -> bool:
        """A person decides about an undo that failed or is in doubt. False when it is left as it is."""
        answer = self._questions.given(step.name) or await self._ask_about_undo(step)
        if answer.choice == "leave":
            self._record.move_step(step.name, "skip", answer.reason, answer.actor, outstanding=True)
        return answer.choice != "leave"

    async def _ask_about_undo(self, step: Step) -> Answer:
        because = self._record.state.step(step.name).why
        return await self._questions.ask(
            Question(
                base=f"{step.name}.undo",
                step=step.name,
                about="undo",
                what=f"taking {step.name} back failed: {because}",
                known=self._evidence(step),
                choices=(
                    Choice("retry", "looks first, and undoes again what is found not undone"),
                    Choice("leave", "leaves it as it is and lists it as outstanding", needs_reason=True),
                ),
            ),
            back=True,
        )


def _awaited(stage: Stage) -> tuple[Act, ...]:
    """The acts that a step cannot go on without."""
    if not isinstance(stage, Acts) or stage.enough == "any":
        return ()
    return tuple(act for act in stage.acts if not act.beside)


async def _together(coroutines: Iterable[Coroutine[Any, Any, object]]) -> None:
    """Run all to their end, then raise the worst: nothing is cancelled in the middle of an act."""
    results = await asyncio.gather(*coroutines, return_exceptions=True)
    problems = [result for result in results if isinstance(result, BaseException)]
    if problems:
        raise min(problems, key=_rank)


def _rank(problem: BaseException) -> int:
    order = (Fenced, GoingBack, InDoubt, StepFailed)
    return next((place for place, cls in enumerate(order, 1) if isinstance(problem, cls)), 0)
