"""A disk without room: a real one where that can be had, else a limit on the size of files."""

import errno
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cutover.errors import JournalError, JournalFull
from cutover.journal.reader import JournalReader
from cutover.journal.reserve import Reserve
from cutover.journal.sqlite import SqliteJournal
from tests.journal.helpers import ORIGIN, TickingClock, decision, numbers, opened, telemetry

pytestmark = pytest.mark.anyio
MEBIBYTE = 2**20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB."""
    mount = tmp_path / "disk"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24m,mode=700", "tmpfs", str(mount)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs root, to mount a small file system")
    yield mount
    subprocess.run(["umount", "--lazy", str(mount)], check=True)


def fill(disk: Path) -> Path:
    """Take every byte that is left."""
    ballast = disk / "ballast"
    with ballast.open("ab", buffering=0) as file:
        for size in (MEBIBYTE, 4096, 1):
            try:
                while file.write(b"x" * size) == size:
                    pass
            except OSError as full:
                assert full.errno == errno.ENOSPC  # noqa: PT017
    return ballast


async def write_until_refused(journal: SqliteJournal) -> tuple[int, JournalError]:
    """Decisions from 1 on; returns the first that was not taken, and why."""
    for number in range(1, 100_000):
        journal.record(decision(number, text="x" * 5000))
        try:
            await journal.commit()
        except JournalError as refusal:
            return number, refusal
    raise AssertionError("it was never full")


async def test_the_reserve_lets_a_hold_and_a_rollback_be_written(disk: Path, clock: TickingClock) -> None:
    journal = SqliteJournal.open(disk / "journal.db", ORIGIN, clock)
    told: list[bool] = []
    journal.on_low_space = lambda: told.append(True)
    journal.record(decision(1))
    await journal.commit()
    assert (disk / "reserve").stat().st_blocks * 512 >= 16 * MEBIBYTE
    fill(disk)
    number = 1
    while not journal.low_space:
        number += 1
        journal.record(decision(number, text="x" * 5000))
        await journal.commit()
    assert told == [True]
    assert not (disk / "reserve").exists()
    for _ in range(500):  # a hold and a rollback, generously
        number += 1
        journal.record(telemetry(0), decision(number, text="x" * 2000))
        await journal.commit()
    assert told == [True]
    await journal.close()
    with JournalReader(disk / "journal.db") as reader:
        events = reader.events()
        assert numbers(event for event in events if event.type == "act.intent") == list(range(1, number + 1))
        assert {event.type for event in events[-500:]} == {"act.intent", "journal.dropped"}, "no room for telemetry"


async def test_without_a_reserve_it_stops_for_ever_and_loses_nothing_acknowledged(
    disk: Path, clock: TickingClock
) -> None:
    journal = SqliteJournal.open(disk / "journal.db", ORIGIN, clock)
    journal.record(decision(0))
    await journal.commit()
    assert journal.free_reserve()
    assert not journal.free_reserve()
    ballast = fill(disk)
    number, refusal = await write_until_refused(journal)
    assert isinstance(refusal, JournalFull)
    assert "no reserve: nothing more is done" in str(refusal)
    ballast.unlink()
    with pytest.raises(JournalFull):
        journal.record(decision(-1))
    with pytest.raises(JournalFull):
        await journal.commit()
    await journal.close()
    resumed = SqliteJournal.open(disk / "journal.db", ORIGIN, clock)
    resumed.record(decision(number))
    await resumed.commit()
    await resumed.close()
    with JournalReader(disk / "journal.db") as reader:
        assert numbers(reader.events()) == list(range(number + 1))


async def test_a_run_does_not_start_without_room_for_the_reserve_unless_forced(disk: Path, clock: TickingClock) -> None:
    (disk / "ballast").write_bytes(b"x" * 12 * MEBIBYTE)
    with pytest.raises(JournalFull, match=r"no room for the journal's reserve: 16 MiB .* 12\.0 MiB left"):
        SqliteJournal.open(disk / "journal.db", ORIGIN, clock)
    assert not (disk / "reserve").exists(), "the half-made reserve takes no room"
    journal = SqliteJournal.open(disk / "journal.db", ORIGIN, clock, reserve=False)
    with pytest.raises(JournalFull, match="no room for the journal's reserve"):
        await journal.renew_reserve()
    (disk / "ballast").unlink()
    await journal.renew_reserve()
    assert (disk / "reserve").exists()
    await journal.close()


async def test_no_room_for_the_file_itself(disk: Path) -> None:
    fill(disk)
    with pytest.raises(JournalFull):
        opened(disk / "journal.db")


async def test_a_run_is_resumed_on_a_full_disk_with_the_room_of_the_reserve(disk: Path, clock: TickingClock) -> None:
    journal = SqliteJournal.open(disk / "journal.db", ORIGIN, clock)
    journal.record(decision(1))
    await journal.commit()
    await journal.close()
    fill(disk)
    journal = SqliteJournal.open(disk / "journal.db", ORIGIN, clock)
    told: list[bool] = []
    journal.on_low_space = lambda: told.append(True)
    assert journal.low_space
    assert not (disk / "reserve").exists()
    journal.record(decision(2))
    await journal.commit()
    assert told == [True]
    await journal.close()


async def test_a_full_disk_can_be_read(disk: Path, clock: TickingClock) -> None:
    journal = opened(disk / "journal.db")
    journal.record(decision(1))
    await journal.commit()
    fill(disk)
    with JournalReader(disk / "journal.db") as reader:
        assert reader.verify().count == 1
    await journal.close()


async def test_a_limit_on_file_size_frees_the_reserve_and_then_fails(path: Path) -> None:
    """Also where nobody is root. A limit is no lack of room, so the reserve cannot help: the error says what it is."""
    journal = SqliteJournal.open(path, ORIGIN, TickingClock(), threaded=False)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
        number, refusal = await write_until_refused(journal)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert "cannot be written" in str(refusal)
    assert journal.low_space
    assert not path.with_name("reserve").exists()
    await journal.close()
    with JournalReader(path) as reader:
        assert numbers(reader.events()) == list(range(1, number))


def test_a_reserve_has_real_blocks_and_is_made_once(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path / "reserve")
    reserve.create()
    made = reserve.path.stat()
    assert made.st_blocks * 512 >= reserve.size == 16 * MEBIBYTE
    reserve.create()
    assert reserve.path.stat().st_mtime_ns == made.st_mtime_ns
    assert reserve.free()
    assert not reserve.free()


def test_a_reserve_that_cannot_be_made_for_another_reason_says_which(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="No such file or directory") as problem:
        Reserve(tmp_path / "gone" / "reserve").create()
    assert not isinstance(problem.value, JournalFull)
