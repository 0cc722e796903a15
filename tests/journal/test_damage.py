"""What is left of a journal that was cut or altered: a prefix of what was written, or a refusal with the place."""

import asyncio
import random
from collections.abc import Iterable
from pathlib import Path

import pytest

from cutover.errors import JournalCorrupt, JournalError
from cutover.journal.head import head_path
from cutover.journal.reader import JournalReader
from cutover.model.events import Event
from tests.journal.helpers import copy_of, decision, numbers, opened, write

FRAME = 4096 + 24
COMMITS = 4


class Crashed:
    """A journal as a crash leaves it: `COMMITS` decisions in the `-wal`, none of them checkpointed."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "journal.db"
        self.events: list[Event] = []
        self.ends: list[int] = []
        asyncio.run(self._write())

    async def _write(self) -> None:
        live = self.path.parent / "live"
        live.mkdir()
        journal = opened(live / "journal.db")
        for number in range(1, COMMITS + 1):
            journal.record(decision(number, text="x" * 1500))
            self.events += await journal.commit()
            self.ends.append(written_end((live / "journal.db-wal").read_bytes()))
        copy_of(live / "journal.db", self.path.parent, "-wal", "-head")
        with self.path.with_name("journal.db-wal").open("r+b") as file:
            file.truncate(self.ends[-1])
        await journal.close()


def written_end(wal: bytes) -> int:
    """Where the last frame ends: behind it are the zeros that the `-wal` was widened with."""
    end = 32
    while wal[end : end + 4] != b"\0" * 4:
        end += FRAME
    return end


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Crashed:
    return Crashed(tmp_path_factory.mktemp("crashed"))


def read_cut(crashed: Crashed, directory: Path, sizes: Iterable[int]) -> dict[int, list[Event]]:
    """What a reader sees when the `-wal` ends after each of `sizes` bytes, which must go down."""
    copy = copy_of(crashed.path, directory, "-wal")
    wal = copy.with_name("journal.db-wal")
    found = {}
    for size in sizes:
        with wal.open("r+b") as file:
            file.truncate(size)
        with JournalReader(copy) as reader:
            found[size] = reader.events()
    return found


def check_prefix(crashed: Crashed, found: dict[int, list[Event]]) -> None:
    for size, events in found.items():
        whole = sum(end <= size for end in crashed.ends)
        assert events == crashed.events[:whole], f"-wal cut after {size} bytes"


def test_the_wal_cut_densely_gives_exactly_the_commits_before_it(crashed: Crashed, tmp_path: Path) -> None:
    """Every byte of the last frame, and around each other's start and end; every 64th between."""
    end = crashed.ends[-1]
    starts = range(32, end + 1, FRAME)
    sizes = {size for start in starts for size in range(start - 40, start + 40)}
    sizes |= {*range(0, end, 64), *range(end - FRAME, end + 1)}
    check_prefix(crashed, read_cut(crashed, tmp_path, sorted((s for s in sizes if 0 <= s <= end), reverse=True)))


def test_the_wal_zeroed_from_any_place_gives_exactly_the_commits_before_it(crashed: Crashed, tmp_path: Path) -> None:
    """A frame that was half written into the widened `-wal`: what follows is zeros, not the end of the file."""
    copy = copy_of(crashed.path, tmp_path, "-wal")
    wal = copy.with_name("journal.db-wal")
    whole = wal.read_bytes()
    for size in range(0, len(whole), 53):
        torn = whole[:size] + bytes(len(whole) - size)
        wal.write_bytes(torn + bytes(4096))
        complete = sum(torn[:end] == whole[:end] for end in crashed.ends)
        with JournalReader(copy) as reader:
            assert reader.events() == crashed.events[:complete], size


@pytest.mark.anyio
async def test_the_wal_cut_in_its_second_lap_gives_a_prefix(tmp_path: Path) -> None:
    """After a checkpoint it is filled from its start again, over the frames of the lap before."""
    live = tmp_path / "live"
    live.mkdir()
    journal = opened(live / "journal.db")
    for number in range(1, 15):
        journal.record(decision(number, text="x" * 1500))
        await journal.commit()
        if number == 10:
            journal._checkpoint()
    copy = copy_of(live / "journal.db", tmp_path / "cut", "-wal")
    wal = copy.with_name("journal.db-wal")
    reached = set()
    for size in range(written_end(wal.read_bytes()), -1, -97):
        with wal.open("r+b") as file:
            file.truncate(size)
        with JournalReader(copy) as reader:
            found = numbers(reader.events())
        assert found == list(range(1, len(found) + 1)), size
        reached.add(len(found))
    assert reached == {10, 11, 12, 13, 14}
    await journal.close()


