"""Runs the engine over the simulated world in virtual time, with crashes and answers; shared by the engine's tests."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from cutover.engine.engine import Engine, Start
from cutover.errors import JournalError
from cutover.journal.memory import MemoryJournal
from cutover.model.events import Draft, Event, Origin, decode
from cutover.model.plan import Plan, Source
from cutover.model.run_state import RunState, fold
from cutover.planning import planner
from cutover.simulator.clock import LoopClock, VirtualLoop
from cutover.simulator.faults import Fault
from cutover.simulator.fleet import Fleet
from cutover.simulator.healthy import healthy, machine_id
from cutover.simulator.world import SimWorld
from cutover.steps import KINDS

ROOT = Path(__file__).parents[2]
RUN = "7f3a9c"

# What the operator answers, by what the question is about: given the open question, the choice (or None: silence).
Operator = Callable[[dict], str | None]


class Crash(BaseException):
    """The engine's process dies here. Not an Exception: nothing may catch it."""


def plan_of(text: str) -> Plan:
    return planner.plan(Source(file="test.yaml", runbook=text), KINDS)


def pinned(plan: Plan) -> Plan:
    """The same plan, with the machine ids of its healthy world pinned."""
    hosts = {name: replace(host, machine_id=machine_id(name)) for name, host in plan.hosts.items()}
    return replace(plan, hosts=hosts)


def first_move() -> Plan:
    return plan_of((ROOT / "runbooks/first-move.yaml").read_text())


def go(question: dict) -> str | None:
    """Says go to every question, back to none; gives up (silence) on failures."""
    words = [choice["word"] for choice in question["choices"]]
    return next((word for word in words if word == "go" or word.startswith("go-")), None)


def silent(question: dict) -> None:
    """Answers nothing."""


def says(*words: str) -> Operator:
    """Answers each question with the first of these words that it takes."""

    def operator(question: dict) -> str | None:
        taken = [choice["word"] for choice in question["choices"]]
        return next((word for word in words if word in taken), None)

    return operator


def at(seconds: float, verb: str, *, id: str = "", actor: str = "me@here", expect_seq: int | None = None,
       plan: str | None = None, **args: str) -> tuple[float, dict]:  # fmt: skip
    """A command to give at that moment. Its id is the verb, unless another is given."""
    guards = {"expect_seq": expect_seq, "plan": plan}
    return seconds, {"id": id or verb, "verb": verb, "args": args, "actor": actor, **guards}


@dataclass
class Trial:
    """One run of a plan in one world, over as many engine starts as it takes."""

    plan: Plan
    fleet: Fleet = None  # type: ignore[assignment]
    stored: list[bytes] = field(default_factory=list)
    starts: int = 0
    commits: int = 0
    operator: Operator = go
    take_over: bool = False
    patience: float = 3_600.0
    commands: Sequence[tuple[float, dict]] = ()
    answers: tuple[tuple[str, str], ...] = ()
    loop_time: float = 0.0
    groups: list[list[Event]] = field(default_factory=list)
    replies: dict[str, dict] = field(default_factory=dict)
    hold: str | None = None

    def __post_init__(self) -> None:
        self.fleet = self.fleet or healthy(self.plan)

    def with_faults(self, *faults: Fault) -> "Trial":
        self.fleet.faults.extend(faults)
        return self

    @property
    def events(self) -> list[Event]:
        return [decode(data) for data in self.stored]

    @property
    def state(self) -> RunState:
        return fold(self.events)

    def start(self, *, crash_before: int | None = None, crash_after: int | None = None) -> RunState:
        """One engine start, perhaps to its death at the n-th commit. Returns what the journal says afterwards."""
        with asyncio.Runner(loop_factory=lambda: VirtualLoop(self.loop_time)) as runner:
            with suppress(Crash, JournalError):
                runner.run(self._start(crash_before, crash_after))
            self.loop_time = runner.get_loop().time() + 1.0
        return self.state

    async def _start(self, crash_before: int | None, crash_after: int | None) -> None:
        clock = LoopClock()
        origin = Origin(run=RUN, boot_id="boot", plan=self.plan.hash, tool="test")
        journal = MemoryJournal.resume(self.stored, origin, clock)
        self.stored = journal.stored
        if not self.stored:
            steps = [step.name for step in self.plan.steps]
            body = {"run": RUN, "plan": self.plan.hash, "title": "t", "operator": "me@here", "steps": steps}
            journal.record(Draft("run.created", None, body))
            await journal.commit()
        journal.on_commit(lambda events: self.groups.append(list(events)))
        journal.before_commit = _dies_at(crash_before)
        journal.after_commit = _dies_at(crash_after)
        self.starts += 1
        state = fold(journal.events())
        start = Start(
            run=RUN,
            owner=f"me@here.{RUN}.{self.starts}",
            number=self.starts,
            resumed=self.starts > 1,
            take_over=self.take_over,
            answers=self.answers,
            hold=self.hold,
        )
        engine = Engine(self.plan, SimWorld(self.fleet, clock), journal, clock, state, start)
        watching = asyncio.ensure_future(self._operate(engine, clock))
        run = asyncio.ensure_future(engine.run())
        try:
            async with asyncio.timeout(self.patience):
                await run
        except TimeoutError:
            pass
        finally:
            watching.cancel()
            run.cancel()
            await asyncio.gather(watching, run, return_exceptions=True)
            self.commits = journal.commits
            self.engine = engine

    async def _operate(self, engine: Engine, clock: LoopClock) -> None:
        commands = [asyncio.ensure_future(self._command(engine, clock, at, command)) for at, command in self.commands]
        try:
            await self._answer(engine, clock)
        finally:
            for command in commands:
                command.cancel()

    async def _answer(self, engine: Engine, clock: LoopClock) -> None:
        answered: set[str] = set()
        while True:
            await clock.sleep(1.0)
            for name, question in list(engine.state.questions.items()):
                choice = self.operator(question) if name not in answered else None
                if choice:
                    answered.add(name)
                    args = {"question": name, "choice": choice, "reason": "test"}
                    await engine.commands.take({"id": f"a{name}{self.starts}", "verb": "answer", "args": args})

    async def _command(self, engine: Engine, clock: LoopClock, at: float, command: dict) -> None:
        await clock.sleep(max(0.0, at - clock.monotonic()))
        self.replies[command["id"]] = await engine.commands.take(command)

    def of(self, kind: str, step: str | None = None) -> list[Event]:
        """The events of a type, perhaps of one step."""
        return [event for event in self.events if event.type == kind and step in (None, event.step)]

    def when(self, kind: str, step: str, **body: str) -> float:
        """When the first such event came."""
        found = (event.mono for event in self.of(kind, step) if body.items() <= event.body.items())
        return next(found)

    def count(self, line: str) -> int:
        """How often a command line acted."""
        return sum(1 for _, acted in self.effects() if acted == line)

    def statuses(self) -> dict[str, str]:
        """The steps' states."""
        return {name: step.status for name, step in self.state.steps.items()}

    def effects(self) -> list[tuple[str, str]]:
        """What acted in the world, in order: (host, command line)."""
        return [(done.host, " ".join(done.argv)) for done in self.fleet.history if done.receipt]


def _dies_at(number: int | None) -> Callable[[int], None]:
    def hook(commit: int) -> None:
        if number is not None and commit == number:
            raise Crash

    return hook
