"""A simulated host as data: its units, files, claim, receipts, and what is under way there.

Everything is plain data that can be copied and written as JSON. Nothing runs in the background: whatever is to happen
later has a `due`, and `Fleet.advance` lets it happen. So the world goes on when its caller is gone, and two copies of
it go on apart.
"""

from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from pydantic import PlainSerializer, PlainValidator

from cutover.model import effects
from cutover.model.effects import ClaimHost, Command, CommandReply, Look, OnHost, Receipt, Reply
from cutover.simulator.postgres import Cluster

NEVER = 1e18
"""A time that does not come."""

# How what is not JSON by itself is written: effects and replies as everywhere else, sets in order.
Words = Annotated[set[str], PlainSerializer(sorted)]
Call = OnHost | Look | ClaimHost


def _command_reply_to_json(reply: CommandReply) -> Any:
    return effects.reply_to_json(Reply(outcome="answered", commands=(reply,)))["commands"][0]


def _command_reply(data: Any) -> CommandReply:
    return effects.reply_from_json({"outcome": "answered", "commands": [data]}).commands[0]


Answered = Annotated[CommandReply, PlainSerializer(_command_reply_to_json), PlainValidator(_command_reply)]
Said = Annotated[Reply, PlainSerializer(effects.reply_to_json), PlainValidator(effects.reply_from_json)]
Sent = Annotated[Call, PlainSerializer(effects.effect_to_json), PlainValidator(effects.effect_from_json)]

Restart = Literal["no", "on-failure", "always"]
Next = Literal["", "started", "stopped", "start", "fire"]


@dataclass(slots=True, kw_only=True)
class Unit:
    """A systemd unit: what its files say, what systemd has loaded, and how it is.

    triggers, every: of a timer, what it starts and how often. restart, restart_after: what systemd does when the main
    process dies. comes_back: seconds after each stop until something else (a person, a supervisor) starts it again.
    fails: its process does not come up. loaded: drop-ins as systemd read them last, path to text. next, due: what
    happens to it next, and when.
    """

    name: str
    fragment: str = ""
    enabled: bool = False
    installable: bool = True
    type: Literal["simple", "notify", "oneshot"] = "simple"
    description: str = ""
    required_by: str = ""
    bound_by: str = ""
    consists_of: str = ""
    triggers: str = ""
    every: float = 0.0
    restart: Restart = "no"
    restart_after: float = 1.0
    start_takes: float = 0.1
    stop_takes: float = 0.1
    fails: bool = False
    comes_back: float | None = None
    active: str = "inactive"
    sub: str = "dead"
    result: str = "success"
    asserted: bool = False
    conditioned: bool = False
    masked: bool = False
    loaded: dict[str, str] = field(default_factory=dict)
    starts: int = 0
    invocation: str = ""
    restarts: int = 0
    pid: int = 0
    exit_status: int = 0
    changed_at: float = 0.0
    active_since: float = 0.0
    restarting: bool = False
    next: Next = ""
    due: float = NEVER

    def __post_init__(self) -> None:
        """Most units of an application lie where an administrator put them."""
        self.fragment = self.fragment or f"/etc/systemd/system/{self.name}"

    def copy(self) -> "Unit":
        """A deep copy."""
        return replace(self, loaded=dict(self.loaded))


@dataclass(slots=True, kw_only=True)
class Sequence:
    """An act's commands under way, with the supervisor that outlives the connection; afterwards, its receipt.

    key: the receipt's name, or a number where there is none. visit: the call that waits for it. current: what the
    running command is going to answer. end: how it ended, empty while it goes on. supervisor_dies_at: from then on the
    command that runs goes on alone, and nothing follows it. A void receipt forbids an attempt that never began.
    """

    key: str
    visit: int
    commands: tuple[Command, ...]
    receipt: Receipt | None = None
    written: bool = True
    cap: int
    replies: list[Answered] = field(default_factory=list)
    current: Answered | None = None
    due: float = NEVER
    supervisor_dies_at: float = NEVER
    supervised: bool = True
    reads: bool = False
    end: Literal["", "finished", "died", "void"] = ""

    def copy(self) -> "Sequence":
        """A deep copy."""
        return replace(self, replies=list(self.replies))


