"""A reader that comes just while another process's writer closes the journal reads it all the same."""

import subprocess
import sys
from pathlib import Path

from cutover.journal.reader import JournalReader

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
