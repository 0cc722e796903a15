"""The journal in a file: what is promised to the engine."""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cutover.errors import EngineRunning, JournalError
from cutover.journal import recorder
from cutover.journal.reader import JournalReader
from cutover.journal.sqlite import SqliteJournal
from cutover.model.events import GENESIS, Draft, Event, Origin, decode, digest, encode
from tests.journal.helpers import ORIGIN, TickingClock, decision, numbers, opened, telemetry, write

pytestmark = pytest.mark.anyio


async def test_events_are_numbered_linked_and_carry_the_whole_envelope(path: Path, clock: TickingClock) -> None:
    journal = SqliteJournal.open(path, ORIGIN, clock)
    journal.record(decision(1), Draft("answer", None, {"choice": "go"}, actor="kim@laptop"))
    journal.token = 7
    journal.record(decision(3))
    events = await journal.commit()
    assert [event.seq for event in events] == [1, 2, 3]
    assert [event.token for event in events] == [0, 0, 7]
    assert [event.actor for event in events] == ["engine", "kim@laptop", "engine"]
    assert [event.host for event in events] == ["basement.db", None, "basement.db"]
    assert [event.prev for event in events] == [GENESIS, *(digest(encode(event)) for event in events[:2])]
    assert {(event.run, event.boot_id, event.plan, event.tool) for event in events} == {
        (ORIGIN.run, ORIGIN.boot_id, ORIGIN.plan, ORIGIN.tool)
    }
    assert events[0].mono < events[1].mono < events[2].mono
    assert events[0].at < events[1].at
    await journal.close()
    with JournalReader(path) as reader:
        assert reader.events() == list(events)


async def test_a_second_start_goes_on_where_the_first_ended(path: Path, clock: TickingClock) -> None:
    await write(path, 3)
    journal = SqliteJournal.open(path, Origin(ORIGIN.run, "boot-2", ORIGIN.plan, "cutover/0.2.0"), clock)
    journal.record(decision(4))
    (event,) = await journal.commit()
    await journal.close()
    assert (event.seq, event.boot_id, event.tool) == (4, "boot-2", "cutover/0.2.0")
    with JournalReader(path) as reader:
        assert numbers(reader.events()) == [1, 2, 3, 4]
        assert reader.verify(run=ORIGIN.run).ok


async def test_time_is_that_of_the_recording_not_of_the_write(path: Path, clock: TickingClock) -> None:
    journal = SqliteJournal.open(path, ORIGIN, clock)
    journal.record(decision(1))
    recorded = clock.now
    clock.now += 1000
    (event,) = await journal.commit()
    await journal.close()
    assert event.mono <= recorded


async def test_a_commit_with_nothing_recorded_costs_nothing(path: Path) -> None:
    journal = opened(path)
    assert await journal.commit() == ()
    assert journal.commits == 0
    await journal.close()


async def test_a_draft_that_is_not_json_takes_its_whole_call_with_it(path: Path) -> None:
    journal = opened(path)
    with pytest.raises(ValueError, match="not JSON compliant"):
        journal.record(decision(1), decision(2, value=float("nan")))
    with pytest.raises(TypeError):
        journal.record(decision(1), decision(2, value=object()))
    journal.record(decision(3))
    assert numbers(await journal.commit()) == [3]
    await journal.close()


@pytest.mark.parametrize("threaded", [True, False])
async def test_commits_of_many_tasks_merge(path: Path, clock: TickingClock, threaded: bool) -> None:
    journal = SqliteJournal.open(path, ORIGIN, clock, threaded=threaded)
    seen: list[list[int]] = []
    journal.on_commit(lambda events: seen.append(numbers(events)))

    async def branch(start: int) -> None:
        for number in range(start, start + 5):
            journal.record(decision(number))
            events = await journal.commit()
            assert number in numbers(events)

    await asyncio.gather(*(branch(start) for start in range(0, 1000, 10)))
    assert journal.commits == len(seen) <= 15, "500 decisions of 100 tasks"
    await journal.close()
    with JournalReader(path) as reader:
        assert numbers(reader.events()) == [number for group in seen for number in group]


async def test_what_another_took_along_is_awaited_too(path: Path, clock: TickingClock) -> None:
    """A records, B commits both; A's own commit must not return before B's write has ended."""
    journal = SqliteJournal.open(path, ORIGIN, clock)
    stored: list[int] = []
    journal.on_commit(lambda events: stored.extend(numbers(events)))
    journal.record(decision(1))
    other = asyncio.ensure_future(journal.commit())
    while journal._waiting:
        await asyncio.sleep(0)
    await journal.commit()
    assert stored == [1]
    await other
    await journal.close()


