"""The runbook as written, validated: frozen classes that are also the source of the JSON Schema."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from cutover.model.channels import AnyChannel
from cutover.model.kind import Kind, Params
from cutover.model.units import Duration

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,62}$"

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
"""A name for a step, site, role or host: letters, digits, and . _ @ - inside; at most 63."""

Words = Annotated[tuple[Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")], ...], Field(min_length=1)]
"""A program and its arguments, as a list; never a shell line."""


class Downtime(Params):
    """How long users may be unable to write."""

    announced: Duration
    """What users were told."""
    budget: Duration
    """At this line the commander is asked: on, or back? Counted from the first write that users lose."""


class Announcement(Params):
    """That the downtime is announced on no channel, and why. Without this line, an `announce` step announces it."""

    waived: Annotated[str, StringConstraints(min_length=3)]
    """Why this move needs no announcement."""


class SecretSource(Params):
    """Where a secret's value comes from: exactly one of env, file, command. Read when first needed, never stored."""

    env: str | None = None
    """The name of an environment variable of the engine."""
    file: str | None = None
    """A file on the operator's machine; one newline at the end is dropped."""
    command: Words | None = None
    """A program on the operator's machine whose stdout is the value, such as [pass, show, cutover/db]."""


class Measure(Params):
    """A URL watched through the whole window; what users see."""

    get: str | None = None
    """The URL to GET."""
    post: str | None = None
    """The URL to POST an empty canary write to."""
    expect: int = 200
    """The status that means that it works."""
    means: Literal["readable", "writable"]
    """What it proves when it works. The downtime is counted while a `writable` measure fails."""
    every: Duration = 1.0
    """Seconds between two samples."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands in a file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        """As compilers write it."""
        return f"{self.file}:{self.line}:{self.column}"


class StepWords(Params):
    """What every step may say beside its kind."""

    needs: tuple[Name, ...] | None = None
    """The steps that must be done first; without it, the step before."""
    timeout: Duration = 60.0
    """Seconds for each effect of this step, after which its outcome is unknown."""
    retries: Annotated[int, Field(ge=0, le=100)] = 0
    """How often to try again by itself, counting only attempts that the probe called not done."""
    owner: str | None = None
    """Who answers for this step; shown beside it and in its questions."""
    undo: Literal["nothing"] | None = None
    """`nothing`: there is nothing to take back."""
    no_way_back: Annotated[str, StringConstraints(min_length=3)] | None = None
    """Why this step cannot be taken back."""


class StepEntry(StepWords):
    """One step: its name, its kind with parameters, and what every step may say."""

    name: Name
    kind: Kind
    place: Place


class Head(Params):
    """A runbook without its steps."""

    title: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    summary: str | None = None
    vars: dict[str, str | int | float | bool] = Field(default_factory=dict)
    sites: Annotated[dict[Name, dict[Name, tuple[Name, ...]]], Field(min_length=1)]
    """site > role > host, or a list of hosts; names resolve through ~/.ssh/config."""
    secrets: dict[Name, SecretSource] = Field(default_factory=dict)
    downtime: Downtime | None = None
    measures: dict[Name, Measure] = Field(default_factory=dict)
    announcement: Announcement | None = None
    channels: dict[Name, AnyChannel] = Field(default_factory=dict)
    """Where something can be announced, by name."""


class Runbook(Head):
    """A whole runbook."""

    steps: Annotated[tuple[StepEntry, ...], Field(min_length=1)]
