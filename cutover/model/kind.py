"""Kinds of step, and what a step unfolds into: acts, polls and questions, as data.

Theory of operation. A kind is a frozen class of parameters; it never performs anything. `unfold(scope)` turns the
parameters into stages that the engine works through in order:

- `Acts`: acts that may run at the same time, one effect at one place each;
- `Poll`: reads repeated until all of them pass, with a deadline;
- `Ask`: a question to a person;
- `Cross`: a point of no return, which is passed on a person's typed go (given now, or ahead).

An `Act` carries everything that the engine needs to survive its own death in the middle of it: a probe that tells
done from not done, a reading taken and journalled before the act, and an undo that is made from that reading and is
itself an act. `unfold` must give the same stages for the same parameters and scope, always: after a crash the engine
unfolds again and matches by key what the journal says.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema

from cutover.model.effects import Effect, Http, OnHost, Reply
from cutover.model.verdict import Probed, Verdict

if TYPE_CHECKING:
    from cutover.model.channels import Channel

Point = Literal["soft", "hard"]


class ScopeError(ValueError):
    """A selector in the runbook names something that is not there. `known` lists what could have been meant."""

    def __init__(self, message: str, name: str, known: Iterable[str]) -> None:
        """Say which name is unknown, and which names there are."""
        super().__init__(message)
        self.name = name
        self.known = tuple(known)


@dataclass(frozen=True, slots=True)
class Scope:
    """What a kind may know when it unfolds: the hosts of the runbook, and the step's own name and timeout.

    sites: site -> role -> host names, in the runbook's order. timeout: seconds for each effect of the step. channels:
    where the runbook can announce something, by name.
    """

    sites: Mapping[str, Mapping[str, tuple[str, ...]]]
    step: str = ""
    timeout: float = 60.0
    channels: "Mapping[str, Channel]" = field(default_factory=dict)

    def hosts(self, selectors: "str | Iterable[str]") -> tuple[str, ...]:
        """The hosts that selectors name, each once, in order: `basement.web` (a role), `basement` (a site), `alice`.

        Raises ScopeError for a name that is none of these.
        """
        chosen: dict[str, None] = {}
        for selector in [selectors] if isinstance(selectors, str) else selectors:
            chosen |= dict.fromkeys(self._select(selector))
        return tuple(chosen)

    def host(self, selector: str) -> str:
        """The one host that the selector names. Raises ScopeError when it names none or several."""
        hosts = self.hosts(selector)
        if len(hosts) != 1:
            raise ScopeError(f"'{selector}' names {len(hosts)} hosts, here it must be one", selector, hosts)
        return hosts[0]

    def site_of(self, host: str) -> str:
        """The site of a host."""
        return next(site for site, roles in self.sites.items() if any(host in hosts for hosts in roles.values()))

    def _select(self, selector: str) -> tuple[str, ...]:
        site, dot, role = selector.partition(".")
        if dot and role in self.sites.get(site, {}):
            return self.sites[site][role]
        if not dot and site in self.sites:
            return tuple(host for hosts in self.sites[site].values() for host in hosts)
        every = {host for roles in self.sites.values() for hosts in roles.values() for host in hosts}
        if selector in every:
            return (selector,)
        roles = [f"{site}.{role}" for site, named in self.sites.items() for role in named]
        known = [*self.sites, *roles, *sorted(every)]
        raise ScopeError(f"there is no host, role or site '{selector}'", selector, known)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One reading and what to make of it: a precondition, a guard or one line of a poll.

    key: unique in its step, A-Z a-z 0-9 . _ @ -. title: what is asked, for a person. red: what a red verdict does:
    stop the step and ask what to do, or ask whether to go on all the same.
    """

    key: str
    title: str
    effect: Effect
    judge: Callable[[Reply], Verdict]
    host: str | None = None
    red: Literal["stop", "ask"] = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """How to learn whether an act is done: a reading, and a judge of it and of what was read before the act."""

    effect: Effect
    judge: Callable[[Reply, Reply | None], Probed]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known only while a run runs. In a plan, what people read of it stands for itself: `${run.id}`.

    id: of the run. plan: the beginning of its plan's hash. began: when the run was made, in UTC. window: how long users
    could not write, so far. before: what was read before the act. observed: what the act's own outcome or probe noted,
    such as the id of a message. first: what the first act under the same key noted, in an earlier step.
    """

    id: str = "${run.id}"
    plan: str = "${run.plan}"
    began: str = "${run.began}"
    window: str = "${run.window}"
    before: Reply | None = None
    observed: Mapping[str, Any] = field(default_factory=dict)
    first: Mapping[str, Any] = field(default_factory=dict)

    @property
    def planned(self) -> bool:
        """Whether there is no run yet."""
        return self == Facts()


RUN_FACTS = ("id", "plan", "began", "window")
"""What a text may say of the run: `${run.id}` and so on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One effect at one place, with its way to know and its way back.

    key: unique in its step, same rule as Check.key; it names the receipt. title: an imperative for a person, such as
    "stop app-web on alice". before: read and journalled just before acting. probe: None means that only the receipt
    and the exit status can tell. judge: what an answered reply means; None means all exits 0. undo: makes the act
    that takes this one back from the reading `before` (None while planning); returns None where there is nothing to
    take back; an undo must be idempotent. late: makes the same act (key, host) anew from what is known only when it
    acts, is probed or is taken back; None: it is the same at any time. beside: the step does not wait for it; it is
    tried again beside the run, holds neither the run nor a rollback, and is done or outstanding in the end.
    """

    key: str
    title: str
    effect: OnHost | Http
    host: str | None = None
    disruptive: bool = True
    before: Effect | None = None
    probe: Probe | None = None
    judge: Callable[[Reply], Verdict] | None = None
    undo: "Callable[[Reply | None], Act | None] | None" = None
    late: "Callable[[Facts], Act] | None" = None
    beside: bool = False


@dataclass(frozen=True, slots=True)
class Acts:
    """Acts that may run at the same time. enough: `any`: once one is done, the others go on beside the run."""

    acts: tuple[Act, ...]
    enough: Literal["all", "any"] = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """Readings repeated every `interval` s until all pass for `steady` s; after `deadline` s the step fails.

    deadline: None is refused by review (a wait without a deadline).
    """

    key: str
    title: str
    checks: tuple[Check, ...]
    interval: float
    deadline: float | None
    steady: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A question to a person before the run goes on.

    typed: the answer is confirmed by typing a word specific to the run. arms: points that this go passes ahead, if
    every guard is green when the point is reached. silence: what happens when nobody answers within `until` seconds:
    hold on waiting, or go back (only while the way back is lossless).
    """

    key: str
    question: str
    typed: bool = False
    arms: frozenset[Point] = frozenset()
    silence: Literal["hold", "back"] = "hold"
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Cross:
    """A point of no return."""

    point: Point


