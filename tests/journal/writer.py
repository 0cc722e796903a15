"""A process that writes a journal until it is killed: `python -m tests.journal.writer PATH decisions telemetry`.

Prints the seq of each acknowledged decision, as soon as it is acknowledged.
"""

import asyncio
import os
import sys
from pathlib import Path

from cutover.journal.sqlite import SqliteJournal
from tests.journal.helpers import ORIGIN, TickingClock, decision, telemetry


async def main(path: Path, decisions: int, flushes: int) -> None:
    """Negative `decisions`: for ever, in three branches, with telemetry between."""
    journal = SqliteJournal.open(path, ORIGIN, TickingClock(), reserve=False)
    for number in range(max(decisions, 0)):
        journal.record(telemetry(number), decision(number))
        await journal.commit()
    for number in range(flushes):
        journal.record(telemetry(number))
        await journal.flush_telemetry()

    async def branch() -> None:
        number = 0
        while True:
            number += 1
            journal.record(telemetry(number, text="x" * (number * 37 % 3000)), decision(number))
            events = await journal.commit()
            os.write(1, b"%d\n" % events[-1].seq)

    if decisions < 0:
        await asyncio.gather(branch(), branch(), branch())
    os._exit(0)  # no close: its own syncs are not counted


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
