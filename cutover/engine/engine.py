"""One engine start, from top to bottom: prepare, walk the steps forward, perhaps back, and end.

This file reads like a run: who may act is settled first (claims), then that everything can be reached and is as it
should be, then the graph of steps. The engine lives until the run has ended, through any number of questions; its
death at any point is survived by starting another one on the same journal.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from cutover.engine import judging
from cutover.engine.claiming import Claiming
from cutover.engine.commands import Commands
from cutover.engine.context import Context, Fenced, GoingBack
from cutover.engine.polling import read_check
from cutover.engine.questions import Questions
from cutover.engine.record import Record
from cutover.engine.table import RUN_ENDED, STEP_SETTLED
from cutover.engine.walking import Walking
from cutover.engine.window import Window
from cutover.errors import ClaimRefused
from cutover.model.effects import effect_to_json, reply_to_json
from cutover.model.kind import Check
from cutover.model.plan import Plan, Step
from cutover.model.run_state import RunState
from cutover.ports import Clock, Journal, World

# Seconds after which a decision is committed though nothing acts on it: time for the next act to share its sync.
LINGER = 0.01


@dataclass(frozen=True, slots=True)
class Start:
    """How this engine start came about.

    owner: user@machine.RUN.START, unique to the start. take_over: a person said that the earlier engine is dead.
    hold: a reason to hold at once, such as a runbook that was edited meanwhile. details: what else the journal notes.
    """

    run: str
    owner: str
    number: int
    resumed: bool = False
    take_over: bool = False
    hold: str | None = None
    answers: tuple[tuple[str, str], ...] = ()
    details: tuple[tuple[str, str], ...] = ()


class Engine:
    """Drives one run."""

    def __init__(self, plan: Plan, world: World, journal: Journal, clock: Clock, state: RunState, start: Start) -> None:
        """`state` is the fold of what `journal` holds; `run.created` is in it already."""
        self._plan = plan
        self._start = start
        self._needs: dict[str, set[str]] = {}
        record = Record(journal, state, clock)
        answers = {key: value for key, value in start.answers if key not in state.asked}
        self._context = Context(plan, world, clock, record, start.run, start.owner, answers, start.take_over)
        self._record = record
        self._claiming = Claiming(self._context)
        self.questions = Questions(self._context)
        self.commands = Commands(self._context, self.questions)
        self._walking = Walking(self._context, self.questions)
        self._beside = self._walking.beside
        self._window = Window(self._context, self.questions)
        journal.on_commit(self.commands.saw)

    @property
    def state(self) -> RunState:
        """The engine's own fold, ahead of the disk by what it has decided in this turn."""
        return self._record.state

    async def run(self) -> RunState:
        """Drive the run to its end. Raises JournalError when it cannot be recorded any more: then nothing acts."""
        start = self._start
        self._record.decide(
            "engine.started", start=start.number, owner=start.owner, resumed=start.resumed,
            take_over=start.take_over, **dict(start.details),
        )  # fmt: skip
        await self._record.commit()
        try:
            await self._drive()
        except Fenced as problem:
            self._record.decide("engine.stopped", why=str(problem), fenced=True)
            await self._record.commit()
            return self.state
        self._window.closed_by_end()
        if self.state.status in RUN_ENDED:
            await self._claiming.release_all()
        self._record.decide("engine.stopped", why=f"the run is {self.state.status.replace('_', ' ')}")
        await self._record.commit()
        return self.state

    def low_space(self) -> None:
        """The journal had to free its reserve: hold, while there is room to say so and to go back."""
        if self.state.status in ("running", "going_back", "preparing"):
            self._record.move_run("hold", "the disk under the journal is full; its reserve was freed for this hold")

    async def _drive(self) -> None:
        if not await self._prepare():
            return
        watch = asyncio.ensure_future(self._window.watch())
        self._beside.take_up(self._plan.steps)
        try:
            if not self._context.going_back():
                await self._forward()
            if self.state.status in ("going_back", "back_held"):
                await self._back()
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
            await self._beside.close()

    async def _prepare(self) -> bool:
        """Reach, claim and check everything. False when a fresh run was refused: nothing was done."""
        problems = await self._reach()
        try:
            if not problems or self._start.resumed:
                acted = [host.name for host in self._plan.hosts.values() if host.acted_upon]
                problems += await self._claiming.claim_all(acted, resumed=self._start.resumed)
        except ClaimRefused as refused:
            problems = [str(refused)]
            if self._start.resumed:  # another run's engine is at work there: this one must not even hold
                raise Fenced(str(refused)) from None
        if self.state.status == "preparing" and not problems:
            problems = await self._check_everything()
        if self.state.status == "preparing":
            if problems:
                await self._claiming.release_all()
                self._record.move_run("refuse", "; ".join(problems))
                return False
            self._record.move_run("start", "every host is reached, claimed and checked")
        self._hold_if_needed(problems)
        await self._record.commit()
        return True

    def _hold_if_needed(self, problems: Sequence[str]) -> None:
        why = "; ".join([*([self._start.hold] if self._start.hold else []), *problems])
        if why and self.state.status in ("running", "going_back"):
            self._record.move_run("hold", why)

    async def _reach(self) -> list[str]:
        replies = await self._context.world.connect(self._plan.hosts)
        problems = []
        for host, reply in replies.items():
            if reply.outcome != "answered":
                why = f"{host}: {judging.sentence(reply)}"
                self._record.decide("host.unreached", host=host, code=reply.code, because=why)
                problems.append(why)
        return problems

    async def _check_everything(self) -> list[str]:
        """All preconditions of all steps before the first one acts. A red one that asks is asked later, at its step."""
        checks = [(step, check) for step in self._plan.steps for check in step.checks]
        return await self.read_checks(checks)

    async def read_checks(self, checks: Sequence[tuple[Step, Check]]) -> list[str]:
        """Read these checks at once; returns the sentences of those that stop the run."""
        await self._record.commit()
        found = await asyncio.gather(*(read_check(self._context, check) for _, check in checks))
        problems = []
        for (step, check), (reply, verdict) in zip(checks, found, strict=True):
            self._record.decide(
                "check.verdict", step.name, host=check.host, key=check.key, title=check.title, before=True,
                finding=verdict.finding, because=verdict.because,
                effect=effect_to_json(check.effect), reply=reply_to_json(reply),
            )  # fmt: skip
            if not verdict.passed and check.red == "stop":
                problems.append(f"{step.name}: {verdict.because}")
        return problems

    async def _forward(self) -> None:
        """The graph of steps: every step begins when what it needs is settled and nothing holds."""
        while self.state.status in ("running", "held"):
            await self._walk_graph(self._unfinished, self._ready, self._forward_one, self._context.going_back)
            await self._beside.finished()
            if self.state.status == "running":
                break
        if self.state.status == "running":
            self.questions.withdraw_all("the run has ended")
            self._record.move_run("finish", self._how_it_ended())

    def _how_it_ended(self) -> str:
        """Done is not all done where a person left something out: the last sentence says so."""
        skipped = [name for name, step in self.state.steps.items() if step.status == "skipped"]
        left = [f"{' and '.join(skipped)} skipped"] if skipped else []
        left += [f"{host} left out" for host in self.state.excluded]
        return f"every step is done, but: {', '.join(left)}" if left else "every step is done"

    async def _back(self) -> None:
        """The same graph the other way round: a step is taken back when everything after it has been."""
        self.questions.withdraw_all("the run goes back", but="undo")
        self._record.decide("rollback.planned", steps=[step.name for step in reversed(self._plan.steps)
                                                       if self.state.step(step.name).touched])  # fmt: skip
        while True:
            await self._walk_graph(self._not_undone, self._ready_to_undo, self._walking.back, lambda: False)
            await self._beside.finished()
            if self.state.status == "going_back" and not self._not_undone():
                break
        self._record.move_run("finish", "everything that was done is taken back")

    async def _walk_graph(
        self,
        left: Callable[[], list[Step]],
        ready: Callable[[], list[Step]],
        walk: Callable[[Step], Awaitable[None]],
        turned: Callable[[], bool],
    ) -> None:
        """Walk the steps that are left, each as soon as it is ready, until none is left and nothing holds."""
        tasks: dict[str, asyncio.Future[None]] = {}
        try:
            while True:
                for step in ready():
                    if step.name not in tasks and not turned():
                        tasks[step.name] = asyncio.ensure_future(walk(step))
                held = self.state.status in ("held", "back_held")
                if not tasks and (turned() or not (held or left())):
                    return
                await self._wait_for(tasks)
                for name in [name for name, task in tasks.items() if task.done()]:
                    _result_of(tasks.pop(name))
        finally:
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)

    async def _wait_for(self, tasks: dict[str, asyncio.Future[None]]) -> None:
        """Wait for a step to end or for a change; what the last turns have decided is durable a moment later."""
        self._beside.raise_if_broken()
        if any(task.done() for task in tasks.values()):
            return
        changed = asyncio.ensure_future(self._record.changed.wait())
        lingered = asyncio.ensure_future(self._context.clock.sleep(LINGER))
        steps: list[asyncio.Future[None]] = [*tasks.values(), changed]
        try:
            done, _ = await asyncio.wait([*steps, lingered], return_when=asyncio.FIRST_COMPLETED)
            if done <= {lingered}:
                await self._record.commit()
                await asyncio.wait(steps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()
            lingered.cancel()

    def _troubled(self) -> set[str]:
        """Steps (or the run, "") about which a person decides first: meanwhile nothing else begins."""
        asked = {asked["step"] for asked in self.state.questions.values() if asked["about"] in ("check", "budget")}
        return asked | {name for name, step in self.state.steps.items() if step.status in ("failed", "in_doubt")}

    def _unfinished(self) -> list[Step]:
        return [step for step in self._plan.steps if self.state.step(step.name).status not in STEP_SETTLED]

    def _ready(self) -> list[Step]:
        if self.state.status != "running":
            return []
        troubled = self._troubled()
        return [
            step
            for step in self._unfinished()
            if (not troubled or step.name in troubled)
            and all(self.state.step(need).status in STEP_SETTLED for need in step.needs)
        ]

    async def _forward_one(self, step: Step) -> None:
        if step.disruptive:
            self._window.opened_by(step.name)
        await self._walking.forward(step)

    def _ready_to_undo(self) -> list[Step]:
        if self.state.status != "going_back":
            return []
        to_undo = {step.name for step in self._not_undone()}
        after = {need for step in self._plan.steps if step.name in to_undo for need in self._all_needs(step)}
        return [step for step in self._plan.steps if step.name in to_undo - after]

    def _not_undone(self) -> list[Step]:
        states = ((step, self.state.step(step.name)) for step in self._plan.steps)
        return [step for step, state in states if state.touched and state.status != "undone"]

    def _all_needs(self, step: Step) -> set[str]:
        """Every step that must have been settled before this one, near or far."""
        if step.name not in self._needs:
            near = set(step.needs)
            self._needs[step.name] = near.union(*(self._all_needs(self._plan.step(need)) for need in near))
        return self._needs[step.name]


def _result_of(task: asyncio.Future[None]) -> None:
    try:
        task.result()
    except GoingBack:
        return
