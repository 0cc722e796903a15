"""The engine's pen: every decision goes through here into the journal and into the engine's own fold.

The fold here is ahead of the disk by what this turn of the engine has decided; nobody outside sees it (followers get
committed events only), and no effect is performed before `commit` returned. If a commit fails the engine stops.
"""

import asyncio
from typing import Any

from cutover.engine.machine import RUN, STEP
from cutover.model.events import Draft, utc_text
from cutover.model.run_state import RunState
from cutover.ports import Clock, Journal


class Signal:
    """Wakes everybody who waits for a change of the engine's mind."""

    def __init__(self) -> None:
        """Nobody waits yet."""
        self._event = asyncio.Event()

    def set(self) -> None:
        """Wake all who wait now."""
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self) -> None:
        """Until the next `set`."""
        await self._event.wait()


class Record:
    """Decisions of one engine start."""

    def __init__(self, journal: Journal, state: RunState, clock: Clock) -> None:
        """`state` is the fold of what the journal holds already; from here on this object keeps it."""
        self.state = state
        self.changed = Signal()
        self._journal = journal
        self._clock = clock

    def decide(
        self,
        kind: str,
        step: str | None = None,
        *,
        host: str | None = None,
        actor: str = "engine",
        **body: Any,
    ) -> None:
        """Record one event; durable with the next `commit`."""
        if kind == "claim.taken":
            self._journal.token = max(self._journal.token, int(body["token"]))
        self._journal.record(Draft(kind, step, body, actor, host))
        self.state.take(kind, step, body, utc_text(self._clock.utc()), host)
        self.changed.set()

    async def commit(self) -> None:
        """Make all that was decided durable. One turn of the loop first, so that parallel branches share the sync."""
        await asyncio.sleep(0)
        await self._journal.commit()

    def move_run(self, trigger: str, why: str, actor: str = "engine") -> None:
        """Move the run by the table. Raises IllegalMove, and then nothing has changed."""
        to = RUN.move(self.state.status, trigger)
        self.decide("run.moved", actor=actor, source=self.state.status, to=to, trigger=trigger, why=why)

    def move_step(self, step: str, trigger: str, why: str = "", actor: str = "engine", **more: Any) -> None:
        """Move a step by the table. Raises IllegalMove, and then nothing has changed."""
        source = self.state.step(step).status
        to = STEP.move(source, trigger)
        self.decide("step.moved", step, actor=actor, source=source, to=to, trigger=trigger, why=why, **more)
