"""The one polling loop: every wait of cutover has a deadline, an interval and a last verdict to show."""

import asyncio
from collections.abc import Sequence
from typing import Any

from cutover.engine import judging
from cutover.engine.context import Context, GoingBack, StepFailed
from cutover.model.effects import Reply
from cutover.model.events import utc_text
from cutover.model.kind import Check, Poll
from cutover.model.plan import Step
from cutover.model.text import visible_line
from cutover.model.units import show_duration
from cutover.model.verdict import Verdict, failed, passed, unknown


async def read_check(context: Context, check: Check) -> tuple[Reply, Verdict]:
    """Read one check. No answer is unknown, never green."""
    reply = await context.read(check.effect)
    if reply.outcome == "answered":
        verdict = check.judge(reply)
    else:
        verdict = unknown(f"it is not known whether {check.title}: {judging.sentence(reply)}")
    return reply, Verdict(verdict.finding, visible_line(verdict.because), verdict.observed)


class Polling:
    """Waits for the world."""

    def __init__(self, context: Context) -> None:
        """`context` of this engine start."""
        self._context = context
        self._record = context.record

    async def until_passed(self, step: Step, poll: Poll) -> None:
        """Poll until every check passed for `steady` seconds. Raises StepFailed at the deadline, or GoingBack."""
        clock = self._context.clock
        began = clock.monotonic()
        end = began + (poll.deadline if poll.deadline is not None else step.timeout)
        green_since: float | None = None
        last = ""
        while True:
            verdict = await self._round(poll)
            now = clock.monotonic()
            if self._context.going_back():
                raise GoingBack
            green_since = (green_since if green_since is not None else now) if verdict.passed else None
            if green_since is not None and now - green_since >= poll.steady:
                self._say("poll.ended", step, poll, verdict, seconds=now - began)
                return
            if now >= end:
                self._say("poll.ended", step, poll, verdict, seconds=now - began)
                waited = show_duration(now - began)
                raise StepFailed(f"{poll.title}: not within {waited}: {verdict.because}")
            if verdict.finding != last:
                self._say("poll.verdict", step, poll, verdict, until=end - began)
            else:
                self._say("poll.sample", step, poll, verdict)
            last = verdict.finding
            await self._context.clock.sleep(min(poll.interval, max(0.0, end - now)))

    async def _round(self, poll: Poll) -> Verdict:
        checks = [check for check in poll.checks if check.host not in self._record.state.excluded]
        if not checks:
            return unknown(f"{poll.title}: 0 of 0 is no proof: every place it would ask is excluded")
        found = await asyncio.gather(*(read_check(self._context, check) for check in checks))
        return _worst([verdict for _, verdict in found])

    def _say(self, kind: str, step: Step, poll: Poll, verdict: Verdict, **more: Any) -> None:
        at = utc_text(self._context.clock.utc())
        self._record.decide(
            kind,
            step.name,
            key=poll.key,
            title=poll.title,
            finding=verdict.finding,
            because=verdict.because,
            read_at=at,
            **more,
        )


def _worst(verdicts: Sequence[Verdict]) -> Verdict:
    if all(verdict.passed for verdict in verdicts):
        return passed("; ".join(verdict.because for verdict in verdicts))
    bad = [verdict for verdict in verdicts if not verdict.passed]
    because = "; ".join(verdict.because for verdict in bad)
    return failed(because) if any(verdict.finding == "failed" for verdict in bad) else unknown(because)
