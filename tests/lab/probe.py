"""The users of the story: many small writes with ids of their own, through each edge, and what became of each.

Runs on an operators' host, alone, and knows nothing of the tool under test. Writes one line of JSON per write:
`acked` (201: it must never be lost), `failed` (another answer, or never sent) or `unknown` (sent, no answer).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
import time
from urllib.parse import urlencode

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class NoAnswer(Exception):
    """A connection that ended before the first byte of an answer."""


class Users:
    """Those who come through one edge: they hold connections open, and resend once on a new one, as browsers do."""

    def __init__(self, run: str, edge: str, timeout: float) -> None:
        self.run, self.edge, self.timeout = run, edge, timeout
        self.idle: list[Connection] = []

    async def write(self, number: int) -> None:
        ident = f"{self.run}-{self.edge}-{number}"
        line = {"id": ident, "edge": self.edge, "sent": time.time(), "fate": "unknown", "resent": False}
        try:
            async with asyncio.timeout(self.timeout):
                await self._send(urlencode({"id": ident, "edge": self.edge}), line)
        except (TimeoutError, OSError, NoAnswer, asyncio.IncompleteReadError, LookupError, ValueError) as error:
            line["why"] = f"{type(error).__name__}: {error}"
        print(json.dumps(line | {"ended": time.time()}), flush=True)

    async def _send(self, body: str, line: dict[str, object]) -> None:
        while self.idle:
            connection = self.idle.pop()
            if connection[0].at_eof():
                connection[1].close()
                continue
            try:
                await self._exchange(connection, body, line)
                return
            except (NoAnswer, OSError):
                line["resent"] = True
                break
        try:
            connection = await asyncio.open_connection(self.edge, 80)
        except BaseException:
            if not line["resent"]:
                line["fate"] = "failed"
            raise
        await self._exchange(connection, body, line)

    async def _exchange(self, connection: Connection, body: str, line: dict[str, object]) -> None:
        reader, writer = connection
        keep = False
        try:
            head = f"POST /posts HTTP/1.1\r\nHost: story.test\r\nContent-Length: {len(body)}\r\n"
            writer.write(f"{head}Content-Type: application/x-www-form-urlencoded\r\n\r\n{body}".encode())
            status, headers = await self._answer(reader)
            line |= {"status": status, "by": headers.get("x-app-host"), "fate": "acked" if status == 201 else "failed"}
            keep = headers.get("connection", "keep-alive").lower() != "close"
        finally:
            if keep:
                self.idle.append(connection)
            else:
                writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
        first = await reader.readline()
        if not first:
            raise NoAnswer("closed")
        headers = {}
        while (line := (await reader.readline()).decode().strip()) != "":
            key, _, value = line.partition(":")
            headers[key.lower()] = value.strip()
        await reader.readexactly(int(headers["content-length"]))
        return int(first.split()[1]), headers


async def come(users: Users, rate: float, stop: asyncio.Event) -> None:
    """`rate` writes a second, at their times whatever became of those before, until told to stop."""
    started, number = time.monotonic(), 0
    async with asyncio.TaskGroup() as writes:
        while not stop.is_set():
            writes.create_task(users.write(number))
            number += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), max(0.0, started + number / rate - time.monotonic()))


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run")
    parser.add_argument("edges", nargs="+")
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--timeout", type=float, default=5.0)
    arguments = parser.parse_args()
    stop = asyncio.Event()
    for end in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(end, stop.set)
    everybody = [Users(arguments.run, edge, arguments.timeout) for edge in arguments.edges]
    await asyncio.gather(*(come(users, arguments.rate, stop) for users in everybody))


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
