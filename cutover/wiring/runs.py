"""Runs as the command line sees them: made, read, and given an engine in a process of its own."""

import asyncio
import getpass
import os
import platform
import random
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from cutover import __version__
from cutover.errors import CutoverError, EngineGone, ExitCode
from cutover.journal.directory import LAST, RunDirectory, list_runs, new_run_id, resolve_run, run_directory
from cutover.journal.lock import holder
from cutover.journal.reader import JournalReader
from cutover.journal.sqlite import SqliteJournal
from cutover.model.events import Draft, Event, Origin
from cutover.model.plan import Plan
from cutover.model.run_state import RunState, fold
from cutover.model.text import visible_line
from cutover.transports.clock import RealClock
from cutover.wiring.worlds import SSH

TOOL = f"cutover/{__version__}"
# An engine that has not opened its socket after this long, in seconds, is not coming.
ENGINE_START_TIMEOUT = 30.0


def operator() -> str:
    """Who acts: user@machine, for the journal."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def new_command_id() -> str:
    """An id under which a command acts once, however often it is given."""
    return f"{random.SystemRandom().getrandbits(64):016x}"


def create_run(plan: Plan, *, answers: Mapping[str, str] | None = None, world: str = SSH) -> RunDirectory:
    """Make a run of this plan: a directory with a journal that holds its source. Nothing is started yet.

    world: "ssh", or the path of a simulated world's socket.
    """
    run = run_directory(new_run_id(random.SystemRandom()))
    asyncio.run(_record_creation(run, plan, dict(answers or {}), world))
    return run


async def _record_creation(run: RunDirectory, plan: Plan, answers: dict[str, str], world: str) -> None:
    journal = SqliteJournal.open(run.journal, origin(run.id, plan), RealClock(), owner=operator())
    body = {
        "run": run.id,
        "plan": plan.hash,
        "title": plan.title,
        "operator": operator(),
        "steps": [step.name for step in plan.steps],
        "pinned": plan.pinned,
        "budget": plan.downtime.budget if plan.downtime else None,
        "announced": plan.downtime.announced if plan.downtime else None,
        "waived": plan.announcement.waived if plan.announcement else None,
        "points": {point: step.name for step in plan.steps for point in step.points},
        "answers": answers,
        "world": world,
        "source": asdict(plan.source),
        "cwd": str(Path.cwd()),
    }
    journal.record(Draft("run.created", None, body, operator()))
    await journal.commit()
    await journal.close()


def open_reader(run: RunDirectory) -> JournalReader:
    """The journal of a run, to read only."""
    return JournalReader(run.journal, RealClock())


def find_run(name: str) -> RunDirectory:
    """The run that a person means by an id, the beginning of one, or "last". Raises RunNotFound.

    "last" is the latest run that an engine drives now; when there is none, the latest that was not refused.
    """
    runs = list_runs() if name == LAST else []
    under_way = (run for run in runs if run.socket.exists() and engine_answers(run))
    return next(under_way, None) or next((run for run in runs if not _refused(run)), None) or resolve_run(name)


def _refused(run: RunDirectory) -> bool:
    try:
        return run_state(run).status == "refused"
    except CutoverError:
        return False  # whoever opens it will hear why it cannot be read


def run_state(run: RunDirectory) -> RunState:
    """The state of a run, as its journal says."""
    with open_reader(run) as reader:
        return fold(reader.events())


def last_seq(run: RunDirectory) -> int:
    """The number of the last event in a run's journal; 0 for none."""
    with open_reader(run) as reader:
        events: list[Event] = reader.events()
    return events[-1].seq if events else 0


def silent_engine(run: RunDirectory) -> str | None:
    """Why an engine that does not answer is not known to be dead: a process still holds the run. None otherwise."""
    pid = holder(run.lock)
    if pid is None:
        return None
    return (
        f"its engine (process {pid}) is there and does not answer: it is stopped or stuck, and may act again at any "
        f"moment. `kill -CONT {pid}` wakes it; `kill -9 {pid}` ends it, and then `cutover resume {run.id}` looks at "
        "what became of it"
    )


