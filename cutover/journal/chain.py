"""The hash chain: each event carries the SHA-256 of the stored bytes of the event before.

What it shows: every flip, gap, swap and insertion before the last event. What it cannot show by itself: that events
are missing from the end, and that the very last event was altered, since nothing follows that would say so. For that
there is the head (`cutover.journal.head`), which catches accidents; against malice only an anchor kept elsewhere
helps.

`prev`, `seq` and `run` are read from the stored bytes without decoding them. That is sound: inside a JSON string a
quote is always escaped, so the first `"prev":"` is the envelope's own (the body comes last), and bytes whose hash the
next event vouches for were written by `encode`.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from cutover.errors import JournalCorrupt
from cutover.model.events import FORMAT, GENESIS, decode, digest

Row = tuple[int, bytes]
"""A stored row: (seq, bytes)."""

_START = re.compile(rb'\{"v":(\d+),"run":"((?:[^"\\]|\\.)*)","seq":(\d+),')
_PREV = b'"prev":"'


class Head(NamedTuple):
    """The last event known to have been durable: its seq and the digest of its stored bytes."""

    seq: int
    digest: str


class Problem(NamedTuple):
    """Where the chain breaks, and what was expected there, in a sentence.

    link: two events do not fit each other, so that either may be the altered one. lost_end: what is there is sound, but
    events that were durable are missing behind it.
    """

    seq: int
    sentence: str
    link: bool = False
    lost_end: bool = False


@dataclass(frozen=True, slots=True)
class ChainReport:
    """What a verification found.

    count: events that are sound, from the first. head: digest of the last event that was followed, 64 zeros when there
    was none. problem: the first one, or None.
    """

    count: int
    head: str
    problem: Problem | None = None

    @property
    def ok(self) -> bool:
        """Whether every event follows from the one before."""
        return self.problem is None


class Chain:
    """Follows a chain one row at a time. It starts behind (seq, head); head None accepts any first predecessor."""

    def __init__(self, seq: int = 0, head: str | None = GENESIS, run: str | None = None) -> None:
        """Expect the event after `seq`, whose `prev` is `head`, of `run` (None: whichever run the first one names)."""
        self.seq = seq
        self.head = head
        self.run = None if run is None else run.encode()

    def broken_by(self, seq: int, data: object) -> Problem | None:
        """Take the next row; return what is wrong with it, or None and move on."""
        due = self.seq + 1
        if seq != due:
            return Problem(due, _missing(due, seq))
        if not isinstance(data, bytes) or (start := _START.match(data)) is None:
            return Problem(due, f"event {due} is not an event: its stored bytes do not begin like one")
        version, run, named = start.groups()
        if int(version) != FORMAT:
            return Problem(due, f"event {due} has format {int(version)}, this version of cutover reads {FORMAT}")
        if int(named) != due:
            return Problem(due, f"where event {due} belongs is one that says it is event {int(named)}")
        self.run = run if self.run is None else self.run
        if run != self.run:
            return Problem(due, f"event {due} is of run {_text(run)}, expected run {_text(self.run)}")
        prev = _prev(data)
        if self.head is not None and prev != self.head:
            said = f"event {due} says that the event before has hash {prev[:12]}, found {self.head[:12]}"
            return Problem(due, said, link=True)
        self.seq, self.head = seq, digest(data)
        return None


def verify(rows: Iterable[Row], *, run: str | None = None, head: Head | None = None) -> ChainReport:
    """Check every row of a journal, from the first. Streams: memory does not grow with the journal.

    run: the run it must be (None: that of its first event). head: the last event known to have been durable; then
    missing events at the end and a change to the last event are seen too, up to there.
    A JournalCorrupt raised by `rows` (the storage below cannot read on) becomes the report's problem.
    """
    chain = Chain(run=run)
    last: bytes | None = None
    rows = iter(rows)
    try:
        for seq, data in rows:
            problem = chain.broken_by(seq, data)
            if problem is not None:
                return _report(chain, _placed(problem, chain, data, rows, head))
            if head is not None and seq == head.seq and chain.head != head.digest:
                return _report(chain, Problem(seq, _altered(seq, head.digest, chain.head)))
            last = data
        if last is not None:
            decode(last)
    except JournalCorrupt as unreadable:
        return _report(chain, Problem(chain.seq + 1, str(unreadable)))
    except (ValueError, KeyError, TypeError) as reason:
        return _report(chain, Problem(chain.seq, f"event {chain.seq} cannot be decoded: {reason}"))
    if head is not None and head.seq > chain.seq:
        return _report(chain, Problem(chain.seq + 1, _cut(chain.seq, head.seq), lost_end=True))
    return _report(chain, None)


def _report(chain: Chain, problem: Problem | None) -> ChainReport:
    count = chain.seq
    if problem is not None and problem.seq <= count:
        # The event at fault was already taken: it was shown to be bad by what came after.
        count = problem.seq - 1
    return ChainReport(count, chain.head or GENESIS, problem)


def _placed(problem: Problem, chain: Chain, data: object, rest: Iterator[Row], head: Head | None) -> Problem:
    """Tell which of two events was altered when a `prev` does not match, if anything vouches for one of them.

    The row behind the later one carries the hash that the later one had; the head knows the hash of one event.
    """
    earlier, later = chain.seq, chain.seq + 1
    if not problem.link or earlier == 0 or not isinstance(data, bytes):
        return problem
    try:
        after = next(rest, None)
    except JournalCorrupt:
        after = None
    if after is not None:
        intact = isinstance(after[1], bytes) and _prev(after[1]) == digest(data)
    elif head is not None and head.seq in (earlier, later):
        intact = head == (later, digest(data))
    else:
        return Problem(earlier, f"{problem.sentence}: one of the two was altered")
    altered = earlier if intact else later
    return Problem(altered, f"event {altered} was altered: {problem.sentence}")


def _prev(data: bytes) -> str:
    at = data.find(_PREV)
    if at < 0:
        return ""
    return data[at + len(_PREV) : at + len(_PREV) + 64].decode("ascii", errors="replace")


def _missing(due: int, found: int) -> str:
    if found < due:
        return f"event {found} comes again where event {due} belongs"
    names = f"event {due} is" if found == due + 1 else f"events {due} to {found - 1} are"
    return f"{names} missing: the next one found is event {found}"


def _altered(seq: int, expected: str, found: str | None) -> str:
    return f"event {seq} was altered: it was written with hash {expected[:12]}, found {(found or '')[:12]}"


def _cut(last: int, durable: int) -> str:
    here = f"ends at event {last}" if last else "holds no event"
    return f"the journal {here}, but event {durable} had been written and synced: its end was lost or cut off"


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", errors="backslashreplace")
