"""The journal in memory keeps the same promises, and dies where a test says."""

import pytest

from cutover.errors import JournalCorrupt, JournalError
from cutover.journal.chain import verify
from cutover.journal.memory import MemoryJournal
from tests.journal.helpers import ORIGIN, TickingClock, decision, numbers, telemetry

pytestmark = pytest.mark.anyio


class Killed(BaseException):
    """The engine's death."""


async def test_it_stores_what_the_file_would(clock: TickingClock) -> None:
    journal = MemoryJournal(ORIGIN, clock)
    told: list[int] = []
    journal.on_commit(lambda events: told.extend(numbers(events)))
    journal.token = 3
    journal.record(telemetry(1), decision(2))
    assert journal.events() == []
    events = await journal.commit()
    assert numbers(events) == told == [1, 2]
    assert journal.events() == list(events)
    assert journal.events(1) == list(events[1:])
    assert [event.token for event in events] == [3, 3]
    assert await journal.commit() == ()
    assert journal.commits == 1


async def test_telemetry_alone_is_no_commit(clock: TickingClock) -> None:
    journal = MemoryJournal(ORIGIN, clock)
    journal.record(telemetry(1))
    while not journal.stored:
        await clock.sleep(0.01)
    assert journal.commits == 0
    await journal.close()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_crash_loses_the_group_or_only_the_news_of_it(clock: TickingClock, when: str) -> None:
    journal = MemoryJournal(ORIGIN, clock)
    told: list[int] = []
    journal.on_commit(lambda events: told.extend(numbers(events)))

    def crash(number: int) -> None:
        if number == 2:
            raise Killed

    setattr(journal, f"{when}_commit", crash)
    journal.record(decision(1))
    await journal.commit()
    journal.record(decision(2))
    with pytest.raises(Killed):
        await journal.commit()
    assert told == [1]
    with pytest.raises(JournalError):
        journal.record(decision(3))
    with pytest.raises(JournalError):
        await journal.commit()
    await journal.close()
    resumed = MemoryJournal.resume(journal.stored, ORIGIN, clock)
    resumed.record(decision(4))
    await resumed.commit()
    assert numbers(resumed.events()) == ([1, 4] if when == "before" else [1, 2, 4])
    assert verify(enumerate(resumed.stored, start=1), run=ORIGIN.run).ok


async def test_resuming_from_an_altered_store_is_refused_with_the_place(clock: TickingClock) -> None:
    journal = MemoryJournal(ORIGIN, clock)
    journal.record(decision(1), decision(2), decision(3))
    await journal.commit()
    stored = [journal.stored[0], journal.stored[1].replace(b"stop-web", b"stop-xxx"), journal.stored[2]]
    with pytest.raises(JournalCorrupt, match="one of the two was altered"):
        MemoryJournal.resume(stored, ORIGIN, clock)


async def test_following_ends_with_the_journal(clock: TickingClock) -> None:
    journal = MemoryJournal(ORIGIN, clock)
    journal.record(decision(1))
    await journal.commit()
    seen = []
    async for event in journal.follow():
        seen.append(event.seq)
        if len(seen) == 1:
            journal.record(decision(2))
            await journal.close()
    assert seen == [1, 2]
