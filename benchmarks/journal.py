"""What the journal costs: `python -m benchmarks.journal [DIRECTORY]`. Prints `name value unit goal`, a line each.

DIRECTORY is on the disk to be measured (default: the current one); nothing stays in it. The append and the bare
fdatasync beside it take turns, so that both meet the same disk; medians are compared.
"""

import asyncio
import os
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from cutover.journal.chain import Row, verify
from cutover.journal.reader import JournalReader
from cutover.journal.sqlite import SqliteJournal
from cutover.model.events import Draft, Origin

ORIGIN = Origin("7f3a9c", "6f1d9a3e-0c55-4f0e-9a4e-1f2b8f6f2c11", "sha256:" + "5" * 64, "cutover/0.1.0")
BODY = {"effect": 41, "argv": ["systemctl", "stop", "mastodon-web.service"], "exit": 0, "stdout": "x" * 160}
APPENDS = 1000
EVENTS = 10_000


class WallClock:
    """The machine's own clocks."""

    def utc(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def line(name: str, value: float, unit: str, goal: str = "-") -> None:
    print(f"{name:<42} {value:>12.3f} {unit:<9} {goal}", flush=True)


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def opened(path: Path, *, threaded: bool = True) -> SqliteJournal:
    return SqliteJournal.open(path, ORIGIN, WallClock(), threaded=threaded, reserve=False)


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
        line("fdatasync_into_allocated_blocks", allocated_sync(directory / "allocated", size) * 1e3, "ms")
    append, sync = statistics.median(ours), statistics.median(theirs)
    line(f"append_{name}", append * 1e3, "ms")
    line(f"append_{name}_p99", statistics.quantiles(ours, n=100)[98] * 1e3, "ms")
    line(f"fdatasync_of_{size}_bytes_beside_{name}", sync * 1e3, "ms")
    line(f"append_{name}_over_fdatasync", append / sync, "times", "<=2")


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
    line("decisions_of_50_branches", 1000 / taken, "event/s")
    line("commits_for_1000_decisions_of_50_branches", journal.commits, "commits", "<=21")
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
    line("verify_chain_in_memory", len(rows) / taken, "event/s", ">=50000")

    def verify_file() -> None:
        with JournalReader(path) as reader:
            assert reader.verify().ok

    line("verify_file", EVENTS / min(timed(verify_file) for _ in range(3)), "event/s", ">=50000")
    with JournalReader(path) as reader:
        line("read_and_decode_10000_events", min(timed(reader.events) for _ in range(3)) * 1e3, "ms")

    def open_and_close() -> None:
        asyncio.run(opened(path).close())

    line("open_verify_close_of_10000_events", min(timed(open_and_close) for _ in range(3)) * 1e3, "ms", "<=500")
    line("journal_of_10000_events", path.stat().st_size / 2**20, "MiB")


def memory(path: Path) -> None:
    """The peak of Python's memory while a file is verified, and while ten times as many rows are."""
    line("memory_verify_10000_events", peak(lambda: JournalReader(path).verify()), "MiB", "<=2")

    with JournalReader(path) as reader:
        rows: list[Row] = list(reader._rows(0))

    def repeated() -> Iterator[Row]:
        for _ in range(10):
            for seq, data in rows:
                yield seq, bytes(memoryview(data))  # a new object each, as from a file

    line("memory_verify_streaming_rows", peak(lambda: verify(repeated())), "MiB", "<=2")


def peak(work: Callable[[], object]) -> float:
    tracemalloc.start()
    work()
    _, found = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return found / 2**20


def main() -> None:
    base = Path(sys.argv[1]) if len(sys.argv) > 1 else Path.cwd()
    with tempfile.TemporaryDirectory(prefix="journal-", dir=base) as made:
        directory = Path(made)
        for name in ("thread", "inline", "groups", "filled"):
            (directory / name).mkdir()
        asyncio.run(appends(directory, threaded=True))
        asyncio.run(appends(directory, threaded=False))
        asyncio.run(groups(directory))
        path = directory / "filled" / "journal.db"
        asyncio.run(fill(path))
        verification(path)
        memory(path)


if __name__ == "__main__":
    main()
