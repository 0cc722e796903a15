"""A clock, an origin and drafts for the journal's tests."""

import asyncio
import shutil
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cutover.journal.sqlite import SqliteJournal
from cutover.model.events import Draft, Event, Origin

ORIGIN = Origin(run="7f3a9c", boot_id="boot-1", plan="sha256:plan", tool="cutover/0.1.0")


class TickingClock:
    """Each look is a millisecond later; sleeping is real but short, so that timers do not slow the tests down."""

    def __init__(self) -> None:
        self.now = 0.0

    def utc(self) -> datetime:
        return datetime(2026, 11, 23, 21, 0, tzinfo=UTC) + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        self.now += 0.001
        return self.now

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.02))


def decision(number: int, **body: object) -> Draft:
    return Draft("act.intent", "stop-web", {"number": number, **body}, host="basement.db")


def telemetry(number: int, **body: object) -> Draft:
    return Draft("poll.sample", "stop-web", {"number": number, **body})


def numbers(events: Iterable[Event]) -> list[int]:
    return [event.body["number"] for event in events]


def opened(path: Path, **options: object) -> SqliteJournal:
    return SqliteJournal.open(path, ORIGIN, TickingClock(), threaded=False, reserve=False, **options)  # type: ignore[arg-type]


async def write(path: Path, count: int, **body: object) -> None:
    """A closed journal of `count` decisions, one commit each."""
    journal = opened(path)
    for number in range(1, count + 1):
        journal.record(decision(number, **body))
        await journal.commit()
    await journal.close()


def copy_of(path: Path, to: Path, *suffixes: str) -> Path:
    """A copy of a journal's main file and of the companions named, as after a power cut."""
    to.mkdir(exist_ok=True)
    for suffix in ("", *suffixes):
        shutil.copyfile(path.with_name(path.name + suffix), to / (path.name + suffix))
    return to / path.name
