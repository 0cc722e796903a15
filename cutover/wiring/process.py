"""The engine's process: the journal, the world, the engine and its socket, put together for one run."""

import asyncio
import logging
import os
import re
import signal
import socket
from pathlib import Path
from typing import Any

from cutover import __version__
from cutover.engine.engine import Engine, Start
from cutover.engine.server import Server
from cutover.errors import CutoverError, ExitCode, JournalError, PlanChanged
from cutover.journal.directory import RunDirectory
from cutover.journal.sqlite import SqliteJournal
from cutover.model.plan import Plan, Source
from cutover.model.run_state import RunState, fold
from cutover.model.text import visible_line
from cutover.planning import planner
from cutover.steps import KINDS
from cutover.transports.clock import RealClock
from cutover.wiring.plans import read_source
from cutover.wiring.runs import TOOL, exit_code, new_command_id, open_reader, operator, origin
from cutover.wiring.worlds import open_world


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
    journal = SqliteJournal.open(run.journal, origin(run.id, plan), clock, owner=f"{operator()}, pid {os.getpid()}")
    reader = open_reader(run)
    world = await open_world(plan, created["world"], clock)
    try:
        state = fold(reader.each())
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
        event = reader.first()
    if event is not None and event.type == "run.created":
        return event.body
    raise JournalError(f"the journal of run {run.id} does not begin with the run's creation")


def _source(data: dict[str, Any]) -> Source:
    pairs = {name: tuple((str(a), str(b)) for a, b in data[name]) for name in ("vars", "environment")}
    return Source(**{**data, **pairs})
