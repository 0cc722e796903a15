"""The plan: runbook and pins resolved to exact steps, and the hash that names them."""

from dataclasses import dataclass, field
from typing import Any

from cutover.model.channels import AnyChannel
from cutover.model.kind import Act, Acts, Check, Cross, Kind, Point, Scope, Stage
from cutover.model.runbook import Announcement, Downtime, Measure, Place, SecretSource


@dataclass(frozen=True, slots=True)
class Source:
    """Everything that a plan is made from, as text: the journal keeps it, so a resume plans from the very same.

    file: the runbook's path as given. inventory: path and text. environment: the values of ${env:NAME} that were used.
    """

    file: str
    runbook: str
    pins: str | None = None
    inventory: str | None = None
    inventory_file: str | None = None
    vars: tuple[tuple[str, str], ...] = ()
    environment: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class PlannedHost:
    """A host of the plan: how it is reached, and who it must be.

    role: all its roles, joined by ", ". destination: a name for ~/.ssh/config (the inventory may override it).
    user, port: only where the inventory gives them. machine_id, host_keys: from the pins.
    """

    name: str
    site: str
    role: str
    destination: str
    machine_id: str | None = None
    host_keys: tuple[str, ...] = ()
    acted_upon: bool = False
    user: str | None = None
    port: int | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the plan.

    needs: the steps before it. why_waits: for each of them, one sentence. line: in the runbook.
    """

    name: str
    kind: Kind
    place: Place
    needs: tuple[str, ...]
    why_waits: tuple[str, ...]
    timeout: float
    retries: int
    owner: str | None
    nothing_to_undo: str | None
    no_way_back: str | None
    disruptive: bool
    checks: tuple[Check, ...]
    stages: tuple[Stage, ...]

    @property
    def acts(self) -> tuple[Act, ...]:
        """Every act, in the order of the stages."""
        return tuple(act for stage in self.stages if isinstance(stage, Acts) for act in stage.acts)

    @property
    def points(self) -> frozenset[Point]:
        """The points of no return that this step goes over."""
        return frozenset(stage.point for stage in self.stages if isinstance(stage, Cross))


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be run. `hash` is over everything that `source` and the pins resolve to (hex SHA-256)."""

    title: str
    hash: str
    source: Source
    scope: Scope
    hosts: dict[str, PlannedHost]
    steps: tuple[Step, ...]
    downtime: Downtime | None = None
    announcement: Announcement | None = None
    channels: dict[str, AnyChannel] = field(default_factory=dict)
    measures: dict[str, Measure] = field(default_factory=dict)
    secrets: dict[str, SecretSource] = field(default_factory=dict)
    pinned: bool = False

    def step(self, name: str) -> Step:
        """The step of that name. Raises KeyError."""
        for step in self.steps:
            if step.name == name:
                return step
        raise KeyError(name)

    @property
    def short_hash(self) -> str:
        """The first six characters, for people."""
        return self.hash[:6]


PlanJson = dict[str, Any]
