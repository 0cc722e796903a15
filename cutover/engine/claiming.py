"""Claims: the right to act on the plan's hosts, taken before anything is done and fenced by tokens."""

from collections.abc import Iterable

from cutover.engine import judging
from cutover.engine.context import Context
from cutover.errors import ClaimRefused
from cutover.model.effects import ClaimHost, Reply

TIMEOUT = 20.0


def engine_of(owner: str) -> str:
    """An owner's name `user@machine.RUN.START` without its start: whose earlier starts are known to be dead.

    The same run elsewhere is another engine: its directory was copied, and the lock in it is held by nobody here.
    """
    return owner.rpartition(".")[0]


class Claiming:
    """Takes and gives up claims for one engine start."""

    def __init__(self, context: Context) -> None:
        """`context` of this engine start."""
        self._context = context
        self._record = context.record

    async def claim_all(self, hosts: Iterable[str], *, resumed: bool) -> list[str]:
        """Claim every host, in sorted order. Returns sentences about hosts that could not be reached (resume only).

        Raises ClaimRefused, with everything claimed so far released, when another run holds a host, or when a fresh
        run cannot claim one. A resumed run goes on without the hosts it could not reach: nothing acts there.
        """
        missing = []
        for host in sorted(hosts):
            reply = await self._claim(host, resumed=resumed)
            if reply.outcome == "unknown":  # it may have been taken: asked again, the host says
                reply = await self._claim(host, resumed=resumed)
            if reply.outcome == "answered" and reply.token is not None:
                self._record.decide("claim.taken", host=host, token=reply.token, owner=self._context.owner, why="start")
                continue
            self._record.decide("claim.refused", host=host, code=reply.code, detail=reply.detail, owner=reply.owner)
            sentence = self._sentence(host, reply)
            if not resumed or reply.code in ("owned", "token"):
                await self.release_all()
                raise ClaimRefused(sentence)
            missing.append(sentence)
        return missing

    async def claim_missing(self, host: str) -> None:
        """Try once more to claim a host that was not reached at the start. Raises ClaimRefused."""
        reply = await self._claim(host, resumed=True)
        if reply.outcome != "answered" or reply.token is None:
            raise ClaimRefused(self._sentence(host, reply))
        self._record.decide("claim.taken", host=host, token=reply.token, owner=self._context.owner, why="retry")

    async def release_all(self) -> None:
        """Give every claim back; one that cannot be given back is left, and said."""
        for host, token in sorted(self._record.state.claims.items()):
            reply = await self._perform(host, "release", token)
            why = "" if reply.outcome == "answered" else judging.sentence(reply)
            self._record.decide("claim.released", host=host, why=why)
        await self._record.commit()

    async def _claim(self, host: str, *, resumed: bool) -> Reply:
        if not resumed:
            return await self._perform(host, "claim")
        shown = await self._perform(host, "show")
        if shown.outcome != "answered" or shown.token is None:
            return shown
        if not self._ours(host, shown) and not self._context.take_over:
            return Reply(outcome="refused", code="owned", owner=shown.owner, token=shown.token)
        if not shown.owner:
            return await self._perform(host, "claim")
        return await self._perform(host, "take", shown.token + 1)

    def _ours(self, host: str, shown: Reply) -> bool:
        """Whether an earlier start of this engine held the host last, or nobody since."""
        if shown.owner:
            return engine_of(shown.owner) == engine_of(self._context.owner)
        return self._record.state.last_claims.get(host) in (None, shown.token)

    async def _perform(self, host: str, mode: str, token: int = 0) -> Reply:
        machine = self._context.plan.hosts[host].machine_id
        owner = self._context.owner
        effect = ClaimHost(host=host, mode=mode, owner=owner, token=token, timeout=TIMEOUT, machine_id=machine)  # type: ignore[arg-type]
        return await self._context.read(effect)

    def _sentence(self, host: str, reply: Reply) -> str:
        if reply.code == "owned":
            held = f"is claimed by {reply.owner}" if reply.owner else "was claimed by another engine, and given back"
            run = _run_of(reply.owner or "")
            shows = f"`cutover attach {run}` on its machine shows what it does; " if reply.owner else ""
            return (
                f"{host} {held}: {shows}`cutover resume {run} --take-over` replaces an engine that is known to be dead"
            )
        return f"{host} could not be claimed: {judging.sentence(reply)}"


def _run_of(owner: str) -> str:
    """The run in an owner's name, `user@machine.RUN.START`; RUN where it has another form."""
    parts = owner.rsplit(".", 2)
    return parts[1] if len(parts) == 3 else "RUN"
