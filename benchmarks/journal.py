"""What the journal costs, on the disk of the current directory (or of `python -m benchmarks.journal DIRECTORY`).

Nothing stays there. The append and the bare fdatasync beside it take turns, so that both meet the same disk; medians
are compared.
"""

import asyncio
import os
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks import rehearsal
from benchmarks.figures import figure
from cutover.engine.engine import Engine
from cutover.journal.chain import Row, verify
from cutover.journal.reader import JournalReader
from cutover.journal.sqlite import SqliteJournal
from cutover.model.events import Draft, Event, Origin
from cutover.model.run_state import fold
from cutover.transports.clock import RealClock

ORIGIN = Origin("7f3a9c", "6f1d9a3e-0c55-4f0e-9a4e-1f2b8f6f2c11", "sha256:" + "5" * 64, "cutover/0.1.0")
BODY = {"effect": 41, "argv": ["systemctl", "stop", "mastodon-web.service"], "exit": 0, "stdout": "x" * 160}
APPENDS = 1000
ACTS = 50
EVENTS = 10_000


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def opened(path: Path, *, threaded: bool = True) -> SqliteJournal:
    return SqliteJournal.open(path, ORIGIN, RealClock(), threaded=threaded, reserve=False)


async def appends(directory: Path, *, threaded: bool) -> None:
    """One decision, one commit, from `record` to the caller's next line; beside it one write and fdatasync."""
    name = "thread" if threaded else "inline"
    journal = opened(directory / name / "journal.db", threaded=threaded)
    bare = os.open(directory / "bare", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    ours, theirs = [], []
    size = 0
    for number in range(APPENDS + 20):
        start = time.perf_counter()
        journal.record(Draft("act.outcome", "stop-web", {**BODY, "number": number}, host="basement.db"))
        (event,) = await journal.commit()
        middle = time.perf_counter()
        size = size or len(journal_bytes(event.seq, directory / name / "journal.db"))
        before = time.perf_counter()
        os.write(bare, b"x" * size)
        os.fdatasync(bare)
        after = time.perf_counter()
        if number >= 20:
            ours.append(middle - start)
            theirs.append(after - before)
    os.close(bare)
    await journal.close()
    if threaded:
        figure("journal: fdatasync into allocated blocks", allocated_sync(directory / "allocated", size) * 1e3, "ms")
    append, sync = statistics.median(ours), statistics.median(theirs)
    figure(f"journal: append, {name}", append * 1e3, "ms")
    figure(f"journal: append, {name} p99", statistics.quantiles(ours, n=100)[98] * 1e3, "ms")
    figure(f"journal: fdatasync of {size} bytes beside {name}", sync * 1e3, "ms")
    figure(f"journal: append, {name} / fdatasync", append / sync, "times", "<=2")


def allocated_sync(path: Path, size: int) -> float:
    """The median of the cheapest sync there is: into blocks that the file has already, as the journal's are."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT)
    os.pwrite(file, bytes(size * APPENDS), 0)
    os.fsync(file)
    taken = [timed(lambda at=at: (os.pwrite(file, b"x" * size, at), os.fdatasync(file))) for at in offsets(size)]
    os.close(file)
    return statistics.median(taken)


def offsets(size: int) -> range:
    return range(0, size * APPENDS, size)


def journal_bytes(seq: int, path: Path) -> bytes:
    with JournalReader(path) as reader:
        return next(data for found, data in reader._rows(seq) if found == seq)


async def groups(directory: Path) -> None:
    """Fifty branches that decide at once."""
    journal = opened(directory / "groups" / "journal.db")

    async def branch() -> None:
        for _ in range(20):
            journal.record(Draft("act.outcome", "stop-web", BODY))
            await journal.commit()

    start = time.perf_counter()
    await asyncio.gather(*(branch() for _ in range(50)))
    taken = time.perf_counter() - start
    figure("journal: decisions of 50 branches", 1000 / taken, "event/s")
    figure("journal: commits for 1000 decisions of 50 branches", journal.commits, "commits", "<=21")
    await journal.close()


async def fill(path: Path) -> None:
    journal = opened(path)
    for number in range(EVENTS):
        journal.record(Draft("act.outcome", "stop-web", {**BODY, "number": number}, host="basement.db"))
        if number % 100 == 99:
            await journal.commit()
    await journal.close()


def verification(path: Path) -> None:
    """The chain by itself, over rows in memory; then all that opening does with a file."""
    with JournalReader(path) as reader:
        rows: list[Row] = list(reader._rows(0))
    taken = min(timed(lambda: verify(rows)) for _ in range(5))
    figure("journal: verify chain in memory", len(rows) / taken, "event/s", ">=50000")

    def verify_file() -> None:
        with JournalReader(path) as reader:
            assert reader.verify().ok

    figure("journal: verify file", EVENTS / min(timed(verify_file) for _ in range(3)), "event/s", ">=50000")
    with JournalReader(path) as reader:
        figure("journal: read and decode 10000 events", min(timed(reader.events) for _ in range(3)) * 1e3, "ms")

    def open_and_close() -> None:
        asyncio.run(opened(path).close())

    figure(
        "journal: open verify close of 10000 events", min(timed(open_and_close) for _ in range(3)) * 1e3, "ms", "<=500"
    )
    figure("journal: journal of 10000 events", path.stat().st_size / 2**20, "MiB")


def memory(path: Path) -> None:
    """The peak of Python's memory while a file is verified, and while ten times as many rows are."""
    figure("journal: memory verify 10000 events", peak(lambda: JournalReader(path).verify()), "MiB", "<=2")

    with JournalReader(path) as reader:
        rows: list[Row] = list(reader._rows(0))

    def repeated() -> Iterator[Row]:
        for _ in range(10):
            for seq, data in rows:
                yield seq, bytes(memoryview(data))  # a new object each, as from a file

    figure("journal: memory verify streaming rows", peak(lambda: verify(repeated())), "MiB", "<=2")


def peak(work: Callable[[], object]) -> float:
    tracemalloc.start()
    work()
    _, found = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return found / 2**20


async def chain(directory: Path) -> None:
    """The engine over a world that answers at once: commits from the first act's intent to the last act's outcome."""
    plan = rehearsal.chain(ACTS)
    origin = Origin(rehearsal.RUN, ORIGIN.boot_id, plan.hash, ORIGIN.tool)
    journal = SqliteJournal.open(directory / "journal.db", origin, RealClock(), reserve=False)
    counted: list[int] = []

    def saw(events: Sequence[Event]) -> None:
        if any(event.type in ("act.intent", "act.outcome") for event in events):
            counted.append(journal.commits)

    journal.record(rehearsal.created(plan))
    created = fold(await journal.commit())
    journal.on_commit(saw)
    engine = Engine(plan, rehearsal.PromptWorld(), journal, RealClock(), created, rehearsal.start())
    await engine.run()
    await journal.close()
    figure(f"journal: commits for a chain of {ACTS} acts", counted[-1] - counted[0] + 1, "commits", f"<={ACTS + 1}")


def run(base: Path | None = None) -> None:
    """Measure it all."""
    with tempfile.TemporaryDirectory(prefix="journal-", dir=base or Path.cwd()) as made:
        directory = Path(made)
        for name in ("thread", "inline", "groups", "filled", "chain"):
            (directory / name).mkdir()
        asyncio.run(appends(directory, threaded=True))
        asyncio.run(appends(directory, threaded=False))
        asyncio.run(chain(directory / "chain"))
        asyncio.run(groups(directory))
        path = directory / "filled" / "journal.db"
        asyncio.run(fill(path))
        verification(path)
        memory(path)


if __name__ == "__main__":
    run(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
