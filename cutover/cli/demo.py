"""`cutover demo`: a small move in the simulated world, with its engine killed on the way. No server, no network."""

import os
import signal
import threading
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cutover import wiring
from cutover.cli.attach import follow
from cutover.cli.output import Output
from cutover.cli.runs import announcement
from cutover.errors import CutoverError, ExitCode
from cutover.journal.directory import RunDirectory

# The step in whose middle the engine is killed, and the pause between two looks for it, in seconds.
KILLED_AT = "mark"
_LOOK = 0.005


def demo(args: Namespace) -> ExitCode:  # noqa: ARG001 - every verb takes its arguments
    """`cutover demo`."""
    output = Output()
    file = wiring.shipped("first-move.yaml")
    plan = wiring.load_plan(file)
    output.talk("A small move in a simulated world: nothing here touches a real host.\n")
    for line in announcement(plan):
        output.talk(line)
    with wiring.simulated_world(plan, round_trip=0.09) as world:
        run = wiring.create_run(plan, answers={"ready": "go"}, world=str(world))
        with _killed_in_the_middle(run):
            output.talk(f"\n--- the engine starts; in the middle of '{KILLED_AT}' it will be killed (kill -9)\n")
            wiring.spawn_engine(run)
            follow(run, fresh=True)
        if wiring.run_state(run).status == "done":
            raise CutoverError("the engine was not killed in time: this machine is too fast or too busy; try again")
        output.talk("\n--- the world went on without it; a new engine looks before it acts (cutover resume)\n")
        seen = wiring.last_seq(run)
        wiring.spawn_engine(run)
        code = follow(run, after=seen)
    output.talk(f"\nWhat happened, step by step: cutover audit show {run.id}")
    output.talk(f"Your own runbook: cutover init my-move.yaml; this one is {_shown(file)}")
    return code


@contextmanager
def _killed_in_the_middle(run: RunDirectory) -> Iterator[None]:
    """Kill the run's engine once it has begun to act in KILLED_AT."""
    stop = threading.Event()
    watcher = threading.Thread(target=_kill_when_acting, args=(run, stop))
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()


def _kill_when_acting(run: RunDirectory, stop: threading.Event) -> None:
    with wiring.open_reader(run) as reader:
        seen = pid = 0
        while not stop.wait(_LOOK):
            for event in reader.events(after=seen):
                seen = event.seq
                if event.type == "engine.started":
                    pid = int(event.body["pid"])
                if event.type == "act.intent" and event.step == KILLED_AT and pid:
                    os.kill(pid, signal.SIGKILL)
                    return


def _shown(file: Path) -> str:
    return os.path.relpath(file) if file.is_relative_to(Path.cwd()) else str(file)
