"""The read-only opener: beside a live writer, after its death, in a directory that cannot be written."""

import asyncio
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cutover.errors import JournalCorrupt, JournalError
from cutover.journal.reader import JournalReader
from tests.journal.helpers import TickingClock, copy_of, decision, numbers, opened, write

pytestmark = pytest.mark.anyio


async def test_only_what_is_committed_is_seen(path: Path, clock: TickingClock) -> None:
    journal = opened(path)
    with JournalReader(path) as reader:
        assert reader.events() == []
        journal.record(decision(1))
        assert reader.events() == []
        await journal.commit()
        assert numbers(reader.events()) == [1]
        journal._connection.execute("BEGIN")
        journal._connection.execute("INSERT INTO event VALUES (2, x'00')")
        assert numbers(reader.events()) == [1]
        journal._connection.execute("ROLLBACK")
    await journal.close()


async def test_events_after_a_place(path: Path) -> None:
    await write(path, 5)
    with JournalReader(path) as reader:
        assert [numbers(reader.events(after)) for after in range(7)] == [
            [1, 2, 3, 4, 5],
            [2, 3, 4, 5],
            [3, 4, 5],
            [4, 5],
            [5],
            [],
            [],
        ]


async def test_reading_leaves_no_trace(path: Path, tmp_path: Path) -> None:
    await write(path, 3)
    journal = opened(path)
    journal.record(decision(4))
    await journal.commit()
    for suffixes in ((), ("-wal",), ("-wal", "-shm")):
        copy = copy_of(path, tmp_path / f"with{''.join(suffixes)}", *suffixes)
        before = {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in copy.parent.iterdir()}
        with JournalReader(copy) as reader:
            assert numbers(reader.events()) == ([1, 2, 3, 4] if suffixes else [1, 2, 3])
            assert reader.verify().ok
        assert {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in copy.parent.iterdir()} == before
    await journal.close()


async def test_one_reader_through_close_and_next_start(path: Path) -> None:
    await write(path, 1)
    with JournalReader(path) as reader:
        assert numbers(reader.events()) == [1], "closed"
        journal = opened(path)
        journal.record(decision(2))
        await journal.commit()
        assert numbers(reader.events()) == [1, 2], "live"
        await journal.close()
        assert numbers(reader.events()) == [1, 2], "closed while it was read"


async def test_following_sees_what_comes_from_live_writers_one_after_the_other(path: Path, clock: TickingClock) -> None:
    await write(path, 2)
    seen: list[int] = []

    async def watch() -> None:
        with JournalReader(path, clock) as reader:
            async for event in reader.follow(1):
                seen.append(event.seq)
                if event.seq == 8:
                    return

    watching = asyncio.create_task(watch())
    for start in (3, 6):
        await asyncio.sleep(0.05)
        journal = opened(path)
        for number in range(start, start + 3):
            journal.record(decision(number))
            await journal.commit()
            await asyncio.sleep(0.01)
        await journal.close()
    await asyncio.wait_for(watching, 5)
    assert seen == [2, 3, 4, 5, 6, 7, 8]


async def test_following_without_a_clock_is_a_mistake(path: Path) -> None:
    await write(path, 1)
    with JournalReader(path) as reader, pytest.raises(ValueError, match="needs a clock"):
        await anext(aiter(reader.follow()))


async def test_damage_in_the_part_that_is_read_is_refused(path: Path) -> None:
    await write(path, 5)
    connection = sqlite3.connect(path)
    altered = "CAST(replace(CAST(bytes AS TEXT), 'stop-web', 'stop-xxx') AS BLOB)"
    connection.execute(f"UPDATE event SET bytes = {altered} WHERE seq = 3")
    connection.commit()
    connection.close()
    with JournalReader(path) as reader:
        with pytest.raises(JournalCorrupt, match="event 4 says that the event before has hash"):
            reader.events()
        with pytest.raises(JournalCorrupt, match="event 4 says that the event before has hash"):
            reader.events(3)
        assert numbers(reader.events(4)) == [5]
        problem = reader.verify().problem
        assert problem is not None
        assert problem.seq == 3
        assert problem.sentence.startswith("event 3 was altered")


@pytest.mark.parametrize("version", [0, 2, 99])
async def test_a_newer_format_is_refused_in_plain_words(path: Path, version: int) -> None:
    await write(path, 1)
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {version}")
    connection.execute("DELETE FROM event")
    connection.commit()
    connection.close()
    with JournalReader(path) as reader, pytest.raises(JournalError, match=f"newer cutover .format {version}.; this"):
        reader.events()
    with pytest.raises(JournalError, match="newer cutover") as refusal:
        opened(path)
    assert not isinstance(refusal.value, JournalCorrupt)


async def test_what_is_no_journal_is_named(path: Path) -> None:
    with pytest.raises(JournalError, match="There is no journal at"):
        JournalReader(path)
    path.write_bytes(b"a shopping list" * 1000)
    with JournalReader(path) as reader, pytest.raises(JournalCorrupt, match="file is not a database"):
        reader.events()
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE event (seq INTEGER PRIMARY KEY, bytes BLOB)")
    connection.close()
    with JournalReader(path) as reader, pytest.raises(JournalError, match="is not a journal of cutover"):
        reader.events()


@pytest.fixture
def sealed(tmp_path: Path) -> Iterator[Path]:
    """A directory that is a file system of its own, so that it can be made read-only even for root."""
    mount = tmp_path / "sealed"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(mount)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs root, to mount a file system read-only")
    yield mount
    subprocess.run(["umount", "--lazy", str(mount)], check=True)


async def test_a_read_only_directory_is_enough(path: Path, sealed: Path) -> None:
    await write(path, 2)
    journal = opened(path)
    journal.record(decision(3))
    await journal.commit()
    for suffixes in ((), ("-wal",), ("-wal", "-shm")):
        copy_of(path, sealed / f"with{''.join(suffixes)}", *suffixes)
    subprocess.run(["mount", "-o", "remount,ro", str(sealed)], check=True)
    for directory in sealed.iterdir():
        with JournalReader(directory / "journal.db") as reader:
            assert numbers(reader.events()) == ([1, 2, 3] if directory.name != "with" else [1, 2])
            assert reader.verify().ok
    await journal.close()
