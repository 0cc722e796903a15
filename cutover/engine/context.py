"""What the parts of one engine start share."""

import asyncio
from dataclasses import dataclass, field

from cutover.engine.record import Record
from cutover.model.effects import Effect, Reply
from cutover.model.plan import Plan
from cutover.ports import Clock, World


class GoingBack(Exception):
    """The run turned round while this step was on its way."""


class Fenced(Exception):
    """Another engine took over a host: this one must not act any more."""


class StepFailed(Exception):
    """A step did not do what it should; the message is the sentence for the commander."""


class InDoubt(Exception):
    """Nobody can tell whether a step was done; the message is what is known."""


@dataclass(slots=True)
class Context:
    """One engine start: the plan, the world, and the record of what is decided.

    take_over: a person said that any other engine is dead.
    """

    plan: Plan
    world: World
    clock: Clock
    record: Record
    run: str
    owner: str
    answers: dict[str, str] = field(default_factory=dict)
    take_over: bool = False

    async def read(self, effect: Effect) -> Reply:
        """Ask the world something. What was decided before is durable first."""
        await self.record.commit()
        return await self.world.perform(effect)

    async def changed_within(self, seconds: float) -> None:
        """Wait for the next change of the engine's mind, `seconds` at most."""
        waits = [
            asyncio.ensure_future(self.clock.sleep(max(0.0, seconds))),
            asyncio.ensure_future(self.record.changed.wait()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def going_back(self) -> bool:
        """Whether the run is on its way back, or ended."""
        return self.record.state.status not in ("preparing", "running", "held")

    async def pause(self, seconds: float) -> None:
        """Let time pass, but no longer than until the run turns round. What was decided before is durable first."""
        await self.record.commit()
        until, turned = self.clock.monotonic() + seconds, self.going_back()
        while (left := until - self.clock.monotonic()) > 0 and self.going_back() == turned:
            await self.changed_within(left)

    async def gate(self, back: bool, *, waits: bool = True) -> None:
        """Wait here while the run is held, unless told not to.

        Raises GoingBack when a forward step meets a run that turned round.
        """
        state = self.record.state
        while True:
            if not back and self.going_back():
                raise GoingBack
            if not waits or state.status == ("going_back" if back else "running"):
                return
            await self.record.commit()
            await self.record.changed.wait()
