"""Effects: everything that a step can do to, or ask of, the world, as frozen data.

A step touches the world only through `World.perform(effect)`. An *acting* effect has an intent in the journal,
durable before the act; a *reading* one has not. Guards, receipts and claims are data here: the SSH transport
renders them into its one wrapper, the simulator evaluates the very same fields. Kinds never write shell.
"""

from base64 import b64decode, b64encode
from dataclasses import MISSING, dataclass
from dataclasses import fields as fields_of
from typing import Any, Literal

from pydantic import TypeAdapter

DEFAULT_CAP = 65_536


@dataclass(frozen=True, slots=True)
class SecretRef:
    """The name of a secret of the runbook."""

    secret: str


# Sealed text: pieces of plain text and references to secrets. The values are put in by the transport, at the
# last moment; the effect, and with it the journal and every screen, only ever holds the names.
Sealed = tuple[str | SecretRef, ...]


@dataclass(frozen=True, slots=True)
class Command:
    """One program on a host: an argv (never a shell line) and what it reads on stdin.

    argv: words as the program gets them; no NUL. stdin: text (sent as UTF-8) and secrets.
    """

    argv: tuple[str, ...]
    stdin: Sealed = ()


@dataclass(frozen=True, slots=True)
class Guard:
    """A read in the same remote call as the act: unless its stdout (less one newline) equals `want`, nothing acts.

    says: the sentence for a person when it refuses, such as "alice is no longer the primary".
    """

    argv: tuple[str, ...]
    want: str
    says: str = ""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The name of the file on the host that tells afterwards whether this attempt began and how it ended.

    All three become one path on the host: run and act hold only A-Z a-z 0-9 . _ @ - and do not start with a dot.
    """

    run: str
    act: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Claim:
    """Which engine may act on a host: the owner's name and the token it was issued; both must be equal there."""

    owner: str
    token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OnHost:
    """A short sequence of commands on one host, in one remote call, stopping at the first that fails.

    timeout: seconds until the engine says unknown; it kills nothing. cap: bytes kept of each output stream.
    idempotent: may act even where no receipt can be written. reads: changes nothing: no claim, no receipt.
    machine_id, claim and receipt are stamped by the engine, not by kinds.
    """

    host: str
    commands: tuple[Command, ...]
    timeout: float
    guards: tuple[Guard, ...] = ()
    reads: bool = False
    idempotent: bool = False
    cap: int = DEFAULT_CAP
    machine_id: str | None = None
    claim: Claim | None = None
    receipt: Receipt | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Read a receipt: did that attempt begin, does it still run, how did it end. Changes nothing."""

    host: str
    receipt: Receipt
    timeout: float
    cap: int = DEFAULT_CAP
    machine_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimHost:
    """Take or give up the right to act on a host.

    claim: when the host is free, or held by `owner` itself; answers the token. take: a person took over; the token
    given must be the present one + 1. release: the owner gives it back. show: who holds it; changes nothing.
    claim and take wait for, or refuse beside, an act that is still running there.
    """

    host: str
    mode: Literal["claim", "take", "release", "show"]
    owner: str
    timeout: float
    token: int = 0
    machine_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Http:
    """One HTTP request from where the engine runs. Reading unless it may change something on the other side.

    Redirects are not followed. cap: bytes kept of the body. idempotent: sent twice, it does what it does sent once.
    """

    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
    url: Sealed
    timeout: float
    headers: tuple[tuple[str, Sealed], ...] = ()
    body: Sealed = ()
    reads: bool = False
    cap: int = DEFAULT_CAP
    idempotent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Let `seconds` pass."""

    seconds: float


Effect = OnHost | Look | ClaimHost | Http | Wait


