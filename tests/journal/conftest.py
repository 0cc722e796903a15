"""The backend of asynchronous tests, and a place for a journal."""

from pathlib import Path

import pytest

from tests.journal.helpers import TickingClock


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def clock() -> TickingClock:
    return TickingClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"
