"""The engine's end of the protocol: a Unix socket that followers read events from and commanders send commands to.

Followers cannot hold up the engine: each has a task of its own that reads from a tail of recent events, or from the
journal when it has fallen behind; only durable events are ever sent.
"""

import asyncio
import os
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from cutover.errors import JournalError
from cutover.model.events import Event, encode
from cutover.ports import Reader
from cutover.protocol import MAX_LINE, PROTOCOL, Message, pack, short_address, unpack

TAIL = 4_096
# A follower that has not read for this long, with a full socket, is let go; it can come back and follow on.
SEND_TIMEOUT = 30.0

Take = Callable[[Message], Awaitable[dict[str, Any]]]


class Server:
    """Serves one engine start."""

    def __init__(self, path: Path, hello: Message, reader: Reader, take: Take) -> None:
        """`take` decides on commands; `reader` is for followers that ask for older events."""
        self._path = path
        self._hello = {"type": "hello", "protocol": PROTOCOL, **hello}
        self._reader = reader
        self._take = take
        self._tail: deque[tuple[int, bytes]] = deque(maxlen=TAIL)
        self._seq = int(hello.get("seq", 0))
        self._news = asyncio.Event()
        self._clients: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    def saw(self, events: Sequence[Event]) -> None:
        """Observe what became durable."""
        for event in events:
            self._tail.append((event.seq, encode(event)))
            self._seq = event.seq
        self._news.set()
        self._news = asyncio.Event()

    async def open(self) -> None:
        """Listen. The folder is 0700 already; the peer's uid is checked besides."""
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with short_address(self._path) as address:
            listener.bind(address)
        os.chmod(self._path, 0o600)
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=MAX_LINE)

    async def close(self) -> None:
        """Send followers what they have not seen yet, then hang up."""
        self._news.set()
        if self._server:
            self._server.close()
        if self._clients:
            await asyncio.wait(self._clients, timeout=2.0)
        for client in list(self._clients):
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        followers: list[asyncio.Task[None]] = []
        try:
            if not _same_user(writer):
                return
            await _send(writer, {**self._hello, "seq": self._seq})
            await self._converse(reader, writer, followers)
        except (ConnectionError, TimeoutError, ValueError, JournalError, asyncio.CancelledError):
            pass  # what cannot be recorded ends the engine itself, with its own words
        finally:
            for follower in followers:
                follower.cancel()
            await asyncio.gather(*followers, return_exceptions=True)
            writer.close()
            self._clients.discard(task)

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, followers: list[asyncio.Task[None]]
    ) -> None:
        while line := await self._line(reader, followers):
            try:
                message = unpack(line)
            except ValueError as problem:
                await _send(writer, {"type": "error", "why": f"not understood: {problem}"})
                continue
            match message.get("type"):
                case "follow":
                    start = message.get("from_seq", 0)
                    follow = self._follow(writer, start if isinstance(start, int) else 0)
                    followers.append(asyncio.ensure_future(follow))
                case "command":
                    answer = await self._take(message)
                    await _send(writer, {"type": "reply", "id": message.get("id"), **answer})
                case other:
                    await _send(writer, {"type": "error", "why": f"no message has the type {other!r}"})

    async def _line(self, reader: asyncio.StreamReader, followers: list[asyncio.Task[None]]) -> bytes:
        """The next line; empty at the end of the conversation, which for a follower is the end of the server."""
        line = asyncio.ensure_future(reader.readline())
        waits: list[asyncio.Future[Any]] = [line, *followers]
        done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if line in done:
            return line.result()
        line.cancel()
        return b""

    async def _follow(self, writer: asyncio.StreamWriter, seq: int) -> None:
        while True:
            news = self._news
            for number, data in self._after(seq):
                writer.write(b'{"type":"event","event":' + data + b"}\n")
                seq = number
                if writer.transport.get_write_buffer_size() > MAX_LINE:
                    await asyncio.wait_for(writer.drain(), SEND_TIMEOUT)
            await asyncio.wait_for(writer.drain(), SEND_TIMEOUT)
            if seq >= self._seq:
                if self._server is not None and not self._server.is_serving():
                    return
                await news.wait()

    def _after(self, seq: int) -> list[tuple[int, bytes]]:
        if self._tail and self._tail[0][0] <= seq + 1:
            return [(number, data) for number, data in self._tail if number > seq]
        return [(event.seq, encode(event)) for event in self._reader.events(after=seq)]


async def _send(writer: asyncio.StreamWriter, message: Message) -> None:
    writer.write(pack(message))
    await asyncio.wait_for(writer.drain(), SEND_TIMEOUT)


def _same_user(writer: asyncio.StreamWriter) -> bool:
    peer = writer.get_extra_info("socket")
    if not hasattr(socket, "SO_PEERCRED"):
        return True  # the folder's mode is the only guard there
    _, uid, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return bool(uid == os.getuid())