@dataclass(frozen=True, slots=True)
class CommandReply:
    """What one command of a sequence answered.

    exit: 0-255 as the shell reports it, 128+N for signal N. The streams are raw bytes, cut at the effect's cap.
    """

    exit: int
    stdout: bytes = b""
    stderr: bytes = b""
    stdout_cut: bool = False
    stderr_cut: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the world answered; `perform` returns one and never raises for a fault of the world.

    outcome: answered - the final line came, everything below is what happened.
             refused - certainly nothing was done; `code` says why: identity, guard, owned, token, busy, running,
                       no-state-directory, no-receipt, receipt-exists, unreachable, host-key, sudo, ...
             unknown - nobody can tell whether it was done, or how far; `detail` says what is known.
    commands: of OnHost, those that ran, in order. A sequence stopped early has fewer than were sent.
    receipt: of Look: none (never began), running, finished (commands hold the exits), died (began, ended, unknown how).
    receipt_written: False when an idempotent act went on without (full disk).
    token, owner: of ClaimHost, as they stand on the host afterwards. status, headers, body: of Http.
    seconds: how long the call took, by the engine's monotonic clock.
    """

    outcome: Literal["answered", "refused", "unknown"]
    code: str = ""
    detail: str = ""
    commands: tuple[CommandReply, ...] = ()
    receipt: Literal["none", "running", "finished", "died"] | None = None
    receipt_written: bool = True
    token: int | None = None
    owner: str | None = None
    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether it was answered and every command that ran exited 0."""
        return self.outcome == "answered" and all(command.exit == 0 for command in self.commands)


def is_reading(effect: Effect) -> bool:
    """Whether the effect changes nothing, and so needs no intent in the journal before it."""
    match effect:
        case OnHost(reads=reads) | Http(reads=reads):
            return reads
        case ClaimHost(mode=mode):
            return mode == "show"
        case Look() | Wait():
            return True


def sealed_text(text: Sealed) -> str:
    """Sealed text for a reader: every secret appears as its name, `${secret:NAME}`."""
    return "".join(piece if isinstance(piece, str) else f"${{secret:{piece.secret}}}" for piece in text)


_ADAPTERS: dict[str, TypeAdapter[Any]] = {
    cls.__name__: TypeAdapter(cls) for cls in (OnHost, Look, ClaimHost, Http, Wait)
}


def effect_to_json(effect: Effect) -> dict[str, Any]:
    """The effect as JSON-ready data, its type under "effect"; fields that hold their default are left out."""
    name = type(effect).__name__
    data: dict[str, Any] = _ADAPTERS[name].dump_python(effect, mode="json", exclude_defaults=True)
    return {"effect": name, **data}


def effect_from_json(data: dict[str, Any]) -> Effect:
    """The inverse of `effect_to_json`.

    Raises pydantic.ValidationError, or KeyError for an unknown type, on data that is not an effect.
    """
    fields = dict(data)
    effect: Effect = _ADAPTERS[fields.pop("effect")].validate_python(fields)
    return effect


def reply_to_json(reply: Reply) -> dict[str, Any]:
    """The reply as JSON-ready data: output is text where it is UTF-8, else {"base64": ...}; defaults are left out."""
    data = _changed_fields(reply)
    if reply.commands:
        data["commands"] = [_changed_fields(command) for command in reply.commands]
    if reply.headers:
        data["headers"] = [list(pair) for pair in reply.headers]
    return data


def reply_from_json(data: dict[str, Any]) -> Reply:
    """The inverse of `reply_to_json`. Raises KeyError, TypeError or ValueError on data that is not a reply."""
    fields = dict(data)
    commands = tuple(
        CommandReply(**{**command, **{k: _bytes_from_json(command[k]) for k in ("stdout", "stderr") if k in command}})
        for command in fields.pop("commands", ())
    )
    headers = tuple((str(name), str(value)) for name, value in fields.pop("headers", ()))
    body = _bytes_from_json(fields.pop("body", ""))
    return Reply(commands=commands, headers=headers, body=body, **fields)


def bytes_to_json(data: bytes) -> str | dict[str, str]:
    """Bytes from outside as JSON-ready data that stays readable where it can."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(data).decode()}


def _bytes_from_json(value: str | dict[str, str]) -> bytes:
    return value.encode() if isinstance(value, str) else b64decode(value["base64"])


def _changed_fields(item: Reply | CommandReply) -> dict[str, Any]:
    changed = {}
    for spec in fields_of(item):
        value = getattr(item, spec.name)
        if spec.default is MISSING or value != spec.default:
            changed[spec.name] = bytes_to_json(value) if isinstance(value, bytes) else value
    return changed
