"""Runs whose engine is killed (-9, the real process) whenever its journal shows a chosen event, then resumed."""

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from cutover import wiring
from cutover.journal.directory import RunDirectory
from cutover.journal.reader import JournalReader
from cutover.model.events import TELEMETRY, Event
from cutover.simulator.fleet import Fleet
from tests.engine.harness import plan_of
from tests.process.worlds import Worlds

ENGINE_LASTS = 60.0

PLAN = plan_of("""
title: killed everywhere
sites: {old: {web: [yakko]}, new: {web: [freud, fritz]}}
announcement: {waived: a test}
steps:
  - stop-old: {services: {stop: [app-web], on: old.web}}
  - mark:
      command:
        on: [yakko, freud]
        do: [touch, /tmp/mark]
        probe: {run: [test, -e, /tmp/mark], done: {exit: 0}, not_done: {exit: 1}}
        undo: [rm, -f, /tmp/mark]
  - plain: {command: {on: fritz, do: [[touch, /tmp/a], [touch, /tmp/b]], undo: [rm, -f, /tmp/a, /tmp/b]}}
  - warm: {http_check: {get: "http://warm:3000/", within: 60s, every: 100ms}}
  - ready: {ask: {question: "Go on?", arms: [soft]}}
  - over: {point: {is: soft}}
  - start-new: {services: {start: [app-web], on: new.web}}
  - proved: {http_check: {get: "http://freud:3000/", within: 60s, every: 100ms, steady: 300ms}}
""")


@dataclass(frozen=True)
class Journey:
    """Where a run goes when nobody kills anything: `answer` is given ahead to the question in its middle."""

    answer: str
    end: str


FORTH = Journey("go", "done")
BACK = Journey("back", "rolled_back")


class Target(NamedTuple):
    """An event to kill at. back: on the way back."""

    type: str
    step: str
    what: str
    back: bool = False

    @property
    def kind(self) -> str:
        return PLAN.step(self.step).kind.name

    @property
    def row(self) -> str:
        return f"{self.type}, going back" if self.back else self.type


def targets_of(events: Sequence[Event], *, after: int = 0) -> list[Target]:
    """Every decision about a step after event `after`, in order."""
    targets: dict[Target, None] = {}
    back = False
    for event in events:
        back = back or (event.type == "run.moved" and event.body["to"] == "going_back")
        if event.step and event.type not in TELEMETRY and event.seq > after:
            what = event.body.get("key") or event.body.get("to") or event.body.get("id") or ""
            targets[Target(event.type, event.step, what, back)] = None
    return list(targets)


@dataclass
class Run:
    """One run in a world of its own."""

    worlds: Worlds
    journey: Journey
    hits: list[Target] = field(default_factory=list)
    random_kills: int = 0

    def __post_init__(self) -> None:
        self.world = self.worlds.serve(PLAN)
        self.run: RunDirectory = wiring.create_run(PLAN, answers={"ready.ask": self.journey.answer},
                                                   world=self.world.socket)  # fmt: skip

    def events(self) -> list[Event]:
        with JournalReader(self.run.journal) as reader:
            return reader.events()

    def fleet(self) -> Fleet:
        return self.worlds.fleet(self.world)

    def kill_at(self, targets: Sequence[Target], delay: float = 0.0) -> Target | None:
        """Start an engine and kill it `delay` after its journal shows one of these; None when it ended before."""
        seen = self.events()[-1].seq
        with wiring.spawn_engine(self.run) as process:
            try:
                hit = self._wait_for(process, seen, targets)
                if hit:
                    time.sleep(delay)
                    if process.poll() is not None:
                        return None
                    self.hits.append(hit)
                return hit
            finally:
                process.kill()

    def kill_after(self, seconds: float) -> None:
        """Start an engine and kill it at that moment, whatever it does then."""
        argv = [sys.executable, "-m", "cutover", "engine", self.run.id]
        with self.run.log.open("ab") as log, subprocess.Popen(argv, stdout=log, stderr=log) as process:
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                self.random_kills += 1

    def finish(self) -> None:
        """Let an engine drive the run to its end."""
        with wiring.spawn_engine(self.run) as process:
            try:
                process.wait(ENGINE_LASTS)
            finally:
                process.kill()

    def _wait_for(self, process: "subprocess.Popen[bytes]", seen: int, targets: Sequence[Target]) -> Target | None:
        deadline = time.monotonic() + ENGINE_LASTS
        events: list[Event] = []
        with JournalReader(self.run.journal) as reader:
            while time.monotonic() < deadline:
                over = process.poll() is not None
                events += reader.events(after=events[-1].seq if events else 0)
                hit = next((new for new in targets_of(events, after=seen) if new in targets), None)
                if hit or over:
                    return None if over else hit
                time.sleep(0.002)
        raise AssertionError(f"the engine of {self.run.id} neither ended nor showed any of {targets}")
