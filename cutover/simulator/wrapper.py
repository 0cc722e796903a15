"""The wrapper's fields evaluated as data: identity, lock, token, guards, receipt, then the commands one by one.

The same answers in the same order as the shell that the SSH transport sends. A visit is one call as the host sees it;
a sequence is what goes on under a supervisor when the visit's connection is long gone.
"""

from collections.abc import Callable
from dataclasses import replace

from cutover.model.effects import ClaimHost, Command, CommandReply, Guard, Look, OnHost, Receipt, Reply, sealed_text
from cutover.simulator import rules
from cutover.simulator.call import Answer
from cutover.simulator.host import NEVER, Host, Sequence, Visit

LOCK_WAIT = 10.0
"""Seconds for which a claim waits for acts that run."""

Run = Callable[[Host, Receipt | None, Command, float], Answer]
"""Runs one command of an act; the fleet's, which keeps the history and lets faults interfere."""


def receive(host: Host, visit: Visit, now: float, run: Run) -> None:
    """A call reaches the host. It is answered at once, begins a sequence, or waits for the lock."""
    visit.due = NEVER
    match visit.effect:
        case ClaimHost() as effect:
            _claim(host, visit, effect, now)
        case Look() as effect:
            visit.reply = _identity(host, effect.machine_id) or _look(host, effect)
        case OnHost(reads=True) as effect:
            visit.reply = _identity(host, effect.machine_id) or _guards(host, effect.guards, now)
            if visit.reply is None:
                _begin(host, visit, effect, now, run)
        case OnHost() as effect:
            visit.reply = _identity(host, effect.machine_id) or _may_act(host, effect, now)
            if visit.reply is None:
                _begin(host, visit, effect, now, run)


def lock_freed(host: Host, now: float) -> None:
    """Claims that wait for the lock get it, in the order in which they came, or give up."""
    for visit in host.visits.values():
        if visit.reply is None and visit.give_up < NEVER and isinstance(visit.effect, ClaimHost):
            _claim(host, visit, visit.effect, now)


def step(host: Host, sequence: Sequence, now: float, run: Run) -> None:
    """Let happen what is due in a sequence: its command ends and the next begins, or its supervisor dies."""
    if sequence.supervisor_dies_at <= now:
        _lose_supervisor(host, sequence)
    if sequence.due > now:
        return
    if sequence.current is not None:
        sequence.replies.append(sequence.current)
        sequence.current = None
    over = len(sequence.replies) == len(sequence.commands) or any(reply.exit for reply in sequence.replies)
    if over or not sequence.supervised:
        _finish(host, sequence)
        return
    _next(host, sequence, now, run)


def power_cut(host: Host) -> None:
    """Everything under way ends, and nobody wrote down how."""
    for sequence in list(host.running.values()):
        sequence.supervised = False
        _finish(host, sequence)
    for visit in host.visits.values():
        visit.reply = visit.reply or Reply(outcome="unknown", detail="the connection was lost: the host went down")


# --- checks before an act


def _refuse(host: Host, code: str, detail: str) -> Reply:
    return Reply(outcome="refused", code=code, detail=detail, token=host.token, owner=host.owner)


def _identity(host: Host, wanted: str | None) -> Reply | None:
    if wanted in (None, host.machine_id):
        return None
    return Reply(outcome="refused", code="identity", detail=host.machine_id)


def _guards(host: Host, guards: tuple[Guard, ...], now: float) -> Reply | None:
    for guard in guards:
        got = rules.answer(host, guard.argv, "", now).stdout.removesuffix("\n")
        if got != guard.want:
            detail = f"{guard.says or ' '.join(guard.argv)}: found {got!r}, wanted {guard.want!r}"
            return Reply(outcome="refused", code="guard", detail=detail)
    return None


def _may_act(host: Host, effect: OnHost, now: float) -> Reply | None:
    if effect.claim is None or effect.receipt is None:
        return Reply(outcome="refused", code="bad-request", detail="an act on a host needs a claim and a receipt")
    if not host.state_directory:
        return _refuse(host, "no-state-directory", "/var/lib/cutover")
    claim = effect.claim
    if (claim.owner, claim.token) != (host.owner, host.token):
        return _refuse(host, "token", f"{host.token} {host.owner or '-'}")
    if refused := _guards(host, effect.guards, now):
        return refused
    return _void_earlier(host, effect.receipt)


def _void_earlier(host: Host, receipt: Receipt) -> Reply | None:
    if receipt_key(receipt) in host.receipts:
        return _refuse(host, "receipt-exists", receipt_key(receipt))
    # An earlier attempt that never began never will: its call may still be on its way.
    for attempt in range(1, receipt.attempt):
        earlier = receipt_key(replace(receipt, attempt=attempt))
        if earlier in host.running:
            return _refuse(host, "running", earlier)
        if earlier not in host.receipts and not host.disk_full:
            host.receipts[earlier] = Sequence(key=earlier, visit=0, commands=(), cap=0, end="void")
    return None


