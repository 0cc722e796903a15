"""One act, from its intent to a settled outcome, through crashes, timeouts and lost connections.

Theory of operation. An act is *begun* when its intent is durable and stays so until an outcome or a probe is recorded.
A reply that is unknown, and an intent that the engine finds after its own death, are treated alike:

1. the host's claim is taken again with the next token. That waits for, or refuses beside, anything still running
   there, and from then on an earlier call that is still on its way (a frozen network, a full socket) is refused by its
   old token. Only so is "no receipt" a proof that it never began;
2. the receipt is read: none, running, finished with its exits, or died;
3. where the kind has a probe, the probe decides; else the receipt does. Neither: in doubt, and a person is asked.

An act that was found *not done* may be tried again by itself; it is never repeated blindly and never skipped blindly.
"""

from dataclasses import replace
from itertools import takewhile
from typing import Any

from cutover.engine import judging
from cutover.engine.context import Context, Fenced, InDoubt, StepFailed
from cutover.model.effects import (
    Claim,
    ClaimHost,
    Http,
    Look,
    OnHost,
    Receipt,
    Reply,
    effect_to_json,
    reply_from_json,
    reply_to_json,
)
from cutover.model.kind import Act, Facts
from cutover.model.plan import Step
from cutover.model.run_state import ActState
from cutover.model.text import visible_line
from cutover.model.units import show_duration
from cutover.model.verdict import Probed, Verdict
from cutover.ports import Output

CLAIM_TIMEOUT = 15.0
LOOK_TIMEOUT = 15.0
LOOK_INTERVAL = 1.0
# How often an act that was lost and then found not done is tried again by itself before a person is asked.
LOST_TRIES = 3
# How long, in seconds, an act waits in all because it was told to come back later, before a person is asked.
THROTTLED = 300.0


