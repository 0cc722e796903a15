"""A state directory and worlds for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.worlds import Worlds


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CUTOVER_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def worlds(tmp_path: Path, state: Path) -> Iterator[Worlds]:
    worlds = Worlds(tmp_path)
    yield worlds
    worlds.close()