@pytest.mark.slow
def test_the_wal_cut_at_every_byte_gives_exactly_the_commits_before_it(crashed: Crashed, tmp_path: Path) -> None:
    check_prefix(crashed, read_cut(crashed, tmp_path, range(crashed.ends[-1], -1, -1)))


@pytest.mark.anyio
async def test_a_writer_goes_on_from_the_prefix(crashed: Crashed, tmp_path: Path) -> None:
    for turn, size in enumerate(range(0, crashed.ends[-1], 997)):
        copy = copy_of(crashed.path, tmp_path / str(turn), "-wal")
        with copy.with_name("journal.db-wal").open("r+b") as file:
            file.truncate(size)
        whole = sum(end <= size for end in crashed.ends)
        journal = opened(copy)
        journal.record(decision(100))
        await journal.commit()
        await journal.close()
        with JournalReader(copy) as reader:
            assert numbers(reader.events()) == [*range(1, whole + 1), 100]
            assert reader.verify().ok


def test_flips_in_the_wal_give_a_prefix_or_are_refused(crashed: Crashed, tmp_path: Path) -> None:
    copy = copy_of(crashed.path, tmp_path, "-wal")
    wal = copy.with_name("journal.db-wal")
    whole = wal.read_bytes()
    for place in random.Random(3).sample(range(len(whole)), 400):
        wal.write_bytes(flipped(whole, place))
        with JournalReader(copy) as reader:
            events = reader.events()
        assert events == crashed.events[: len(events)], place


@pytest.mark.anyio
async def test_a_wal_that_lost_durable_events_is_refused_until_a_person_accepts(
    crashed: Crashed, tmp_path: Path
) -> None:
    """No crash takes what was synced: a lost `-wal` or a disk that lied does. Only the head can see it."""
    copy = copy_of(crashed.path, tmp_path, "-wal", "-head")
    with copy.with_name("journal.db-wal").open("r+b") as file:
        file.truncate(crashed.ends[1])
    before = contents(tmp_path)
    with pytest.raises(JournalCorrupt, match="ends at event 2, but event 4 had been written and synced"):
        opened(copy)
    assert contents(tmp_path) == before, "evidence is left as it was found"
    journal = opened(copy, accept_lost_end=True)
    journal.record(decision(100))
    await journal.commit()
    await journal.close()
    await opened(copy).close()
    with JournalReader(copy) as reader:
        assert numbers(reader.events()) == [1, 2, 100]
        assert reader.verify().ok


def test_a_head_that_is_torn_or_older_is_no_error(crashed: Crashed, tmp_path: Path) -> None:
    copy = copy_of(crashed.path, tmp_path, "-wal", "-head")
    head = head_path(copy)
    whole = head.read_bytes()
    for content in (whole[:50], b"\0" * len(whole), b"", flipped(whole, 30), b"\xff" * len(whole)):
        head.write_bytes(content)
        with JournalReader(copy) as reader:
            assert reader.verify().ok
    with copy.with_name("journal.db-wal").open("r+b") as file:
        file.truncate(crashed.ends[2])
    head.unlink()
    with JournalReader(copy) as reader:
        assert reader.verify().count == 3


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Event]]:
    """A journal of several pages, all of it in the main file, with its head beside it."""
    path = tmp_path_factory.mktemp("closed") / "journal.db"
    asyncio.run(write(path, 60, text="x" * 300))
    with JournalReader(path) as reader:
        return path, reader.events()


def test_the_main_file_cut_anywhere_is_refused_with_the_place(closed: tuple[Path, list[Event]], tmp_path: Path) -> None:
    path, _ = closed
    size = path.stat().st_size
    reached = set()
    for end in sorted({*range(0, size, 4096), *range(1, size, 1777), size - 1}):
        copy = copy_of(path, tmp_path, "-head")
        with copy.open("r+b") as file:
            file.truncate(end)
        before = contents(tmp_path)
        with pytest.raises(JournalError) as refusal:
            opened(copy)
        assert isinstance(refusal.value, JournalCorrupt), (end, refusal.value)
        assert "Sound up to event" in str(refusal.value)
        reached.add(str(refusal.value).partition("Sound up to event ")[2].partition(";")[0])
        assert contents(tmp_path) == before
    assert len(reached) > 4, "the place follows the cut"