class Acting:
    """Brings acts to their end."""

    def __init__(self, context: Context) -> None:
        """`context` of this engine start."""
        self._context = context
        self._record = context.record

    async def settle(self, step: Step, act: Act, *, back: bool = False, beside: bool = False) -> None:
        """Bring an act (back: an undo) to done. beside: a hold does not concern it.

        Returns when it is done, or its host excluded. Raises StepFailed, InDoubt, GoingBack or Fenced.
        """
        lost, waited = 0, 0.0
        found: Probed | None = await self.find_out(step, act)
        while True:
            state = self._state(step, act)
            if act.host in self._record.state.excluded or (found and found.done == "done"):
                return
            if found and found.done in ("unknown", "partly") and not self._may_repeat(act, found):
                raise InDoubt(found.because)
            await self._context.gate(back, waits=not beside)
            reply, verdict = await self._attempt(step, act, state)
            if verdict.passed:
                return
            if verdict.again_in is not None and waited + verdict.again_in <= THROTTLED:
                waited += verdict.again_in
                await self._context.pause(verdict.again_in)
                found = None
                continue
            nobody_can_tell = isinstance(act.effect, Http) and verdict.finding == "unknown"
            if nobody_can_tell or reply.outcome == "unknown" or reply.code in ("receipt-exists", "token"):
                lost += 1
                if lost > LOST_TRIES:
                    raise StepFailed(f"{act.title}: lost {lost} times, and found not done each time")
                found = await self.find_out(step, act)
                continue
            found = await self._after_failure(step, act, reply, verdict)

    async def find_out(self, step: Step, act: Act) -> Probed | None:
        """What became of an act that was begun. None when it never was, or may be tried again.

        Raises InDoubt when it may still be at work, and StepFailed when it is known to have failed.
        """
        state, act = self._state(step, act), self.known(step, act)
        if act.host in self._record.state.excluded or not state.touched:
            return None
        if state.status == "done":
            return Probed("done", state.because)
        if state.status == "not_done":
            return None
        if state.status == "failed" and act.probe is None:
            if act.effect.idempotent:
                return None
            raise StepFailed(state.because)  # found so after a crash: whether it is tried again, a person says
        if state.status == "failed" or isinstance(act.effect, Http):
            return await self._probe(step, act, state)
        return await self._recover(step, act, state)

    def _state(self, step: Step, act: Act) -> ActState:
        return self._record.state.act(step.name, act.key)

    @staticmethod
    def _may_repeat(act: Act, found: Probed) -> bool:
        """Idempotent, at rest, and done by half or without a probe: doing it again is the way to finish it."""
        return act.effect.idempotent and (found.done == "partly" or act.probe is None)

    def known(self, step: Step, act: Act) -> Act:
        """The act with what is known only now in it, where it speaks of that."""
        return act.late(self._facts(step, act)) if act.late else act

    def _facts(self, step: Step, act: Act) -> Facts:
        run, state = self._record.state, self._state(step, act)
        steps = takewhile(lambda each: each.name != step.name, self._context.plan.steps)
        earlier = (run.act(each.name, act.key) for each in steps)
        return Facts(
            id=self._context.run,
            plan=self._context.plan.short_hash,
            began=run.created[:16].replace("T", " "),
            window=run.window_length(self._context.clock.utc()),
            before=reply_from_json(state.before) if state.before else None,
            observed=state.observed,
            first=next((each.observed for each in earlier if each.status == "done"), {}),
        )

    async def _attempt(self, step: Step, act: Act, state: ActState) -> tuple[Reply, Verdict]:
        if act.before is not None and state.before is None:
            before = await self._context.read(act.before)
            if before.outcome != "answered" or (before.status is not None and not 200 <= before.status < 300):
                said = f"answered {before.status}" if before.status is not None else judging.sentence(before)
                raise StepFailed(f"{act.title}: what was there before cannot be read: {said}")
            self._decide(step, act, "act.before", effect=effect_to_json(act.before), reply=reply_to_json(before))
        act = self.known(step, act)
        effect = self._stamp(step, act, state.attempt + 1)
        self._decide(step, act, "act.intent", attempt=state.attempt + 1, title=act.title, effect=effect_to_json(effect))
        await self._record.commit()
        reply = await self._context.world.perform(effect, self._output(step, act))
        verdict = judging.outcome(act, reply)
        self._outcome(step, act, state.attempt, reply, verdict)
        self._stop_if_fenced(effect, reply)
        return reply, verdict

    async def _after_failure(self, step: Step, act: Act, reply: Reply, verdict: Verdict) -> Probed:
        """It was answered, and the answer is no: probe, and let the step's `retries` decide."""
        if reply.outcome == "answered" and (act.probe or verdict.nothing_done):
            if verdict.nothing_done:
                found = Probed("not_done", verdict.because)
            else:
                found = await self._probe(step, self.known(step, act), self._state(step, act))
            if found.done not in ("not_done", "partly"):
                return found
            used = self._record.state.step(step.name).retries
            if used < step.retries:
                self._record.decide("step.retried", step.name, key=act.key, retry=used + 1, of=step.retries)
                return found
        raise StepFailed(verdict.because)

    def _stamp(self, step: Step, act: Act, attempt: int) -> OnHost | Http:
        if isinstance(act.effect, Http):
            return act.effect
        host = act.effect.host
        token = self._record.state.claims.get(host)
        if token is None:
            raise StepFailed(f"{host} is not claimed by this engine (unreachable at the start?); retry claims it again")
        return replace(
            act.effect,
            machine_id=self._context.plan.hosts[host].machine_id,
            claim=Claim(self._context.owner, token),
            receipt=self._receipt(step, act, attempt),
        )

    def _receipt(self, step: Step, act: Act, attempt: int) -> Receipt:
        return Receipt(self._context.run, f"{step.name}.{act.key}", attempt)

    def _stop_if_fenced(self, effect: OnHost | Http, reply: Reply) -> None:
        if reply.code != "token" or not isinstance(effect, OnHost) or effect.claim is None:
            return
        if self._record.state.claims.get(effect.host) == effect.claim.token:
            raise Fenced(f"{effect.host}: {judging.sentence(reply)}")

    def _output(self, step: Step, act: Act) -> Output:
        def saw(stream: int, data: bytes) -> None:
            text = data.decode(errors="backslashreplace")
            self._record.decide("act.output", step.name, host=act.host, key=act.key, stream=stream, text=text)

        return saw

    async def _recover(self, step: Step, act: Act, state: ActState) -> Probed:
        assert isinstance(act.effect, OnHost)
        self._decide(step, act, "act.recovering", attempt=state.attempt)
        deadline = self._context.clock.monotonic() + act.effect.timeout
        while True:
            look = await self._look(step, act, state)
            if look.outcome == "answered" and look.receipt != "running":
                break
            if self._context.clock.monotonic() >= deadline:
                waited = show_duration(act.effect.timeout)
                because = f"{act.title}: after {waited} more, {judging.sentence(look)}"
                self._probed(step, act, Probed("unknown", because), look)
                raise InDoubt(because)
            await self._context.clock.sleep(LOOK_INTERVAL)
        if act.probe:
            return await self._probe(step, act, state, look)
        if look.receipt == "finished" and not (verdict := judging.outcome(act, look)).passed:
            self._outcome(step, act, state.attempt, look, verdict)
            raise StepFailed(f"{verdict.because} (from its receipt)")
        return self._probed(step, act, judging.by_receipt(act, look), look)

    async def _look(self, step: Step, act: Act, state: ActState) -> Reply:
        """Take the claim anew, so that nothing older can still begin; then read the receipt."""
        assert isinstance(act.effect, OnHost)
        host = act.effect.host
        held = self._record.state.claims.get(host)
        if held is None:
            return Reply(outcome="unknown", detail=f"{host} is not claimed by this engine")
        machine = self._context.plan.hosts[host].machine_id
        owner = self._context.owner
        taken = await self._context.read(
            ClaimHost(host=host, mode="take", owner=owner, token=held + 1, timeout=CLAIM_TIMEOUT, machine_id=machine)
        )
        if taken.code == "token" and taken.owner != owner:
            raise Fenced(f"{host}: {judging.sentence(taken)}")
        if taken.code == "token" and taken.token is not None:  # ours, and the answer to an earlier take was lost
            self._record.decide("claim.taken", host=host, token=taken.token, owner=owner, why="found")
            return Reply(outcome="unknown", detail="the claim had moved on; looking again")
        if taken.outcome != "answered":
            return Reply(outcome="unknown", receipt="running" if taken.code in ("busy", "running") else None,
                         detail=judging.sentence(taken))  # fmt: skip
        self._record.decide("claim.taken", host=host, token=held + 1, owner=owner, why=f"to look for {act.title}")
        receipt = self._receipt(step, act, state.attempt)
        return await self._context.read(
            Look(host=host, receipt=receipt, timeout=LOOK_TIMEOUT, machine_id=machine, cap=act.effect.cap)
        )

    async def _probe(self, step: Step, act: Act, state: ActState, look: Reply | None = None) -> Probed:
        if act.probe is None:
            return self._probed(step, act, Probed("unknown", f"{act.title}: {state.because or 'no answer came'}"), look)
        reply = await self._context.read(act.probe.effect)
        before = reply_from_json(state.before) if state.before else None
        if reply.outcome == "answered":
            found = act.probe.judge(reply, before)
        else:
            found = Probed("unknown", f"{act.title}: the probe got no answer: {judging.sentence(reply)}")
        return self._probed(step, act, found, look, reply)

    def _probed(
        self, step: Step, act: Act, found: Probed, look: Reply | None = None, reply: Reply | None = None
    ) -> Probed:
        self._decide(
            step,
            act,
            "act.probed",
            done=found.done,
            because=visible_line(found.because),
            observed=found.observed,
            receipt=reply_to_json(look) if look else None,
            reply=reply_to_json(reply) if reply else None,
        )
        return found

    def _outcome(self, step: Step, act: Act, attempt: int, reply: Reply, verdict: Verdict) -> None:
        answer = reply_to_json(reply)
        why = verdict.because
        noted: dict[str, Any] = {"nothing_done": True} if verdict.nothing_done else {}
        noted |= {"observed": verdict.observed} if isinstance(act.effect, Http) and verdict.observed else {}
        self._decide(
            step, act, "act.outcome", attempt=attempt, reply=answer, finding=verdict.finding, because=why, **noted
        )

    def _decide(self, step: Step, act: Act, kind: str, **body: Any) -> None:
        self._record.decide(kind, step.name, host=act.host, key=act.key, **body)
