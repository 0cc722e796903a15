"""Reads what the remote shell answered, and says in a Reply what it means. `wrapper.py` renders what was asked."""

from dataclasses import dataclass, field
from signal import Signals

from cutover.model.effects import ClaimHost, CommandReply, Effect, Look, OnHost, Reply
from cutover.model.text import visible_bytes, visible_line

_LINE_LIMIT = 4096


@dataclass
class Part:
    """The bytes that came after one mark, cut at the cap."""

    title: str
    data: bytearray = field(default_factory=bytearray)
    cut: bool = False


class MarkedStream:
    """Splits one stream of a reading call at its marks; keeps `cap` bytes of each part, however many come."""

    def __init__(self, nonce: str, cap: int) -> None:
        self.parts = [Part("")]
        self._mark = f"@{nonce} ".encode()
        self._cap = cap
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        data = self._rest + data
        while (at := data.find(self._mark)) >= 0:
            end = data.find(b"\n", at)
            self._keep(data[:at])
            if end < 0:
                self._rest = data[at : at + _LINE_LIMIT]
                return
            self.parts.append(Part(data[at + len(self._mark) : end].decode("ascii", "replace")))
            data = data[end + 1 :]
        # A mark may be cut in two by the chunks: hold back what could be its beginning.
        held = min(len(data), len(self._mark) - 1)
        while held and not self._mark.startswith(data[-held:]):
            held -= 1
        self._keep(data[: len(data) - held])
        self._rest = data[len(data) - held :]

    def close(self) -> list[Part]:
        """The parts, the first of which is what came before the first mark."""
        self._keep(self._rest)
        self._rest = b""
        return self.parts

    def _keep(self, data: bytes) -> None:
        part = self.parts[-1]
        room = self._cap - len(part.data)
        part.cut = part.cut or len(data) > room
        part.data += data[: max(room, 0)]


@dataclass(frozen=True, slots=True)
class Ending:
    """How a call ended at the other side: by its exit, by a signal, or, with both None, nobody knows."""

    exit: int | None
    signal: str | None
    lost: str = ""

    @property
    def status(self) -> int | None:
        """The exit as a shell reports it: 128+N for signal N."""
        if self.signal is None:
            return self.exit
        number = Signals.__members__.get(f"SIG{self.signal}")
        return 128 + (number.value if number else 0)


def read_reply(effect: OnHost, out: MarkedStream, err: MarkedStream, ending: Ending) -> Reply:
    """The reply to a reading OnHost."""
    if ending.status is None:
        return lost(effect.host, ending.lost)
    outs, errs = out.close()[1:], err.close()
    if not outs or len(outs) != len(errs):
        return no_shell(effect.host, bytes(out.parts[0].data), bytes(err.parts[0].data))
    titles = [part.title for part in outs]
    if titles[-1].startswith("guard"):
        return guard_refused(effect, int(titles[-1].split()[1]), bytes(outs[-1].data))
    exits = [int(title) for title in titles[1:]]
    if not exits or exits[-1] == 0:
        exits.append(ending.status)
    commands = tuple(
        CommandReply(code, bytes(o.data), bytes(e.data), o.cut, e.cut)
        for code, o, e in zip(exits, outs, errs, strict=False)
    )
    return Reply(outcome="answered", commands=commands, detail=sudo_says(commands))


@dataclass(frozen=True)
class Answer:
    """The wrapper's lines: `end` holds the fields of the last one, empty when it never came."""

    began: bool
    end: list[str]
    commands: tuple[CommandReply, ...]
    got: bytes


def parse_answer(data: bytes, nonce: str) -> Answer:
    """Read the wrapper's stdout as far as it is whole."""
    mark = f"@{nonce} ".encode()
    exits: dict[int, int] = {}
    streams: dict[tuple[int, int], tuple[bytes, bool]] = {}
    got, end = b"", list[str]()
    at = data.find(mark)
    began = at >= 0
    while data.startswith(mark, at) and (stop := data.find(b"\n", at)) >= 0:
        kind, *fields = data[at + len(mark) : stop].decode("utf-8", "replace").split(" ")
        at = stop + 1
        if kind == "rc":
            exits[int(fields[0])] = int(fields[1])
        elif kind in ("out", "got"):
            length = int(fields[2] if kind == "out" else fields[0])
            if len(data) <= at + length:
                break
            if kind == "out":
                streams[int(fields[0]), int(fields[1])] = data[at : at + length], fields[3] == "cut"
            else:
                got = data[at : at + length]
            at += length + 1
        elif kind == "end":
            end = fields
            break
    commands = []
    for number, code in sorted(exits.items()):
        (out, out_cut), (err, err_cut) = (streams.get((number, s), (b"", False)) for s in (1, 2))
        commands.append(CommandReply(code, out, err, out_cut, err_cut))
    return Answer(began, end, tuple(commands), got)


