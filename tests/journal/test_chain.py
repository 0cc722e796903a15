"""The chain: every change to a single event is seen, with the place."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cutover.errors import JournalCorrupt
from cutover.journal.chain import Head, Row, verify
from cutover.journal.memory import MemoryJournal
from cutover.model.events import GENESIS, Draft, Origin, digest
from tests.journal.helpers import ORIGIN, TickingClock

COUNT = 8


def rows_of(origin: Origin = ORIGIN, count: int = COUNT, body: dict[str, Any] | None = None) -> list[Row]:
    journal = MemoryJournal(origin, TickingClock())
    for number in range(count):
        journal.record(
            Draft("act.intent", f"step-{number}", {"number": number, **(body or {})}, actor='kim","prev":"', host="a.b")
        )
    journal._write(telemetry_only=False)
    return list(enumerate(journal.stored, start=1))


ROWS = rows_of()
HEAD = Head(COUNT, digest(ROWS[-1][1]))


def test_a_sound_chain_says_how_far_and_where_it_ends() -> None:
    report = verify(ROWS, run=ORIGIN.run, head=HEAD)
    assert report.ok
    assert (report.count, report.head) == (COUNT, digest(ROWS[-1][1]))
    empty = verify([])
    assert empty.ok
    assert (empty.count, empty.head) == (0, GENESIS)


@given(seq=st.integers(1, COUNT), data=st.data())
@settings(max_examples=400, deadline=None)
def test_every_change_to_the_bytes_of_one_event_is_seen_there(seq: int, data: st.DataObject) -> None:
    original = ROWS[seq - 1][1]
    start = data.draw(st.integers(0, len(original)))
    end = data.draw(st.integers(start, min(len(original), start + 4)))
    changed = original[:start] + data.draw(st.binary(max_size=4)) + original[end:]
    rows = [*ROWS[: seq - 1], (seq, changed), *ROWS[seq:]]
    report = verify(rows, run=ORIGIN.run, head=HEAD)
    if changed == original:
        assert report.ok
        return
    assert report.problem is not None
    assert report.problem.seq == seq
    assert report.count == seq - 1
    assert report.problem.sentence


@given(seq=st.integers(1, COUNT), flip=st.integers(0, 7), data=st.data())
def test_every_flipped_bit_is_seen(seq: int, flip: int, data: st.DataObject) -> None:
    changed = bytearray(ROWS[seq - 1][1])
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << flip
    rows = [*ROWS[: seq - 1], (seq, bytes(changed)), *ROWS[seq:]]
    problem = verify(rows, head=HEAD).problem
    assert problem is not None
    # The first event alone says which run it is, so the second seems to be the wrong one when the first names another.
    assert problem.seq == seq or (seq, problem.seq) == (1, 2)
    exact = verify(rows, run=ORIGIN.run, head=HEAD).problem
    assert exact is not None
    assert exact.seq == seq


@given(seq=st.integers(1, COUNT))
def test_a_missing_event_is_seen(seq: int) -> None:
    report = verify([row for row in ROWS if row[0] != seq], head=HEAD)
    assert report.problem is not None
    assert report.problem.seq == seq
    assert report.count == seq - 1
    assert report.problem.lost_end == (seq == COUNT)


def test_a_missing_event_hidden_by_renumbering_is_seen() -> None:
    rest = [data for seq, data in ROWS if seq != 4]
    problem = verify(enumerate(rest, start=1)).problem
    assert problem is not None
    assert (problem.seq, problem.sentence) == (4, "where event 4 belongs is one that says it is event 5")


@given(order=st.permutations(range(COUNT)))
def test_another_order_is_seen(order: list[int]) -> None:
    stored = [ROWS[place][1] for place in order]
    assert verify(enumerate(stored, start=1)).ok == (order == list(range(COUNT)))


@given(seq=st.integers(1, COUNT))
def test_an_insertion_is_seen(seq: int) -> None:
    rows = [*ROWS[:seq], ROWS[seq - 1], *ROWS[seq:]]
    assert not verify(rows).ok
    assert not verify((place, data) for place, (_, data) in enumerate(rows, start=1)).ok


def test_events_of_another_run_are_seen() -> None:
    other = rows_of(Origin("abcdef", "boot-1", "plan", "cutover/0.1.0"))
    report = verify(other, run=ORIGIN.run)
    assert report.problem is not None
    assert report.problem.sentence == "event 1 is of run abcdef, expected run 7f3a9c"
    mixed = verify([*ROWS[:3], *other[3:]])
    assert mixed.problem is not None
    assert mixed.problem.seq == 4


def test_an_event_rewritten_with_all_behind_it_is_seen_by_the_head_alone() -> None:
    """A whole rewrite makes a new sound chain; what was known before is what shows it."""
    rewritten = rows_of(body={"said": "nothing"})
    assert verify(rewritten).ok
    report = verify(rewritten, head=HEAD)
    assert report.problem is not None
    assert report.problem.seq == COUNT


def test_a_lost_end_is_seen_by_the_head_alone() -> None:
    assert verify(ROWS[:5]).ok
    report = verify(ROWS[:5], head=HEAD)
    assert report.problem is not None
    assert report.problem.lost_end
    assert report.problem.sentence == (
        "the journal ends at event 5, but event 8 had been written and synced: its end was lost or cut off"
    )
    assert "holds no event" in str(verify([], head=HEAD).problem)


def test_a_head_behind_the_journal_is_no_problem() -> None:
    assert verify(ROWS, head=Head(3, digest(ROWS[2][1]))).ok


def test_the_altered_one_of_two_is_told_apart_by_the_third() -> None:
    changed = ROWS[3][1].replace(b"step-3", b"step-9")
    assert "event 4 was altered" in sentence([*ROWS[:3], (4, changed), *ROWS[4:]])
    wrong_link = ROWS[3][1].replace(b'"prev":"' + ROWS[3][1].split(b'"prev":"')[1][:4], b'"prev":"dead')
    assert "event 4 was altered" in sentence([*ROWS[:3], (4, wrong_link), *ROWS[4:]])
    assert "one of the two was altered" in sentence([*ROWS[:3], (4, changed), ROWS[4]])


def test_a_newer_format_is_named() -> None:
    assert sentence([(1, ROWS[0][1].replace(b'{"v":1,', b'{"v":2,'))]) == (
        "event 1 has format 2, this version of cutover reads 1"
    )


@pytest.mark.parametrize("stored", [b"", b"null", "text", 7, None, b'{"v":1,"run":"7f3a9c","seq":1,'])
def test_what_is_no_event_is_a_problem_not_a_traceback(stored: Any) -> None:
    assert not verify([(1, stored)]).ok
    assert not verify([(1, stored), *ROWS[1:]]).ok


def test_storage_that_cannot_be_read_on_is_a_problem_at_that_place() -> None:
    def rows() -> Iterator[Row]:
        yield from ROWS[:3]
        raise JournalCorrupt("damaged behind event 3")

    report = verify(rows())
    assert report.problem is not None
    assert (report.count, report.problem.seq, report.problem.sentence) == (3, 4, "damaged behind event 3")


def sentence(rows: list[Row]) -> str:
    problem = verify(rows).problem
    assert problem is not None
    return problem.sentence
