"""The composition root: the only file that chooses a world, a journal and observers, and starts processes."""

import asyncio
import getpass
import json
import logging
import os
import platform
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cutover import __version__
from cutover.engine.engine import Engine, Start
from cutover.engine.server import Server
from cutover.errors import (
    CutoverError,
    EngineGone,
    ExitCode,
    JournalError,
    PlanChanged,
    SecretUnavailable,
    UsageError,
)
from cutover.journal.directory import RunDirectory, new_run_id, run_directory
from cutover.journal.reader import JournalReader
from cutover.journal.sqlite import SqliteJournal
from cutover.model.events import Draft, Event, Origin
from cutover.model.plan import Plan, PlannedHost, Source
from cutover.model.run_state import RunState, fold
from cutover.model.text import visible_line
from cutover.planning import planner
from cutover.planning.inventory import text_of
from cutover.ports import Clock, World
from cutover.steps import KINDS
from cutover.transports.clock import RealClock

TOOL = f"cutover/{__version__}"
SSH = "ssh"
# An engine that has not opened its socket after this long, in seconds, is not coming.
ENGINE_START_TIMEOUT = 30.0

_ENVIRONMENT = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}")


def read_source(file: Path, *, inventory: Path | None = None, overrides: Sequence[str] = ()) -> Source:
    """Everything that a plan of this runbook is made from. Raises UsageError for a file that cannot be read."""
    text = _read(file)
    pins = file.with_suffix(".pins")
    inventory_text = text_of(inventory) if inventory else None
    named = sorted(set(_ENVIRONMENT.findall(text + (inventory_text or ""))))
    return Source(
        file=str(file),
        runbook=text,
        pins=_read(pins) if pins.exists() else None,
        inventory=inventory_text,
        inventory_file=str(inventory) if inventory else None,
        vars=tuple(_override(word) for word in overrides),
        environment=tuple((name, os.environ[name]) for name in named if name in os.environ),
    )


def load_plan(file: Path, *, inventory: Path | None = None, overrides: Sequence[str] = ()) -> Plan:
    """Load and plan a runbook. Raises RunbookInvalid with every problem at once."""
    return planner.plan(read_source(file, inventory=inventory, overrides=overrides), KINDS)


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
    journal = SqliteJournal.open(run.journal, _origin(run.id, plan), RealClock(), owner=operator())
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


def run_state(run: RunDirectory) -> RunState:
    """The state of a run, as its journal says."""
    with open_reader(run) as reader:
        return fold(reader.events())


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


def spawn_engine(run: RunDirectory, *, take_over: bool = False) -> "subprocess.Popen[bytes]":
    """Start the engine as a process of its own, and wait until it answers. Raises CutoverError when it does not.

    It is the leader of a session of its own, so that no terminal's hang-up reaches it; what it says goes to the run's
    engine.log.
    """
    argv = [sys.executable, "-m", "cutover", "engine", run.id]
    argv += ["--take-over"] if take_over else []
    seen = last_seq(run)
    with run.log.open("ab") as log:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + ENGINE_START_TIMEOUT
    while time.monotonic() < deadline:
        if process.poll() is not None:
            if last_seq(run) > seen:  # it was there, and the run ended at once: its journal says how
                return process
            raise EngineGone(_last_words(run))
        if run.socket.exists() and engine_answers(run):
            return process
        time.sleep(0.02)
    raise EngineGone(
        f"the engine (pid {process.pid}) did not answer within {ENGINE_START_TIMEOUT:.0f} s; see {run.log}"
    )


def run_engine(run: RunDirectory, *, take_over: bool = False) -> ExitCode:
    """Be the engine of a run until the run has ended. This is the body of the process that `spawn_engine` starts."""
    created = _creation(run)
    plan = planner.plan(_source(created["source"]), KINDS)
    if plan.hash != created["plan"]:
        raise PlanChanged(
            f"this version of cutover ({__version__}) plans the run's own runbook differently (plan {plan.short_hash}, "
            f"the run has {created['plan'][:6]}); resume it with the version that started it"
        )
    with asyncio.Runner() as runner:
        return runner.run(_run_engine(run, plan, created, take_over))


async def _run_engine(run: RunDirectory, plan: Plan, created: dict[str, Any], take_over: bool) -> ExitCode:
    clock = RealClock()
    journal = SqliteJournal.open(run.journal, _origin(run.id, plan), clock, owner=f"{operator()}, pid {os.getpid()}")
    reader = open_reader(run)
    world = await open_world(plan, created["world"], clock)
    try:
        state = fold(reader.events())
        engine = Engine(plan, world, journal, clock, state, _start(run, created, state, take_over))
        journal.on_low_space = engine.low_space
        if journal.low_space:
            engine.low_space()
        server = Server(run.socket, {"run": run.id, "plan": plan.hash, "seq": state.seq}, reader, engine.commands.take)
        journal.on_commit(server.saw)
        await server.open()
        try:
            final = await _drive(engine)
        finally:
            await server.close()
        return exit_code(final)
    finally:
        await world.close()
        reader.close()
        await _close(journal)