def test_the_main_file_flipped_is_refused_or_lost_nothing(closed: tuple[Path, list[Event]], tmp_path: Path) -> None:
    """With the head beside it there is no third way. Page 1's header and each page's first bytes are all tried."""
    path, written = closed
    whole = path.read_bytes()
    places = set(random.Random(5).sample(range(len(whole)), 600)) | set(range(100))
    places |= {page + offset for page in range(0, len(whole), 4096) for offset in range(16)}
    copy = copy_of(path, tmp_path, "-head")
    refused = 0
    for place in sorted(places):
        copy.write_bytes(flipped(whole, place, mask=1 << place % 8))
        try:
            journal = opened(copy)
        except JournalError as refusal:
            said = str(refusal)
        else:
            asyncio.run(journal.close())
            with JournalReader(copy) as reader:
                assert reader.events() == written, place
            continue
        assert "event" in said or "header" in said or "not a journal" in said, place
        refused += 1
    assert refused > len(places) // 2


@pytest.mark.anyio
async def test_the_main_file_cut_beneath_a_wal_is_refused_or_lost_nothing(tmp_path: Path) -> None:
    """The `-wal` says how many pages there are, so SQLite itself does not see that the main file is shorter."""
    live = tmp_path / "live"
    live.mkdir()
    journal = opened(live / "journal.db")
    for number in range(40):
        journal.record(decision(number, text="x" * 900))
        await journal.commit()
        if number == 30:
            journal._checkpoint()
    size = (live / "journal.db").stat().st_size
    with JournalReader(live / "journal.db") as reader:
        written = reader.events()
    refused = 0
    for end in range(0, size, 1024):
        copy = copy_of(live / "journal.db", tmp_path / "cut", "-wal", "-head")
        with copy.open("r+b") as file:
            file.truncate(end)
        with JournalReader(copy) as reader:
            report = reader.verify()
            refused += not report.ok
            assert not report.ok or reader.events() == written, end
    assert refused > size // 1024 // 2
    await journal.close()


def test_without_its_head_a_flipped_file_still_gives_no_wrong_event(
    closed: tuple[Path, list[Event]], tmp_path: Path
) -> None:
    path, written = closed
    whole = path.read_bytes()
    copy = copy_of(path, tmp_path)
    for place in random.Random(7).sample(range(len(whole)), 300):
        copy.write_bytes(flipped(whole, place))
        with JournalReader(copy) as reader:
            report = reader.verify()
            if not report.ok:
                continue
            events = reader.events()
        # The last event has no successor that vouches for it: only the head, or an anchor, can.
        assert events[:-1] == written[: len(events) - 1], place


def test_an_emptied_file_does_not_take_its_wal_with_it(crashed: Crashed, tmp_path: Path) -> None:
    """SQLite, opening an empty main file, deletes the `-wal` beside it, even read-only."""
    copy = copy_of(crashed.path, tmp_path, "-wal", "-head")
    copy.write_bytes(b"")
    before = contents(tmp_path)
    with pytest.raises(JournalCorrupt, match="is empty: its content was lost"):
        opened(copy)
    with JournalReader(copy) as reader, pytest.raises(JournalCorrupt, match="is empty"):
        reader.events()
    assert contents(tmp_path) == before


def test_a_main_file_that_is_gone_is_not_made_anew(crashed: Crashed, tmp_path: Path) -> None:
    copy = copy_of(crashed.path, tmp_path, "-wal", "-head")
    copy.unlink()
    before = contents(tmp_path)
    with pytest.raises(JournalCorrupt, match=r"is gone, but journal\.db-wal and journal\.db-head beside it"):
        opened(copy)
    assert contents(tmp_path) == before


def test_a_half_made_file_is_made_anew(tmp_path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        (tmp_path / f"journal.db.new{suffix}").write_bytes(b"half")
    asyncio.run(write(tmp_path / "journal.db", 1))
    assert not list(tmp_path.glob("*.new*"))


def flipped(data: bytes, place: int, mask: int = 0x10) -> bytes:
    return data[:place] + bytes([data[place] ^ mask]) + data[place + 1 :]


def contents(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.iterdir() if file.is_file() and file.name != "lock"}
