"""A real process: killed in the middle of its writes, and watched by strace."""

import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cutover.journal.reader import JournalReader
from tests.journal.helpers import decision, opened

pytestmark = pytest.mark.anyio


def writer(path: Path, decisions: int, flushes: int) -> list[str]:
    return [sys.executable, "-m", "tests.journal.writer", str(path), str(decisions), str(flushes)]


async def test_killed_at_any_moment_every_acknowledged_decision_is_there(tmp_path: Path) -> None:
    """One journal through many lives: each is killed, read by a reader that was there all along, and resumed."""
    dice = random.Random(11)
    path = tmp_path / "journal.db"
    watching: JournalReader | None = None
    before: list[bytes] = []
    for _ in range(20):
        with subprocess.Popen(writer(path, -1, 0), stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            said = child.stdout.readline()
            time.sleep(dice.random() * 0.05)
            child.kill()
            said += child.stdout.read()
        acknowledged = [int(line) for line in said.split(b"\n")[:-1] if line]
        with JournalReader(path) as reader:
            report = reader.verify()
            rows = [data for _, data in reader._rows(0)]
        assert report.ok, report.problem
        assert len(rows) >= max(acknowledged)
        assert rows[: len(before)] == before, "what was there is still there"
        watching = watching or JournalReader(path)
        assert len(watching.events(len(before))) == len(rows) - len(before) > 0
        before = rows
    assert watching is not None
    watching.close()
    journal = opened(path)
    journal.record(decision(1))
    await journal.commit()
    await journal.close()


def syncs(path: Path, decisions: int, flushes: int) -> int:
    trace = path.with_name("trace")
    command = ["strace", "-f", "-qq", "-e", "trace=fsync,fdatasync,sync_file_range,msync,sync", "-o", str(trace)]
    subprocess.run([*command, *writer(path, decisions, flushes)], check=True)
    return len(re.findall(r"\b(?:fsync|fdatasync|sync_file_range|msync|sync)\(", trace.read_text()))


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_a_decision_costs_one_sync_and_telemetry_none(tmp_path: Path) -> None:
    few = syncs(tmp_path / "few.db", 5, 0)
    assert syncs(tmp_path / "many.db", 55, 0) - few == 50
    assert syncs(tmp_path / "telemetry.db", 5, 200) == few