async def _drive(engine: Engine) -> RunState:
    """Run it; a request to end (SIGTERM, Ctrl-C) holds the run instead: ending would only leave it in the middle."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, lambda: None)
    hold = {"id": new_command_id(), "verb": "hold", "args": {"reason": "the engine was asked to end (SIGTERM)"}}
    loop.add_signal_handler(
        signal.SIGTERM, lambda: asyncio.ensure_future(engine.commands.take({**hold, "actor": "system"}))
    )
    return await engine.run()


async def _close(journal: SqliteJournal) -> None:
    try:
        await journal.close()
    except JournalError as problem:
        logging.getLogger(__name__).error("%s", problem)


async def open_world(plan: Plan, where: str, clock: Clock) -> World:
    """The world that the run was made for: hosts over SSH, or a simulated one served at a socket."""
    if where != SSH:
        from cutover.simulator.remote import RemoteWorld

        return RemoteWorld(Path(where), clock)
    from cutover.transports.secrets import Secrets
    from cutover.transports.ssh import Target
    from cutover.transports.world import RealWorld

    secrets = Secrets(plan.secrets)
    problems = await secrets.load()  # known from the first reply on, so that none of them is ever recorded
    if problems:
        raise SecretUnavailable("; ".join(problems.values()))
    targets = {
        host.name: Target(host.name, _destination(host), host.host_keys, host.machine_id)
        for host in plan.hosts.values()
    }
    return RealWorld(targets, secrets, clock)


def _destination(host: PlannedHost) -> str:
    """`[user@]name[:port]`; user and port only where an inventory gives them."""
    user = f"{host.user}@" if host.user else ""
    return f"{user}{host.destination}" + (f":{host.port}" if host.port else "")


def shipped(name: str) -> Path:
    """A runbook that comes with cutover: inside the installed package, or in the checkout."""
    package = Path(__file__).parent
    inside = package / "runbooks" / name
    return inside if inside.exists() else package.parent / "runbooks" / name


@contextmanager
def simulated_world(plan: Plan, *, round_trip: float = 0.02) -> Iterator[Path]:
    """The plan's healthy world, in a process of its own that lives as long as this context: yields its socket.

    round_trip: seconds to each host and back.
    """
    with tempfile.TemporaryDirectory(prefix="cutover-world-") as folder:
        source, address = Path(folder, "source.json"), Path(folder, "world.sock")
        source.write_text(json.dumps(asdict(plan.source)))
        argv = [sys.executable, "-m", "cutover.simulator.server", "--socket", str(address), "--source", str(source)]
        argv += ["--round-trip", str(round_trip)]
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            if process.stdout.readline() != b"ready\n":
                raise CutoverError("the simulated world did not start")
            yield address
        finally:
            process.stdin.close()  # it ends when nobody holds its stdin any more
            process.wait(timeout=10)
            process.stdout.close()


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


def _start(run: RunDirectory, created: dict[str, Any], state: RunState, take_over: bool) -> Start:
    number = state.starts + 1
    owner = re.sub(r"[^A-Za-z0-9_@-]", "-", operator())
    return Start(
        run=run.id,
        owner=f"{owner}.{run.id}.{number}",
        number=number,
        resumed=state.starts > 0,
        take_over=take_over,
        hold=_edited(created) if state.starts else None,
        answers=tuple(sorted(created["answers"].items())),
        details=(("pid", str(os.getpid())), ("tool", TOOL), ("machine", socket.gethostname())),
    )


def _edited(created: dict[str, Any]) -> str | None:
    """A sentence when the runbook's files are not the ones that the run was planned from."""
    source = _source(created["source"])
    file = Path(created["cwd"], source.file)
    goes_on = f"the run goes on with plan {created['plan'][:6]}, as it was started: release it, or abort"
    if not file.exists():
        return None
    try:
        inventory = Path(created["cwd"], source.inventory_file) if source.inventory_file else None
        now = read_source(file, inventory=inventory)
    except CutoverError as problem:
        return f"{problem}; {goes_on}"
    names = (("runbook", source.file), ("pins", "its pins"), ("inventory", "its inventory"))
    edited = [shown for name, shown in names if getattr(now, name) != getattr(source, name)]
    return f"{visible_line(' and '.join(edited))} changed since the run was started; {goes_on}" if edited else None


def _creation(run: RunDirectory) -> dict[str, Any]:
    with open_reader(run) as reader:
        for event in reader.events():
            if event.type == "run.created":
                return event.body
            break
    raise JournalError(f"the journal of run {run.id} does not begin with the run's creation")


def _source(data: dict[str, Any]) -> Source:
    pairs = {name: tuple((str(a), str(b)) for a, b in data[name]) for name in ("vars", "environment")}
    return Source(**{**data, **pairs})


def _origin(run: str, plan: Plan) -> Origin:
    return Origin(run=run, boot_id=_boot_id(), plan=plan.hash, tool=TOOL)


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return platform.node() or "unknown"


def last_seq(run: RunDirectory) -> int:
    """The number of the last event in a run's journal; 0 for none."""
    with open_reader(run) as reader:
        events: list[Event] = reader.events()
    return events[-1].seq if events else 0


def _last_words(run: RunDirectory) -> str:
    lines = run.log.read_text(errors="backslashreplace").strip().splitlines() if run.log.exists() else []
    return visible_line(lines[-1]) if lines else "the engine ended at once and said nothing"


def _read(file: Path) -> str:
    try:
        return file.read_bytes().decode()
    except UnicodeDecodeError as problem:
        raise UsageError(f"{visible_line(str(file))} is not UTF-8 text: byte {problem.start}") from None
    except OSError as problem:
        raise UsageError(f"{visible_line(str(file))} cannot be read: {problem.strerror}") from None


def _override(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals:
        raise UsageError(f"--var takes NAME=VALUE, not {visible_line(word)!r}")
    return name, value
