"""Renders effects into the text for the remote shell; `answers.py` reads what comes back.

Two forms, both sent on the stdin of `exec /bin/sh`, so that no login shell ever sees a quote:

- acting effects, looks and claims: the fixed wrapper (`wrapper.sh`) and one brace group that calls it;
- reading effects: a brace group alone, in which every command's output ends with a mark.

Marks carry a nonce of the call, so neither output nor a chatty login file can be taken for one.
"""

import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from cutover.model.effects import ClaimHost, Look, OnHost, Receipt
from cutover.transports.quoting import quote, quote_words

REMOTE_COMMAND = "exec /bin/sh"

_NAME = re.compile(r"(?!\.)[A-Za-z0-9._@-]+")
_OWNER = re.compile(r"(?!-$)[!-~]+")
# How long the host waits for its lock: an act only beside a claim in progress, a claim for acts to end.
_LOCK_WAIT = 10


@cache
def _functions(section: str) -> bytes:
    """The wrapper's functions that one kind of call needs, without comments and indentation."""
    lines, wanted = [], False
    for line in map(str.strip, files("cutover.transports").joinpath("wrapper.sh").read_text().splitlines()):
        if line.startswith("#= "):
            wanted = line[3:] in ("common", section)
        elif wanted and line and not line.startswith("#"):
            lines.append(f"{line}\n")
    return "".join(lines).encode()


def render_act(effect: OnHost, stdins: Sequence[str], nonce: str, directory: str) -> bytes:
    """An acting OnHost for the wrapper; `stdins` are the commands' inputs with secrets filled in.

    Raises ValueError when something cannot be sent: no claim, no receipt, a bad name, a NUL byte.
    """
    if effect.claim is None or effect.receipt is None:
        raise ValueError("an act on a host needs a claim and a receipt")
    claim, receipt = effect.claim, effect.receipt
    calls = [
        _begin(nonce, directory, effect.machine_id),
        _call("act", _owner(claim.owner), str(claim.token), _wait(effect.timeout)),
        *(_call("guard", guard.want, *guard.argv) for guard in effect.guards),
        _call("receipt", *_receipt(receipt), str(int(effect.idempotent)), str(effect.cap), str(len(effect.commands))),
        *(_call("run", stdin, *c.argv) for c, stdin in zip(effect.commands, stdins, strict=True)),
        b"finish",
    ]
    return _group("act", calls)


def render_look(effect: Look, nonce: str, directory: str) -> bytes:
    """A Look for the wrapper. Raises ValueError for a bad name."""
    look = _call("look", *_receipt(effect.receipt), str(effect.cap))
    return _group("look", [_begin(nonce, directory, effect.machine_id), look])


def render_claim(effect: ClaimHost, nonce: str, directory: str) -> bytes:
    """A ClaimHost for the wrapper. Raises ValueError for a bad owner."""
    wait = _wait(effect.timeout)
    match effect.mode:
        case "claim":
            call = _call("claim", _owner(effect.owner), wait)
        case "take" | "release":
            call = _call(effect.mode, _owner(effect.owner), str(effect.token), wait)
        case "show":
            call = b"show"
    return _group("claim", [_begin(nonce, directory, effect.machine_id), call])


def render_read(effect: OnHost, stdins: Sequence[str], nonce: str) -> bytes:
    """A reading OnHost as a brace group without the wrapper. Raises ValueError for a NUL byte.

    A mark on stdout at the start keeps a login file's chatter out; one on both streams after every command but the last
    holds its exit status. The last command replaces the shell, so its exit status is the channel's.
    """
    lines = [b"echo '@%s begin'" % nonce.encode()]
    for number, guard in enumerate(effect.guards, 1):
        lines.append(_call("g", str(number), guard.want, *guard.argv))
    last = len(effect.commands) - 1
    for number, (command, stdin) in enumerate(zip(effect.commands, stdins, strict=True)):
        argv = quote_words(command.argv)
        runs = b"exec " + argv if number == last and not stdin else b"(exec " + argv + b")"
        runs = b"printf %s " + quote(stdin) + b" 2>/dev/null | " + runs if stdin else runs + b" </dev/null"
        lines.append(runs if number == last else runs + b"; r=$?; m $r; [ $r = 0 ] || exit $r")
    return _READ % (nonce.encode(), nonce.encode(), _READ_GUARD if effect.guards else b"", b"\n".join(lines))


_READ = rb"""LC_ALL=C; export LC_ALL
m() { printf '@%s %%s\n' "$1"; printf '@%s %%s\n' "$1" >&2; }
%s{
%s
exit
}
"""

_READ_GUARD = rb"""g() {
n=$1 want=$2; shift 2
got=$( (exec "$@") 2>/dev/null </dev/null; printf x); got=${got%x}; got=${got%"
"}
[ "$got" = "$want" ] || { m "guard $n"; printf '%.2000s' "$got"; exit 0; }
}
"""


def render_identity(nonce: str) -> bytes:
    """Ask for the machine id without starting a program: it is asked on every new connection."""
    return b'{ read -r id </etc/machine-id; echo "@%s $id"; exit; }\n' % nonce.encode()


def _group(section: str, calls: Sequence[bytes]) -> bytes:
    return _functions(section) + b"{\n" + b"\n".join(calls) + b"\n}\n"


def _call(function: str, *words: str) -> bytes:
    return b"%s %s" % (function.encode(), quote_words(words))


def _begin(nonce: str, directory: str, machine_id: str | None) -> bytes:
    return _call("begin", nonce, directory, machine_id or "")


def _wait(timeout: float) -> str:
    return str(max(1, min(_LOCK_WAIT, int(timeout) - 1)))


def _owner(owner: str) -> str:
    if not _OWNER.fullmatch(owner):
        raise ValueError(f"{owner!r} cannot be an owner's name: printable ASCII without spaces, and not '-'")
    return owner


def _receipt(receipt: Receipt) -> tuple[str, str, str]:
    for name in (receipt.run, receipt.act):
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} cannot name a receipt: A-Z a-z 0-9 . _ @ - only, no dot at the start")
    return receipt.run, receipt.act, str(receipt.attempt)