Stage = Acts | Poll | Ask | Cross


@dataclass(frozen=True, slots=True)
class UnitChange:
    """For review: after this step the unit is up (or down) on the host.

    one_site_only: must never be active on two sites at once. stays_down: why it is started nowhere else.
    """

    host: str
    unit: str
    up: bool
    one_site_only: bool = True
    stays_down: str | None = None


def _one_or_more(value: Any) -> Any:
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


Selectors = Annotated[
    tuple[Annotated[str, StringConstraints(min_length=1)], ...],
    BeforeValidator(_one_or_more),
    Field(min_length=1),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
]
"""Hosts as a runbook names them, for `Scope.hosts`: one selector or a list, such as `basement.web` or [alice, dot]."""


class Params(BaseModel):
    """Base of every class that loads from a runbook: frozen, strict, no unknown names."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class Kind(Params):
    """Base of the kinds of step. The docstring of a kind is its manual page; `name` is its word in a runbook."""

    name: ClassVar[str]

    def unfold(self, scope: Scope) -> tuple[Stage, ...]:
        """The stages of this step. Raises ScopeError for a name that is not in the runbook."""
        raise NotImplementedError

    def checks(self, scope: Scope) -> tuple[Check, ...]:  # noqa: ARG002 - for the kinds
        """Preconditions: all read before the run, and again at the moment of acting."""
        return ()

    def disruptive(self, scope: Scope) -> bool:
        """Whether it stops, drains, fences, promotes, hands over, repoints, or does what nobody can vouch for."""
        return any(act.disruptive for stage in self.unfold(scope) if isinstance(stage, Acts) for act in stage.acts)

    def unit_changes(self, scope: Scope) -> tuple[UnitChange, ...]:  # noqa: ARG002 - for the kinds
        """Which units are up or down afterwards, for review."""
        return ()

    def announces(self, scope: Scope) -> tuple[str, ...]:  # noqa: ARG002 - for the kinds
        """The channels that confirm the announcement of the downtime before this step is done; none for most kinds."""
        return ()

    def placed(self, number: int, count: int) -> "Kind":  # noqa: ARG002 - for the kinds
        """The same, where a parameter goes by the place: the number-th (from 0) of `count` steps of its kind."""
        return self

    def claims_nothing_to_undo(self) -> str | None:
        """Why a step of this kind needs no way back, where the kind knows (it only reads, it only asks)."""
        return None


JsonDict = dict[str, Any]
