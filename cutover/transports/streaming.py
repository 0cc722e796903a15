"""A long act's output as it comes: its spool, read by second, read-only calls beside it."""

import asyncio
from collections.abc import Awaitable, Callable

from cutover.model.effects import Command, OnHost, Receipt, Reply
from cutover.ports import Clock, Output
from cutover.transports.secrets import Secrets

_EVERY = 1.0
_CHUNK = 65_536
_PATIENCE = 10.0


class Tail:
    """Follows the spool of one act and passes on what is new, scrubbed; `finish` passes on what is left."""

    def __init__(
        self,
        effect: OnHost,
        directory: str,
        read: Callable[[OnHost], Awaitable[Reply]],
        output: Output,
        secrets: Secrets,
        clock: Clock,
    ) -> None:
        """read: performs a reading OnHost on a channel of its own."""
        receipt = effect.receipt or Receipt("", "", 0)
        self._spool = f"{directory}/spool/{receipt.run}/{receipt.act}.{receipt.attempt}"
        self._host = effect.host
        self._read = read
        self._output = output
        self._secrets = secrets
        self._clock = clock
        self._number = 1
        self._next_began = False
        self._seen: dict[tuple[int, int], int] = {}
        self._held: dict[tuple[int, int], bytes] = {}
        self._started = False

    async def follow(self) -> None:
        """Poll until cancelled. A read that fails is tried again: the act itself is not touched by it."""
        while True:
            await self._clock.sleep(_EVERY)
            self._started = True
            await self._poll()

    def finish(self, reply: Reply) -> None:
        """Pass on what the reply holds beyond what was seen; nothing when the act was too short to be followed."""
        if not self._started:
            return
        for number, command in enumerate(reply.commands, 1):
            for stream, data in ((1, command.stdout), (2, command.stderr)):
                self._take((number, stream), data[self._seen.get((number, stream), 0) :])
                self._flush((number, stream))

    async def _poll(self) -> None:
        wanted = [(self._number, 1), (self._number, 2), (self._number + 1, 1)]
        commands = tuple(
            Command(("tail", "-c", f"+{self._seen.get(key, 0) + 1}", f"{self._spool}.{key[0]}.{key[1]}"))
            for key in wanted
        )
        reply = await self._read(OnHost(host=self._host, commands=commands, timeout=_PATIENCE, reads=True, cap=_CHUNK))
        done = [command for command in reply.commands if command.exit == 0]
        for key, command in zip(wanted, done, strict=False):
            if key[0] == self._number:
                self._take(key, command.stdout)
        # The last bytes of a command may come between its read and the sight of the next one: read it once more.
        if len(done) == len(wanted) and self._next_began:
            for stream in (1, 2):
                self._flush((self._number, stream))
            self._number += 1
            self._next_began = False
        else:
            self._next_began = len(done) == len(wanted)

    def _take(self, key: tuple[int, int], data: bytes) -> None:
        self._seen[key] = self._seen.get(key, 0) + len(data)
        shown, self._held[key] = self._secrets.scrub_stream(self._held.get(key, b"") + data)
        if shown:
            self._output(key[1], shown)

    def _flush(self, key: tuple[int, int]) -> None:
        if rest := self._held.pop(key, b""):
            self._output(key[1], self._secrets.scrub(rest))


async def end_of(task: asyncio.Task[None]) -> None:
    """Cancel a task of ours and wait until it is gone."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
