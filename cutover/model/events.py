"""Events: the journal's only content. Every state, screen and report is a fold of these.

The envelope is complete from the first version; what the journal stores is the canonical encoding below, and the
chain (`prev`, the SHA-256 of the stored bytes of the event before) is over exactly those bytes, so verifying never
re-encodes. Decisions are durable before anything is awaited; telemetry is appended in groups.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

FORMAT = 1
GENESIS = "0" * 64

# Telemetry: may be lost with the machine, is never synced alone, decides nothing.
TELEMETRY = frozenset({"poll.sample", "act.output", "measure.sample", "journal.dropped"})


@dataclass(frozen=True, slots=True)
class Draft:
    """What the engine has decided, before the journal gives it a place: type, step (or None) and body (JSON-ready)."""

    type: str
    step: str | None
    body: dict[str, Any]
    actor: str = "engine"
    host: str | None = None

    @property
    def telemetry(self) -> bool:
        """Whether it may be appended in a group and lost with the machine."""
        return self.type in TELEMETRY


@dataclass(frozen=True, slots=True)
class Origin:
    """What is the same for every event of one engine start.

    run: its id. boot_id: of the machine that the engine runs on. plan: the plan's hash. tool: name/version.
    """

    run: str
    boot_id: str
    plan: str
    tool: str


@dataclass(frozen=True, slots=True)
class Event:
    """One event with its envelope.

    v: format. seq: from 1, without gaps. at_utc: ISO 8601, microseconds, ending in Z. mono: the engine's monotonic
    clock in seconds (comparable within one boot_id). host: that an effect went to. actor: who decided: "engine", or
    user@machine. token: highest claim token of this engine start, 0 before. prev: hex SHA-256 of the stored bytes
    before, 64 zeros for the first.
    """

    v: int
    run: str
    seq: int
    at_utc: str
    mono: float
    boot_id: str
    host: str | None
    actor: str
    token: int
    plan: str
    tool: str
    prev: str
    type: str
    step: str | None
    body: dict[str, Any]

    @property
    def at(self) -> datetime:
        """The wall clock of the engine's machine when it was decided."""
        return datetime.fromisoformat(self.at_utc)


def encode(event: Event) -> bytes:
    """The canonical bytes of an event: one line of JSON in UTF-8, keys in the order of the class, no newline.

    Lone surrogates (which JSON can carry and UTF-8 cannot) are written as \\uXXXX by ensure_ascii.
    """
    envelope = {name: getattr(event, name) for name in Event.__slots__}
    return json.dumps(envelope, ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode()


def decode(data: bytes) -> Event:
    """The inverse of `encode`. Raises ValueError, KeyError or TypeError on bytes that are not an event."""
    fields = json.loads(data.decode())
    if not isinstance(fields, dict) or fields.get("v") != FORMAT:
        found = fields.get("v") if isinstance(fields, dict) else type(fields).__name__
        raise ValueError(f"format {found!r}, this version of cutover reads format {FORMAT}")
    return Event(**fields)


def digest(data: bytes) -> str:
    """The hash that the next event carries as `prev`: SHA-256 over the stored bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def utc_text(moment: datetime) -> str:
    """A moment as the envelope writes it."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
