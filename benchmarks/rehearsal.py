"""A long runbook, and a world that answers everything at once: what is left is what the engine itself costs."""

from collections.abc import Callable, Iterable

from cutover.engine.engine import Start
from cutover.model.effects import ClaimHost, CommandReply, Effect, Look, OnHost, Reply
from cutover.model.events import Draft
from cutover.model.plan import Plan, Source
from cutover.planning import planner
from cutover.ports import Output
from cutover.steps import KINDS

RUN = "7f3a9c"
HEAD = """\
title: A chain of acts
announcement: {waived: a measurement}
sites: {here: {web: [yakko]}}
steps:
"""


def chain(acts: int) -> Plan:
    """So many acts in a row, without a read between them."""
    steps = (f"  - act-{n}: {{command: {{on: yakko, do: ['true'], harmless: true}}}}\n" for n in range(1, acts + 1))
    return planner.plan(Source(file="chain.yaml", runbook=HEAD + "".join(steps)), KINDS)


def created(plan: Plan) -> Draft:
    """The first event of the run."""
    body = {"run": RUN, "plan": plan.hash, "title": plan.title, "operator": "bench@here"}
    return Draft("run.created", None, {**body, "steps": [step.name for step in plan.steps]})


def start(number: int = 1) -> Start:
    """How an engine start of this run came about."""
    return Start(run=RUN, owner=f"bench@here.{RUN}.{number}", number=number, resumed=number > 1)


class PromptWorld:
    """Implements ports.World. Every act succeeds; a look finds no receipt.

    on_act: hears of each act before it. claimed: as an earlier engine start left it.
    """

    def __init__(self, on_act: Callable[[OnHost], object] = lambda _: None, *, claimed: bool = False) -> None:
        self._on_act = on_act
        self._token = 1 if claimed else 0
        self._owner = start().owner if claimed else None

    async def perform(self, effect: Effect, output: Output | None = None) -> Reply:
        """As the port says."""
        match effect:
            case ClaimHost():
                return self._claim(effect)
            case Look():
                return Reply(outcome="answered", receipt="none")
            case OnHost():
                self._on_act(effect)
                return Reply(outcome="answered", commands=tuple(CommandReply(0) for _ in effect.commands))
        return Reply(outcome="answered")

    async def connect(self, hosts: Iterable[str]) -> dict[str, Reply]:
        """As the port says."""
        return {host: Reply(outcome="answered") for host in hosts}

    async def close(self) -> None:
        """As the port says."""

    def _claim(self, effect: ClaimHost) -> Reply:
        if effect.mode in ("claim", "take"):
            self._token += 1
            self._owner = effect.owner
        return Reply(outcome="answered", token=self._token, owner=self._owner)
