"""The real clock. Only here and in the fault injector are clocks read."""

import asyncio
import time
from datetime import UTC, datetime


class RealClock:
    """Implements ports.Clock over this machine's clocks."""

    def utc(self) -> datetime:
        """Now, as an aware datetime in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that only go forward, with time spent suspended where the system counts it."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Let `seconds` pass."""
        await asyncio.sleep(seconds)
