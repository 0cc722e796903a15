"""The composition root: the only package that chooses a world, a journal and observers, and starts processes."""

from cutover.wiring.plans import load_plan, read_source, shipped
from cutover.wiring.process import run_engine
from cutover.wiring.runs import (
    await_engine,
    create_run,
    discard_run,
    engine_answers,
    exit_code,
    find_run,
    last_seq,
    new_command_id,
    open_reader,
    operator,
    run_state,
    silent_engine,
    spawn_engine,
    start_engine,
    survives_logout,
)
from cutover.wiring.worlds import SSH, open_world, simulated_world

__all__ = [
    "SSH",
    "await_engine",
    "create_run",
    "discard_run",
    "engine_answers",
    "exit_code",
    "find_run",
    "last_seq",
    "load_plan",
    "new_command_id",
    "open_reader",
    "open_world",
    "operator",
    "read_source",
    "run_engine",
    "run_state",
    "shipped",
    "silent_engine",
    "simulated_world",
    "spawn_engine",
    "start_engine",
    "survives_logout",
]