def wrapper_reply(effect: OnHost | Look | ClaimHost, data: bytes, err: bytes, nonce: str, ending: Ending) -> Reply:
    """The reply to an act, a look or a claim."""
    answer = parse_answer(data, nonce)
    match answer.end:
        case ["acted", written]:
            commands = answer.commands
            return Reply(
                outcome="answered", commands=commands, receipt_written=written == "yes", detail=sudo_says(commands)
            )
        case ["receipt", "none" | "died" | "finished" as state]:
            return Reply(outcome="answered", receipt=state, commands=answer.commands)
        case ["receipt", "running", pid]:
            detail = f"process {pid} still runs there"
            return Reply(outcome="answered", receipt="running", commands=answer.commands, detail=detail)
        case ["claimed", token, owner]:
            return Reply(outcome="answered", token=int(token), owner=None if owner == "-" else owner)
        case ["refused", "guard", number] if isinstance(effect, OnHost):
            return guard_refused(effect, int(number), answer.got)
        case ["refused", code, *fields]:
            return _refused(effect, code, fields)
    if ending.status is None:
        return lost(effect.host, ending.lost)
    if not answer.began:
        return no_shell(effect.host, data, err)
    return Reply(
        outcome="unknown",
        detail=f"the wrapper on {effect.host} ended (exit {ending.status}) without its last line; look at the receipt"
        f"{_said(err)}",
    )


def lost(host: str, why: str) -> Reply:
    """The connection ended before the answer did: nobody can tell how far it went."""
    because = why or "no reason given"
    return Reply(outcome="unknown", detail=f"the connection to {host} ended before the answer: {because}")


def guard_refused(effect: OnHost, number: int, got: bytes) -> Reply:
    """A guard did not hold, so nothing was done."""
    guard = effect.guards[number - 1]
    says = guard.says or "`" + " ".join(guard.argv) + "` did not say what it must"
    found = visible_line(got.decode("utf-8", "backslashreplace"))
    return Reply(outcome="refused", code="guard", detail=f"{says} (wanted '{guard.want}', found '{found}')")


def sudo_says(commands: tuple[CommandReply, ...]) -> str:
    """A sentence when the last command failed in sudo and not in the program; sudo's exit is 1 like any other's."""
    if commands and commands[-1].exit == 1 and commands[-1].stderr.startswith(b"sudo: a password is required"):
        return "sudo asked for a password: the login needs a NOPASSWD rule in sudoers for this very command"
    return ""


def _refused(effect: Effect, code: str, fields: list[str]) -> Reply:
    host = getattr(effect, "host", "")
    values = [*fields, "", "", ""]
    token, owner = None, None
    if code in ("token", "owned", "busy"):
        token, owner = (int(values[0]) if values[0].isdigit() else None), values[1]
    elif code == "running":
        token, owner = (int(values[1]) if values[1].isdigit() else None), values[2]
    owner = None if owner in ("-", "") else owner
    sentence = _SENTENCES.get(code, "the wrapper refused: {code} {0}")
    detail = sentence.format(*values, host=host, code=code, owner=owner or "nobody", token=token)
    return Reply(outcome="refused", code=code, detail=visible_line(detail), token=token, owner=owner)


# Each stands behind what its code means, which `judging.REFUSALS` says.
_SENTENCES = {
    "identity": "the /etc/machine-id of {host} is {0!r}",
    "no-state-directory": "{0} on {host} is missing or not writable for this login; make it once, as root there: "
    "install -d -m 2770 -g cutover {0} && : >{0}/claim",
    "no-flock": "{host} lacks the package util-linux",
    "busy": "the lock of {host} is held by another claim or by an act under way (claimed by {owner}); try again",
    "torn-token": "the token file on {host} is torn; as root there, look at `token` in the state directory",
    "not-durable": "the token was not written; look at the disk of {host}",
    "owned": "its token is {token}; only a person's take-over replaces it",
    "token": "the token of {host} is {token} now",
    "running": "process {0} on {host}; wait for its end, or end it there, then try again",
    "receipt-exists": "it is never done twice; look at its receipt on {host}, {0}",
    "no-receipt": "under {0} on {host}; only what may be repeated can act there",
}


def no_shell(host: str, out: bytes, err: bytes) -> Reply:
    """The first mark never came, though the call ended: the login has no shell that takes commands."""
    said = _said(err or out)
    return Reply(
        outcome="refused", code="shell", detail=f"the login on {host} does not run /bin/sh, so nothing was done{said}"
    )


def _said(data: bytes) -> str:
    text = visible_bytes(data[:200]).strip()
    return f"; it said: {visible_line(text)}" if text else ""