# --- claims


def _claim(host: Host, visit: Visit, effect: ClaimHost, now: float) -> None:
    visit.give_up = min(visit.give_up, now + max(1, min(LOCK_WAIT, int(effect.timeout) - 1)))
    refused = _identity(host, effect.machine_id)
    if not refused and not host.state_directory:
        refused = _refuse(host, "no-state-directory", "/var/lib/cutover")
    if not refused and effect.mode != "show" and host.acts_under_way():
        if now < visit.give_up:
            return
        refused = _refuse(host, "busy", "an act is still running")
    visit.give_up = NEVER
    visit.reply = refused or _decide(host, effect)


def _decide(host: Host, effect: ClaimHost) -> Reply:
    orphans = [key for key, sequence in host.running.items() if not sequence.supervised]
    match effect.mode:
        case "claim" if host.owner not in (None, effect.owner):
            return _refuse(host, "owned", f"{host.token} {host.owner}")
        case "take" if effect.token != host.token + 1:
            return _refuse(host, "token", f"{host.token} {host.owner or '-'}")
        case "release" if (effect.token, effect.owner) != (host.token, host.owner):
            return _refuse(host, "token", f"{host.token} {host.owner or '-'}")
        case "claim" | "take" if orphans:
            return _refuse(host, "running", orphans[0])
    token, owner = host.token, host.owner
    match effect.mode:
        case "claim" if owner is None:
            token, owner = token + 1, effect.owner
        case "take":
            token, owner = effect.token, effect.owner
        case "release":
            owner = None
    if (token, owner) != (host.token, host.owner):
        if host.disk_full:
            return _refuse(host, "not-durable", "No space left on device")
        host.token, host.owner = token, owner
    return Reply(outcome="answered", token=host.token, owner=host.owner)


# --- sequences and their receipts


def receipt_key(receipt: Receipt) -> str:
    """The receipt's name on the host."""
    return f"{receipt.run}/{receipt.act}.{receipt.attempt}"


def _begin(host: Host, visit: Visit, effect: OnHost, now: float, run: Run) -> None:
    receipt = None if effect.reads else effect.receipt
    key = receipt_key(receipt) if receipt else f"#{visit.id}"
    written = not (receipt and host.disk_full)
    if not written and not effect.idempotent:
        visit.reply = _refuse(host, "no-receipt", "No space left on device")
        return
    sequence = Sequence(
        key=key, visit=visit.id, commands=effect.commands, receipt=receipt, written=written, cap=effect.cap,
        due=now + visit.delay, reads=effect.reads,
    )  # fmt: skip
    host.running[key] = sequence
    if receipt and written:
        host.receipts[key] = sequence
    if visit.kill is not None:
        sequence.supervisor_dies_at = now + visit.kill
    step(host, sequence, now, run)


def _next(host: Host, sequence: Sequence, now: float, run: Run) -> None:
    command = sequence.commands[len(sequence.replies)]
    answer = run(host, sequence.receipt, command, now)
    out, err = answer.stdout.encode("utf-8", "surrogateescape"), answer.stderr.encode("utf-8", "surrogateescape")
    cap = sequence.cap
    sequence.current = CommandReply(answer.exit, out[:cap], err[:cap], len(out) > cap, len(err) > cap)
    sequence.due = now + answer.takes


def _lose_supervisor(host: Host, sequence: Sequence) -> None:
    sequence.supervisor_dies_at, sequence.supervised = NEVER, False
    if visit := host.visits.get(sequence.visit):
        visit.reply = Reply(outcome="unknown", detail="the wrapper ended without its last line")
    if sequence.current is None:  # it died before its first command, or between two
        _finish(host, sequence)


def _finish(host: Host, sequence: Sequence) -> None:
    host.running.pop(sequence.key, None)
    sequence.due = sequence.supervisor_dies_at = NEVER
    whole = sequence.supervised
    sequence.end = "finished" if whole else "died"
    sequence.current = None
    visit = host.visits.get(sequence.visit)
    if whole and visit and visit.reply is None:
        visit.reply = Reply(outcome="answered", commands=tuple(sequence.replies), receipt_written=sequence.written)


def _look(host: Host, effect: Look) -> Reply:
    if not host.state_directory:
        return _refuse(host, "no-state-directory", "/var/lib/cutover")
    sequence = host.receipts.get(receipt_key(effect.receipt))
    if sequence is None or sequence.end == "void":
        return Reply(outcome="answered", receipt="none")
    return Reply(outcome="answered", receipt=sequence.end or "running", commands=tuple(sequence.replies))


def stdin_of(command: Command) -> str:
    """What a command reads; a secret appears as its name, since the simulated world has no secrets."""
    return sealed_text(command.stdin)
