"""`cutover demo`: a small move in the simulated world, with its engine killed on the way. No server, no network."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cutover import wiring
from cutover.cli import interrupts
from cutover.cli.attach import follow
from cutover.cli.output import Output
from cutover.cli.runs import announcement
from cutover.errors import CutoverError, ExitCode
from cutover.journal.directory import RunDirectory
from cutover.model.plan import Plan

# The step in whose middle the engine is killed, and the pause between two looks for it, in seconds.
KILLED_AT = "mark"
_LOOK = 0.005
# How long an engine has, in seconds, to go once its run has ended.
_LAST_WORDS = 10.0
_FAREWELL = "The demo ends here, and its engine with it; nothing of it is kept."


def demo(args: Namespace) -> ExitCode:  # noqa: ARG001 - every verb takes its arguments
    """`cutover demo`."""
    output = Output()
    file = wiring.shipped("first-move.yaml")
    plan = wiring.load_plan(file)
    output.talk("A small move in a simulated world: nothing here touches a real host.\n")
    for line in announcement(plan):
        output.talk(line)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # whatever ends the demo ends its engine and its world
    with wiring.simulated_world(plan, round_trip=0.09) as world, _whole_run(plan, str(world)) as run:
        output.talk(f"\n--- the engine starts; in the middle of '{KILLED_AT}' it will be killed (kill -9)\n")
        with _killed_in_the_middle(run), _engine(run):
            code = follow(run, fresh=True, farewell=_FAREWELL)
        if code == ExitCode.INTERRUPTED:
            return code
        if wiring.run_state(run).status == "done":
            raise CutoverError("the engine was not killed in time: this machine is too fast or too busy; try again")
        output.talk("\n--- the world went on without it; a new engine looks before it acts (cutover resume)\n")
        seen = wiring.last_seq(run)
        with _engine(run):
            code = follow(run, after=seen, farewell=_FAREWELL)
        if code == ExitCode.INTERRUPTED:
            return code
    output.talk(f"\nWhat happened, step by step: {_command()} audit show {run.id}")
    output.talk(f"Your own runbook: {_command()} init my-move.yaml; this one is {_shown(file)}")
    return code


@contextmanager
def _whole_run(plan: Plan, world: str) -> Iterator[RunDirectory]:
    """A run of this plan in this world. One that the demo did not bring to its end is not kept: its world is gone."""
    run = wiring.create_run(plan, answers={"ready": "go"}, world=world)
    try:
        yield run
    finally:
        if not wiring.run_state(run).ended:
            wiring.discard_run(run)


@contextmanager
def _engine(run: RunDirectory) -> Iterator[None]:
    """An engine that does not outlive this context: nothing of what it acts upon is real."""
    process = None
    try:
        seen = wiring.last_seq(run)
        with interrupts.kept():
            process = wiring.start_engine(run)
        wiring.await_engine(run, process, seen)
        yield
        if wiring.run_state(run).ended:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_LAST_WORDS)
    finally:
        if process:
            process.kill()
            process.wait()


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


def _command() -> str:
    """How this user can call cutover again."""
    if shutil.which("cutover"):
        return "cutover"
    called = Path(sys.argv[0])
    return _shown(called.absolute()) if called.suffix != ".py" else f"{sys.executable} -m cutover"


def _shown(file: Path) -> str:
    return os.path.relpath(file) if file.is_relative_to(Path.cwd()) else str(file)