def engine_answers(run: RunDirectory) -> bool:
    """Whether a process listens at the run's socket now."""
    from cutover.client import Client

    async def ask() -> bool:
        try:
            client = await Client.connect(run.socket)
        except EngineGone:
            return False
        await client.close()
        return True

    return asyncio.run(ask())


def discard_run(run: RunDirectory) -> None:
    """Remove a run that no engine has driven in any real world."""
    shutil.rmtree(run.path)


def spawn_engine(run: RunDirectory, *, take_over: bool = False) -> "subprocess.Popen[bytes]":
    """Start the engine, and wait until it answers. Raises CutoverError when it does not."""
    seen = last_seq(run)
    process = start_engine(run, take_over=take_over)
    await_engine(run, process, seen)
    return process


def start_engine(run: RunDirectory, *, take_over: bool = False) -> "subprocess.Popen[bytes]":
    """Start the engine as a process of its own: from here on the run goes on, whoever waits for it.

    It is the leader of a session of its own, so that no terminal's hang-up reaches it; what it says goes to the run's
    engine.log.
    """
    argv = [sys.executable, "-m", "cutover", "engine", run.id]
    argv += ["--take-over"] if take_over else []
    with run.log.open("ab") as log:
        if log.tell() == 0:
            log.write(b"\n")  # takes a block of the disk: room for the last words when it is full
            log.flush()
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


def await_engine(run: RunDirectory, process: "subprocess.Popen[bytes]", seen: int) -> None:
    """Wait until the engine answers. Raises EngineGone when it does not; `seen`: the last event from before it."""
    deadline = time.monotonic() + ENGINE_START_TIMEOUT
    while time.monotonic() < deadline:
        if process.poll() is not None:
            if last_seq(run) > seen:  # it was there, and the run ended at once: its journal says how
                return
            raise EngineGone(_last_words(run))
        if run.socket.exists() and engine_answers(run):
            return
        time.sleep(0.02)
    raise EngineGone(
        f"the engine (pid {process.pid}) did not answer within {ENGINE_START_TIMEOUT:.0f} s; see {run.log}"
    )


def _last_words(run: RunDirectory) -> str:
    lines = run.log.read_text(errors="backslashreplace").strip().splitlines() if run.log.exists() else []
    return visible_line(lines[-1]) if lines else "the engine ended at once and said nothing"


def exit_code(state: RunState) -> ExitCode:
    """What a run's state says to a script; the table is in errors.py."""
    if state.status == "done":
        return ExitCode.OVER_BUDGET if state.budget_asked else ExitCode.OK
    if state.status == "rolled_back":
        return ExitCode.STUCK if state.outstanding else ExitCode.ROLLED_BACK
    if state.status == "refused":
        return ExitCode.FAILED
    if any(step.status in ("in_doubt", "undo_in_doubt") for step in state.steps.values()):
        return ExitCode.IN_DOUBT
    if state.questions or state.status in ("held", "back_held"):
        return ExitCode.WAITS
    return ExitCode.OK if state.engine_up else ExitCode.STUCK


def survives_logout() -> str | None:
    """None when the engine lives on after its operator logs out; else why it would not, and the way out."""
    if platform.system() != "Linux" or not Path("/run/systemd/system").is_dir():
        return None
    kills = subprocess.run(
        ["systemd-analyze", "cat-config", "systemd/logind.conf"], capture_output=True, text=True, check=False
    )
    settings = re.findall(r"^\s*KillUserProcesses\s*=\s*(\S+)", kills.stdout, re.MULTILINE)
    if not settings or settings[-1].lower() not in ("1", "yes", "true", "on"):
        return None
    if os.getuid() == 0 or Path(f"/var/lib/systemd/linger/{getpass.getuser()}").exists():
        return None
    return (
        "systemd ends this user's processes at logout (KillUserProcesses=yes): the run would stop in the middle. "
        "`loginctl enable-linger` lets it live on"
    )


def origin(run: str, plan: Plan) -> Origin:
    """What every event of an engine started now carries."""
    return Origin(run=run, boot_id=_boot_id(), plan=plan.hash, tool=TOOL)


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return platform.node() or "unknown"
