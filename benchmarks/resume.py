"""How soon a run of which 1,000 steps are done is back at work after a crash, beside DBOS with its SQLite database.

Both are killed in the body of step 1,001 (`os._exit`). Then a new process brings each back, from its own copy of what
the dead one left, until step 1,001 acts again. Importing is not counted. For cutover that is: planning again (DBOS has
no plan: told apart), opening and verifying the journal, folding it, taking the claim anew and looking for the receipt.
For DBOS: `DBOS(...)` and `launch()`, which puts the workflow into a queue, and the replay, which is also told apart.

`python -m benchmarks.resume TOOL begin|resume DIRECTORY` is one such process.
"""

import asyncio
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.figures import figure, ratio, remark

STEPS = 1000
ROUNDS = 7

Die = Callable[..., None]


def run() -> None:
    """Measure in turns."""
    tools = [tool for tool in ("cutover", "dbos") if tool == "cutover" or importlib.util.find_spec(tool)]
    took: dict[str, dict[str, list[float]]] = {tool: {} for tool in tools}
    with TemporaryDirectory(prefix="resume-", dir=Path.cwd()) as directory:
        for tool in tools:
            (Path(directory) / tool).mkdir()
            _process(tool, "begin", Path(directory) / tool)
        for _ in range(ROUNDS):
            for tool in tools:
                left = Path(directory) / f"{tool}-left"
                shutil.copytree(Path(directory) / tool, left)
                for what, seconds in json.loads(_process(tool, "resume", left)).items():
                    took[tool].setdefault(what, []).append(seconds)
                shutil.rmtree(left)
    for tool, parts in took.items():
        for what, seconds in parts.items():
            figure(f"resume: {tool}, {what}", statistics.median(seconds) * 1000, "ms")
    if "dbos" not in took:
        remark("DBOS is not installed: the goal is open")
        return
    ours, theirs = took["cutover"], took["dbos"]
    figure("resume: DBOS / cutover", ratio(theirs["resume"], ours["resume"]), "times", ">=10")
    processor = ratio(theirs["resume, processor"], ours["resume, processor"])
    figure("resume: DBOS / cutover, processor", processor, "times")
    both = [sum(pair) for pair in zip(ours["planning"], ours["resume"], strict=True)]
    figure("resume: DBOS / cutover with planning", ratio(theirs["resume"], both), "times")
    figure("resume: DBOS's replay alone / cutover", ratio(theirs["replay alone"], ours["resume"]), "times")


def _process(tool: str, what: str, directory: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.resume", tool, what, str(directory)],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    return done.stdout.splitlines()[-1] if done.stdout else ""


def cutover(directory: Path, die: Die) -> None:
    """The engine over a world that answers at once, with its journal in the directory."""
    from benchmarks import rehearsal
    from cutover.engine.engine import Engine
    from cutover.journal.reader import JournalReader
    from cutover.journal.sqlite import SqliteJournal
    from cutover.model.events import Origin
    from cutover.model.run_state import fold
    from cutover.transports.clock import RealClock

    async def drive() -> None:
        clock = RealClock()
        journal = SqliteJournal.open(path, Origin(rehearsal.RUN, "boot", plan.hash, "benchmarks"), clock)
        journal.record(*([] if resumed else [rehearsal.created(plan)]))
        await journal.commit()
        with JournalReader(path) as reader:
            reader.first()  # as the engine's process does, which learns first what it was made for
            state = fold(reader.each())
        world = rehearsal.PromptWorld(on_act, claimed=resumed)
        await Engine(plan, world, journal, clock, state, rehearsal.start(2 if resumed else 1)).run()

    def on_act(effect: object) -> None:
        acts.append(effect)
        if len(acts) == (1 if resumed else STEPS + 1):
            now, processor = time.perf_counter(), time.process_time() - planned_processor
            die(**{"planning": planned - started, "resume": now - planned, "resume, processor": processor})

    path = directory / "journal.db"
    resumed, acts = path.exists(), list[object]()
    started = time.perf_counter()
    plan = rehearsal.chain(STEPS + 1)
    planned, planned_processor = time.perf_counter(), time.process_time()
    asyncio.run(drive())


def dbos(directory: Path, die: Die) -> None:
    """A workflow of so many steps that do nothing."""
    from dbos import DBOS, SetWorkflowID

    began: list[float] = []

    @DBOS.step()
    def act(number: int) -> int:
        if number == STEPS + 1:
            now, processor = time.perf_counter(), time.process_time() - started_processor
            die(**{"resume": now - started, "resume, processor": processor, "replay alone": now - began[-1]})
        return number

    @DBOS.workflow()
    def chain() -> None:
        began.append(time.perf_counter())
        for number in range(1, STEPS + 2):
            act(number)

    database = directory / "dbos.sqlite"
    resumed = database.exists()
    started, started_processor = time.perf_counter(), time.process_time()
    DBOS(
        config={
            "name": "chain",
            "system_database_url": f"sqlite:///{database}",
            "application_version": "1",
            "log_level": "ERROR",
        }
    )
    DBOS.launch()
    if not resumed:
        with SetWorkflowID("chain"):
            DBOS.start_workflow(chain)
    threading.Event().wait(60)


def _die(**seconds: float) -> None:
    """The process ends here, in the middle of an act; what it measured is all that is left of it."""
    print(json.dumps(seconds), flush=True)
    os._exit(0)


def main(tool: str, _what: str, directory: str) -> None:
    """Be one process: begin where the directory is empty, else resume."""
    importlib.import_module(tool if tool == "dbos" else "cutover.wiring")
    {"cutover": cutover, "dbos": dbos}[tool](Path(directory), _die)


if __name__ == "__main__":
    main(*sys.argv[1:])