@dataclass(slots=True, kw_only=True)
class Visit:
    """One call as the host sees it: on its way until `due`, then perhaps waiting for the lock, then answered.

    give_up: when a claim stops waiting for acts that run. delay, kill: what faults do to the sequence that it begins.
    """

    id: int
    effect: Sent
    due: float
    give_up: float = NEVER
    delay: float = 0.0
    kill: float | None = None
    reply: Said | None = None
    abandoned: bool = False

    def copy(self) -> "Visit":
        """A deep copy."""
        return replace(self)


@dataclass(slots=True, kw_only=True)
class Fact:
    """What a `command` step's argv means: it sets, clears or reads a fact of the host.

    done, not_done: of a probe, the exits that say so.
    """

    fact: str
    does: Literal["set", "clear", "read"]
    done: int = 0
    not_done: int = 3


@dataclass(slots=True, kw_only=True)
class Host:
    """A host. A path in `files` maps to its text; `directories` holds those that were made.

    pinned: the machine id that callers expect. login: who logs in over SSH; sudo: whether that user may use it without
    a password. meanings: a command line (words joined by NUL) to what it does to `facts`. outputs: a command line to
    what it prints, for reads that no rule knows. frozen_until, cut_until: until when nothing moves on the host, or the
    link to it is down; *_since: since when. down_until: when it boots, while it is off. running: the sequences under
    way, by key. receipts: every sequence that left a receipt, by key. clusters: of Postgres, by unit.
    """

    name: str
    machine_id: str
    pinned: str | None = None
    login: str = "deploy"
    sudo: bool = True
    boots: int = 1
    down_until: float = 0.0
    frozen_since: float = 0.0
    frozen_until: float = 0.0
    cut_since: float = 0.0
    cut_until: float = 0.0
    disk_full: bool = False
    state_directory: bool = True
    host_key_changed: bool = False
    connection: int = 0
    token: int = 0
    owner: str | None = None
    files: dict[str, str] = field(default_factory=dict)
    directories: Words = field(default_factory=set)
    units: dict[str, Unit] = field(default_factory=dict)
    dropin_directories: Words = field(default_factory=set)
    clusters: dict[str, Cluster] = field(default_factory=dict)
    facts: Words = field(default_factory=set)
    meanings: dict[str, list[Fact]] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    running: dict[str, Sequence] = field(default_factory=dict)
    receipts: dict[str, Sequence] = field(default_factory=dict)
    visits: dict[int, Visit] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """A receipt and the sequence that writes it are one, also when they come from JSON."""
        self.running = {key: self.receipts.get(key, sequence) for key, sequence in self.running.items()}

    def next_due(self) -> float:
        """When something happens here next."""
        if self.down_until:
            return max(self.down_until, self.frozen_until)
        dues = [unit.due for unit in self.units.values() if unit.due < NEVER]
        dues += [min(sequence.due, sequence.supervisor_dies_at) for sequence in self.running.values()]
        dues += [min(visit.due, visit.give_up) for visit in self.visits.values() if visit.reply is None]
        return max(min(dues, default=NEVER), self.frozen_until)

    def silent_since(self, now: float) -> float | None:
        """Since when no packet comes back from it; None when it answers."""
        if now < self.down_until:
            return now
        spells = ((self.cut_since, self.cut_until), (self.frozen_since, self.frozen_until))
        return min((since for since, until in spells if now < until), default=None)

    def acts_under_way(self) -> bool:
        """Whether a supervisor holds the host's lock."""
        return any(sequence.supervised and not sequence.reads for sequence in self.running.values())

    def copy(self) -> "Host":
        """A deep copy."""
        receipts = {key: sequence.copy() for key, sequence in self.receipts.items()}
        return replace(
            self,
            files=dict(self.files),
            directories=set(self.directories),
            units={name: unit.copy() for name, unit in self.units.items()},
            dropin_directories=set(self.dropin_directories),
            clusters={name: cluster.copy() for name, cluster in self.clusters.items()},
            facts=set(self.facts),
            running={key: receipts.get(key) or sequence.copy() for key, sequence in self.running.items()},
            receipts=receipts,
            visits={key: visit.copy() for key, visit in self.visits.items()},
        )
