"""The other end of the protocol: `ctl`, `attach` and, later, the screen."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from cutover.errors import EngineGone
from cutover.model.events import Event
from cutover.protocol import MAX_LINE, PROTOCOL, Message, pack, short_address, unpack

CONNECT_TIMEOUT = 5.0


class Client:
    """One connection to a running engine."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hello: Message) -> None:
        """Use `connect`."""
        self._reader = reader
        self._writer = writer
        self.hello = hello

    @classmethod
    async def connect(cls, path: Path) -> "Client":
        """Connect to the engine at that socket. Raises EngineGone where none answers."""
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                with short_address(path) as address:
                    reader, writer = await asyncio.open_unix_connection(address, limit=MAX_LINE)
                hello = unpack(await reader.readline())
        except (OSError, TimeoutError, ValueError):
            if writer is not None:
                writer.close()
            raise EngineGone("no engine answers for this run: `cutover resume` starts one") from None
        if hello.get("protocol") != PROTOCOL:
            raise EngineGone(f"the engine speaks protocol {hello.get('protocol')}, this client {PROTOCOL}")
        return cls(reader, writer, hello)

    async def follow(self, from_seq: int = 0) -> AsyncIterator[Event]:
        """The durable events after `from_seq`, and those to come, until the engine ends."""
        with suppress(ConnectionError):
            self._writer.write(pack({"type": "follow", "from_seq": from_seq}))
            await self._writer.drain()
        while True:
            message = await self._receive()
            if message is None:
                return
            if message.get("type") == "event":
                yield Event(**message["event"])

    async def command(self, name: str, verb: str, args: dict[str, Any], actor: str, **guards: Any) -> Message:
        """Give one command; the answer has `accepted` or `refused`. guards: expect_seq, plan."""
        message = {"type": "command", "id": name, "verb": verb, "args": args, "actor": actor, **guards}
        with suppress(ConnectionError):  # the answer, or that there is none, says it all
            self._writer.write(pack(message))
            await self._writer.drain()
        while (answer := await self._receive()) is not None:
            if answer.get("type") == "reply" and answer.get("id") == name:
                return answer
        raise EngineGone("the engine went away before it answered; `cutover status` shows what was decided")

    async def close(self) -> None:
        """Hang up; the engine does not notice."""
        self._writer.close()

    async def _receive(self) -> Message | None:
        try:
            line = await self._reader.readline()
            return unpack(line) if line else None
        except (OSError, ValueError):
            return None
