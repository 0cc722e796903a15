"""A reader that comes just while another process's writer closes the journal reads it all the same."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cutover.journal.reader import JournalReader
from tests.journal.helpers import decision, opened

WRITER = """
import asyncio, sys
from pathlib import Path
from tests.journal.helpers import decision, opened

async def write():
    for number in range(40):
        journal = opened(Path(sys.argv[1]))
        journal.record(decision(number))
        await journal.commit()
        await journal.close()
        print(number, flush=True)

asyncio.run(write())
"""


def test_a_reader_beside_a_writer_that_opens_and_closes(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    reads = 0
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"0\n"
        while writer.poll() is None:
            with JournalReader(path) as reader:
                assert reader.events()
            reads += 1
    assert writer.returncode == 0
    assert reads > 20


@pytest.mark.anyio
async def test_the_wal_goes_while_it_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, wal = tmp_path / "journal.db", tmp_path / "journal.db-wal"
    journal = opened(path)
    journal.record(decision(1))
    await journal.commit()
    await journal.close()
    wal.write_bytes(b"\0" * 4096)  # the -shm has gone already
    copy = shutil.copyfile

    def late(source: Path, target: Path) -> None:
        wal.unlink(missing_ok=True)
        copy(source, target)

    monkeypatch.setattr(shutil, "copyfile", late)
    with JournalReader(path) as reader:
        assert reader.events()
