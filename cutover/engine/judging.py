"""What replies mean, in sentences."""

from cutover.model.effects import CommandReply, OnHost, Reply
from cutover.model.kind import Act
from cutover.model.text import visible_bytes, visible_line
from cutover.model.verdict import Probed, Verdict, failed, passed, unknown

# The wrapper's and the transport's words for "certainly nothing was done", for a person at night.
REFUSALS = {
    "identity": "the machine there is not the one that was pinned",
    "guard": "a guard refused",
    "owned": "another engine holds it",
    "token": "another engine has taken it over, or it was given back",
    "torn-token": "who holds it cannot be read",
    "busy": "another act is still under way there",
    "running": "something that was begun before is still running there",
    "no-state-directory": "it has no state directory",
    "no-receipt": "no receipt can be written (disk full or read-only?)",
    "receipt-exists": "this very attempt began before",
    "no-flock": "it has no flock program",
    "unreachable": "it cannot be reached",
    "host-key": "its host key is not the expected one",
    "not-durable": "its state directory cannot be written (disk full?)",
}


def outcome(act: Act, reply: Reply) -> Verdict:
    """What the reply to an act says: passed, failed (ran and said no, or refused), unknown."""
    if reply.outcome == "unknown":
        return unknown(f"{act.title}: {sentence(reply)}")
    if reply.outcome == "refused":
        return failed(f"{act.title}: refused, nothing was done: {sentence(reply)}")
    if act.judge:
        return act.judge(reply)
    if isinstance(act.effect, OnHost) and len(reply.commands) < len(act.effect.commands) and reply.ok:
        return unknown(f"{act.title}: {len(reply.commands)} of {len(act.effect.commands)} commands answered")
    for number, command in enumerate(reply.commands):
        if command.exit != 0:
            return failed(f"{act.title}: {_failure(act, number, command)}")
    return passed(f"{act.title}: done in {reply.seconds:.1f} s")


def by_receipt(act: Act, look: Reply) -> Probed:
    """What a receipt alone proves, where the kind has no probe. `look` is answered and not running."""
    if look.receipt == "none":
        return Probed("not_done", f"{act.title}: it never began on {act.host}: there is no receipt")
    if look.receipt == "finished":
        return Probed("done", f"{act.title}: its receipt says that every command ended well")
    return Probed(
        "unknown",
        f"{act.title}: its receipt on {act.host} says that it began and nothing more, and nothing of it runs any more",
    )


def sentence(reply: Reply) -> str:
    """A reply that is not a plain answer, as a sentence without a full stop."""
    if reply.outcome == "refused":
        words = REFUSALS.get(reply.code, reply.code or "refused")
        holder = f" (held by {reply.owner})" if reply.owner and reply.code in ("owned", "token") else ""
        return visible_line(f"{words}{holder}" + (f": {reply.detail}" if reply.detail else ""))
    if reply.receipt == "running":
        return visible_line("it is still running there" + (f": {reply.detail}" if reply.detail else ""))
    if reply.outcome == "unknown":
        return visible_line(f"no answer came, so nobody can tell: {reply.detail or 'the connection was lost'}")
    return visible_line(reply.detail or "answered")


def _failure(act: Act, number: int, command: CommandReply) -> str:
    argv = act.effect.commands[number].argv if isinstance(act.effect, OnHost) else ()
    said = visible_bytes(command.stderr or command.stdout).strip().splitlines()
    tail = f": {said[-1][:200]}" if said else " and said nothing"
    return f"`{visible_line(' '.join(argv))[:120]}` ended with exit {command.exit}{tail}"
