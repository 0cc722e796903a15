"""What goes on beside the run: acts that it does not wait for, tried again until they are done or the run is over.

Theory of operation. An act beside the run is settled like any other (intent, outcome, probe), but what would stop a
step does not stop anything here: it is tried again after a pause that grows. A hold does not concern it. When the run
has nothing else left to do it waits for these acts for a last while; what is not done then, or what nobody can tell,
is recorded as outstanding, with the sentence that says why, and is for a person to look after.

Acts under one key go one after the other, in the order in which they came: an update never overtakes the start. A
retraction first lets what is on its way end. Nothing is kept but in the journal: an engine that takes the run up finds
there what is still open.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import Any

from cutover.engine.acting import Acting
from cutover.engine.context import Context, GoingBack, InDoubt, StepFailed
from cutover.model.effects import reply_from_json
from cutover.model.kind import Act, Acts
from cutover.model.plan import Step

FIRST_PAUSE = 2.0
LONGEST_PAUSE = 60.0
LAST_WHILE = 60.0
"""Seconds that the end of a run, forward or back, waits for what goes on beside it."""


class Beside:
    """The acts beside one run, of one engine start."""

    def __init__(self, context: Context, acting: Acting) -> None:
        """`context` of this engine start."""
        self._context = context
        self._record = context.record
        self._acting = acting
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._last_words: dict[tuple[str, str], str] = {}
        self._lanes: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def start(self, step: Step, act: Act, begun: "asyncio.Task[None] | None" = None) -> None:
        """Let an act go on beside the run. begun: it is being settled already."""
        self._spawn(step, act, lambda: self._bring(step, act, begun=begun))

    def takes_back(self, step: Step, act: Act) -> bool:
        """Take an act back beside the run, once it has come to rest. False when that is for the rollback itself."""
        forward, undo = self._tasks.get((step.name, act.key)), self._undo_of(step, act)
        if undo is None or not undo.beside:
            return undo is None and act.late is not None  # then there is nothing to take back
        self._spawn(step, undo, lambda: self._take_back(step, act, forward))
        return True

    def take_up(self, steps: tuple[Step, ...]) -> None:
        """Go on with what an engine before this one has left open."""
        for step in steps:
            state = self._record.state.step(step.name)
            for stage in step.stages:
                if not isinstance(stage, Acts):
                    continue
                for act in stage.acts:
                    if state.status == "done" and (act.beside or stage.enough == "any"):
                        self.start(step, act)
                    elif state.status == "undone" and self._record.state.act(step.name, act.key).touched:
                        self.takes_back(step, act)

    async def finished(self) -> None:
        """Wait for all of them, for a last while or until the run turns round; what is not done then is outstanding."""
        until, turned = self._context.clock.monotonic() + LAST_WHILE, self._context.going_back()
        while left := [name for name, task in self._tasks.items() if not task.done()]:
            self.raise_if_broken()
            await self._record.commit()
            seconds = until - self._context.clock.monotonic()
            if self._context.going_back() != turned:
                return
            if seconds <= 0:
                break
            await self._context.changed_within(seconds)
        for name in left:
            self._tasks[name].cancel()
        await asyncio.gather(*(self._tasks[name] for name in left), return_exceptions=True)
        for step, key in left:
            self._give_up(step, key, self._last_words[step, key])
        self.raise_if_broken()

    def raise_if_broken(self) -> None:
        """Nothing can be recorded any more, or worse: the engine must end, whoever found out first."""
        for task in self._tasks.values():
            if task.done() and not task.cancelled() and (problem := task.exception()):
                raise problem

    async def close(self) -> None:
        """Let go of all of them, wherever they are."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _spawn(self, step: Step, act: Act, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        name = (step.name, act.key)
        if name in self._tasks and not self._tasks[name].done():
            return
        self._last_words[name] = f"{act.title}: it was never begun"
        task = self._tasks[name] = asyncio.create_task(work())
        task.add_done_callback(lambda _: self._record.changed.set())

    async def _bring(
        self, step: Step, act: Act, *, back: bool = False, begun: "asyncio.Task[None] | None" = None
    ) -> None:
        """Settle one act, however often it takes."""
        pause = FIRST_PAUSE
        while not self._record.state.act(step.name, act.key).given_up:
            hopeless = False
            try:
                if begun is not None:
                    await begun
                else:
                    async with self._lanes[act.key]:
                        await self._acting.settle(step, act, back=back, beside=True)
                return
            except GoingBack:
                return  # what it has done so far is taken back with its step
            except InDoubt as problem:
                why, hopeless = str(problem), act.probe is None
            except StepFailed as problem:
                why = str(problem)
            begun, words = None, why if act.title in why else f"{act.title}: {why}"
            self._last_words[step.name, act.key] = words
            if hopeless:
                self._give_up(step.name, act.key, words)
                return
            await self._context.pause(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _take_back(self, step: Step, act: Act, forward: "asyncio.Task[None] | None") -> None:
        if forward is not None:
            await asyncio.wait([forward])
        state = self._record.state.act(step.name, act.key)
        if state.status in ("begun", "unknown"):
            with suppress(StepFailed, InDoubt):
                await self._acting.find_out(step, act)
        undo = self._undo_of(step, act)
        if undo is None or self._record.state.act(step.name, undo.key).given_up:
            return
        if state.status == "done":
            await self._bring(step, undo, back=True)
        elif state.status in ("begun", "unknown"):
            why = f"{undo.title}: whether it is there, nobody knows; look, and take it back by hand"
            self._give_up(step.name, undo.key, why)

    def _undo_of(self, step: Step, act: Act) -> Act | None:
        before = self._record.state.act(step.name, act.key).before
        known = self._acting.known(step, act)
        undo = known.undo(reply_from_json(before) if before else None) if known.undo else None
        return replace(undo, key=f"{act.key}.undo", undo=None) if undo is not None else None

    def _give_up(self, step: str, key: str, why: str) -> None:
        self._record.decide("act.outstanding", step, key=key, because=why)
