"""The held connection to one host: opened and checked when first needed, and again once it was lost."""

import asyncio
import contextlib
from collections.abc import Sequence
from secrets import token_hex

import asyncssh

from cutover.transports.answers import Ending, MarkedStream, no_shell
from cutover.transports.ssh import CONNECT_SECONDS, Call, Jumps, Target, Unsent, let_go, open_connection, route_to
from cutover.transports.wrapper import REMOTE_COMMAND, render_identity

# sshd's MaxSessions is 10: two are left for reading spools beside eight long acts.
_CHANNELS = 8
_SAID = 200


class Line:
    """One host's connection and the channels on it."""

    def __init__(self, target: Target, config: Sequence[str], jumps: Jumps) -> None:
        self.target = target
        self._config = config
        self._jumps = jumps
        self._channels = asyncio.Semaphore(_CHANNELS)
        self._connection: asyncssh.SSHClientConnection | None = None
        self._opening: asyncio.Task[asyncssh.SSHClientConnection] | None = None
        self._retired: list[asyncssh.SSHClientConnection] = []

    async def connection(self) -> asyncssh.SSHClientConnection:
        """The live connection, opened if need be; all who ask meanwhile share one opening. Raises Unsent."""
        if self._connection is not None and not self._connection.is_closed():
            return self._connection
        if self._opening is None:
            self._opening = asyncio.create_task(self._open())
            self._opening.add_done_callback(self._opened)
        return await asyncio.shield(self._opening)

    async def run(self, call: Call, *, beside: bool = False) -> Ending:
        """Make the call and wait for its end. Raises Unsent when certainly nothing was done.

        beside: do not wait for a free channel: a short read beside long acts.
        """
        async with contextlib.nullcontext() if beside else self._channels:
            try:
                await self._start(call)
                return await call.ended()
            finally:
                call.abandon()

    async def close(self) -> None:
        """Let go; what runs at the host goes on."""
        if self._opening is not None:
            self._opening.cancel()
        held = [connection for connection in (self._connection, *self._retired) if connection is not None]
        await asyncio.gather(*map(let_go, held))

    async def _start(self, call: Call) -> None:
        """Open a channel; where none can be had, once more on a new connection, as nothing was sent yet."""
        connection = await self.connection()
        try:
            await _channel(connection, call)
        except (OSError, asyncssh.Error) as problem:
            if call.sent:
                call.fail(str(problem))
                return
            # Lost without a word, or every session of it is taken by acts that were given up.
            self._retire(connection)
            try:
                await _channel(await self.connection(), call)
            except (OSError, asyncssh.Error) as again:
                if not call.sent:
                    raise Unsent("unreachable", f"{self.target.name}: {again}") from problem
                call.fail(str(again))

    async def _open(self) -> asyncssh.SSHClientConnection:
        try:
            async with asyncio.timeout(2 * CONNECT_SECONDS):
                return await self._open_checked()
        except TimeoutError:
            raise Unsent("unreachable", f"no way to {self.target.name} within {2 * CONNECT_SECONDS:g} s") from None

    async def _open_checked(self) -> asyncssh.SSHClientConnection:
        target = self.target
        route = route_to(target.destination, self._config)
        tunnel = await self._jumps.reach(route.jumps)
        connection = await open_connection(target.name, route, target.host_keys, tunnel)
        if target.machine_id is not None:
            try:
                await _check_identity(connection, target)
            except BaseException:
                connection.abort()
                raise
        return connection

    def _opened(self, opening: asyncio.Task[asyncssh.SSHClientConnection]) -> None:
        self._opening = None
        if not opening.cancelled() and opening.exception() is None:
            self._connection = opening.result()

    def _retire(self, connection: asyncssh.SSHClientConnection) -> None:
        if self._connection is connection:
            self._connection = None
        if not connection.is_closed():
            self._retired.append(connection)


async def _channel(connection: asyncssh.SSHClientConnection, call: Call) -> None:
    """Open one channel for the call. Shielded: a half-opened channel is finished and then let go, never leaked."""
    opening = asyncio.create_task(
        connection.create_session(
            lambda: call,
            REMOTE_COMMAND,
            subsystem=None,
            env={},
            send_env=(),
            request_pty=False,
            x11_forwarding=False,
            encoding=None,
        )
    )
    opening.add_done_callback(lambda task: task.cancelled() or task.exception())
    await asyncio.shield(opening)


async def _check_identity(connection: asyncssh.SSHClientConnection, target: Target) -> None:
    """Compare the machine id with the pinned one. Raises Unsent."""
    nonce = token_hex(8)
    out, err = MarkedStream(nonce, _SAID), MarkedStream(nonce, _SAID)
    call = Call(render_identity(nonce), lambda stream, data: (out if stream == 1 else err).feed(data))
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await _channel(connection, call)
            await call.ended()
    except (TimeoutError, OSError, asyncssh.Error) as problem:
        why = str(problem) or "no answer"
        raise Unsent("unreachable", f"{target.name} let us in but answers no command: {why}") from None
    finally:
        call.abandon()
    if len(parts := out.close()) < 2:
        reply = no_shell(target.name, bytes(parts[0].data), bytes(err.close()[0].data))
        raise Unsent(reply.code, reply.detail)
    if (found := parts[1].title.strip()) != target.machine_id:
        raise Unsent(
            "identity",
            f"{target.name} is machine {found or '(no id)'}, not the pinned {target.machine_id}: not touched",
        )
