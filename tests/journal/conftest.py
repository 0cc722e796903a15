"""A clock and an origin for journals, and the backend of asynchronous tests."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cutover.model.events import Draft, Origin

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


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def clock() -> TickingClock:
    return TickingClock()


@pytest.fixture
def origin() -> Origin:
    return ORIGIN


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"