async def test_a_chain_of_acts_costs_one_commit_more_than_acts(path: Path) -> None:
    journal = opened(path)
    journal.record(decision(0))
    await journal.commit()
    for number in range(1, 21):
        journal.record(Draft("act.outcome", None, {}), Draft("step.moved", None, {}), decision(number))
        await journal.commit()
    assert journal.commits == 21
    await journal.close()


async def test_a_cancelled_commit_is_written_all_the_same(path: Path, clock: TickingClock) -> None:
    journal = SqliteJournal.open(path, ORIGIN, clock)
    for number in range(50):
        journal.record(decision(number))
        caller = asyncio.ensure_future(journal.commit())
        for _ in range(number % 4):
            await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
    journal.record(decision(50))
    await journal.commit()
    await journal.close()
    with JournalReader(path) as reader:
        assert numbers(reader.events()) == list(range(51))


async def test_an_observer_that_raises_is_detached_and_the_others_go_on(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = opened(path)
    calls: list[str] = []

    def bad(events: Sequence[Event]) -> None:
        calls.append("bad")
        raise RuntimeError("a screen went away")

    journal.on_commit(bad)
    journal.on_commit(lambda events: calls.append("good"))
    for number in range(2):
        journal.record(decision(number))
        await journal.commit()
    await journal.close()
    assert calls == ["bad", "good", "good"]
    assert "detached" in caplog.text


async def test_the_loop_runs_on_while_the_disk_stalls(
    path: Path, clock: TickingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = SqliteJournal.open(path, ORIGIN, clock)
    stalled = threading.Event()
    insert = journal._insert
    monkeypatch.setattr(journal, "_insert", lambda *a, **k: (stalled.wait(5), insert(*a, **k)))
    journal.record(decision(1))
    commit = asyncio.ensure_future(journal.commit())
    await asyncio.sleep(0.05)
    assert not commit.done()
    stalled.set()
    assert numbers(await commit) == [1]
    await journal.close()


async def test_after_a_failed_write_nothing_more_is_taken(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = opened(path)
    journal.record(decision(1))
    await journal.commit()

    def fails(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(journal, "_insert", fails)
    journal.record(decision(2))
    with pytest.raises(JournalError, match="disk I/O error"):
        await journal.commit()
    monkeypatch.undo()
    with pytest.raises(JournalError, match="disk I/O error"):
        journal.record(decision(3))
    with pytest.raises(JournalError, match="disk I/O error"):
        await journal.commit()
    await journal.close()
    with JournalReader(path) as reader:
        assert numbers(reader.events()) == [1]


async def test_a_write_that_fails_for_whatever_reason_leaves_no_gap(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = opened(path)

    def fails(*_: object, **__: object) -> None:
        raise OverflowError("BLOB longer than INT_MAX bytes")

    monkeypatch.setattr(journal, "_insert", fails)
    journal.record(decision(1))
    with pytest.raises(JournalError, match="BLOB longer"):
        await journal.commit()
    monkeypatch.undo()
    with pytest.raises(JournalError, match="BLOB longer"):
        journal.record(decision(2))
    await journal.close()


async def test_a_closed_journal_says_so(path: Path) -> None:
    journal = opened(path)
    journal.record(decision(1))
    await journal.close()
    await journal.close()
    with pytest.raises(JournalError, match="closed"):
        journal.record(decision(2))
    with JournalReader(path) as reader:
        assert numbers(reader.events()) == [1], "what was left was written"


async def test_the_second_engine_is_told_whose_the_first_is(path: Path, clock: TickingClock) -> None:
    journal = SqliteJournal.open(path, ORIGIN, clock, owner="kim@laptop \x1b]52;c;x\x07")
    with pytest.raises(EngineRunning, match=rf"kim@laptop .*pid {os.getpid()}\)") as refusal:
        opened(path)
    assert "\x1b" not in str(refusal.value)
    with pytest.raises(EngineRunning, match="on another machine"):
        SqliteJournal.open(path, Origin(ORIGIN.run, "elsewhere", "", ""), clock)
    await journal.close()
    await opened(path).close()


async def test_the_lock_of_a_dead_process_holds_nobody_up(path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from tests.journal.helpers import opened;"
        "j = opened(Path(sys.argv[1])); os.kill(os.getpid(), 9)"
    )
    child = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert child.returncode == -9
    await opened(path).close()


async def test_exactly_one_connection_writes(path: Path, clock: TickingClock) -> None:
    """SQLite before 3.51.3 can lose a WAL that two connections write or checkpoint."""
    opens: list[str] = []
    listening = True
    sys.addaudithook(lambda name, args: opens.append(str(args[0])) if listening and name == "sqlite3.connect" else None)
    journal = SqliteJournal.open(path, ORIGIN, clock)
    with JournalReader(path) as one, JournalReader(path) as other:
        journal.record(decision(1))
        await journal.commit()
        assert one.events() == other.events() != []
        assert one.verify().ok
    listening = False
    files = [name for name in opens if name.startswith("file:")]
    assert len([name for name in files if "mode=ro" not in name]) == 1
    assert len([name for name in files if "mode=ro" in name]) == 3, "before the start, and two readers"
    await journal.close()


async def test_files_are_for_their_owner_only(path: Path) -> None:
    before = os.umask(0)
    try:
        journal = SqliteJournal.open(path, ORIGIN, TickingClock())
        journal.record(decision(1))
        await journal.commit()
        modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
        await journal.close()
    finally:
        os.umask(before)
    assert set(modes) == {"journal.db", "journal.db-wal", "journal.db-shm", "journal.db-head", "lock", "reserve"}
    assert set(modes.values()) == {0o600}


async def test_telemetry_is_written_by_itself_and_before_the_decision_it_preceded(
    path: Path, clock: TickingClock
) -> None:
    journal = SqliteJournal.open(path, ORIGIN, clock)
    journal.record(telemetry(1))
    journal.record(telemetry(2))
    with JournalReader(path) as reader:
        for _ in range(200):
            if reader.events():
                break
            await asyncio.sleep(0.01)
        assert numbers(reader.events()) == [1, 2]
        assert journal.commits == 0
        journal.record(telemetry(3))
        journal.record(decision(4))
        journal.record(telemetry(5))
        await journal.flush_telemetry()
        assert numbers(reader.events()) in ([1, 2], [1, 2, 3]), "never past a decision"
        await journal.commit()
        assert numbers(reader.events()) == [1, 2, 3, 4, 5]
        assert journal.commits == 1
    await journal.close()


async def test_a_flood_of_telemetry_is_bounded_and_counted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "TELEMETRY_ROOM", 50_000)
    journal = opened(path)
    for number in range(1000):
        journal.record(telemetry(number, text="x" * 1000))
    assert len(journal._waiting) < 60
    journal.record(decision(1000))
    events = list(await journal.commit())
    journal.record(telemetry(1001))
    events += await journal.commit()
    await journal.close()
    (marker,) = [event for event in events if event.type == "journal.dropped"]
    kept = [event for event in events if event.type == "poll.sample"]
    assert marker.body == {"count": 1000 - len(kept) + 1, "types": {"poll.sample": 1000 - len(kept) + 1}}
    assert events.index(marker) == events[-2].seq - 2, "right before the decision"
    with JournalReader(path) as reader:
        assert reader.verify().ok


async def test_what_was_dropped_last_is_counted_at_the_close(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "TELEMETRY_ROOM", 1)
    journal = opened(path)
    journal.record(telemetry(1))
    journal.record(telemetry(2))
    await journal.close()
    with JournalReader(path) as reader:
        assert [event.type for event in reader.events()] == ["poll.sample", "journal.dropped"]


async def test_a_long_run_is_checkpointed_behind_decisions(path: Path, clock: TickingClock) -> None:
    journal = SqliteJournal.open(path, ORIGIN, clock, reserve=False)
    for number in range(12):
        journal.record(decision(number, text="x" * 1_000_000))
        await journal.commit()
    assert path.stat().st_size > 4_000_000
    assert path.with_name("journal.db-wal").stat().st_size < 10_000_000
    await journal.close()
    with JournalReader(path) as reader:
        assert numbers(reader.events()) == list(range(12))


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(exclude_categories=())), inner),
    max_leaves=8,
)


_bodies = st.lists(st.dictionaries(st.text(st.characters(exclude_categories=())), _json, max_size=4), max_size=5)


@given(bodies=_bodies)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_body_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, bodies: list[dict[str, Any]]
) -> None:
    async def through() -> list[Event]:
        path = tmp_path_factory.mktemp("run") / "journal.db"
        journal = opened(path)
        for body in bodies:
            journal.record(Draft("act.outcome", "stop\ud800", body, actor='"prev":"', host='","prev":"x'))
        written = await journal.commit()
        await journal.close()
        with JournalReader(path) as reader:
            assert reader.verify().ok
            read = reader.events()
        # Two surrogates that make a pair are one character in JSON: the bytes are the same, the strings may differ.
        assert [encode(event) for event in read] == [encode(event) for event in written]
        assert [encode(decode(encode(event))) for event in read] == [encode(event) for event in read]
        return read

    assert json.dumps([event.body for event in asyncio.run(through())]) == json.dumps(bodies)
