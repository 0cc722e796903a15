"""Held SSH connections: one per host, strict host keys, keepalives, noticed within seconds when dead.

Every call is one channel with the same command, `exec /bin/sh`, and everything else on its stdin. The text is written
right behind the request, without waiting for its answer: a call on a held connection takes two round trips.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import asyncssh

from cutover.transports.answers import Ending
from cutover.transports.host_keys import HostKeys
from cutover.transports.ssh_config import Route, find_route

CONNECT_SECONDS = 20.0
KEEPALIVE_SECONDS = 2
KEEPALIVE_MISSES = 3
_GOODBYE_SECONDS = 1.0
# What OpenSSH offers, but AES-GCM first: asyncssh makes a packet of ChaCha20-Poly1305 out of so many small calls that a
# held call takes half as much again of the processor.
_CIPHERS = (
    "aes256-gcm@openssh.com",
    "aes128-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes256-ctr",
    "aes192-ctr",
    "aes128-ctr",
)

Sink = Callable[[int, bytes], None]


@dataclass(frozen=True, slots=True)
class Target:
    """A host as the plan knows it.

    destination: `[user@]name[:port]`, resolved through the user's SSH configuration. host_keys: pinned public keys
    (`type base64`); empty means the user's known_hosts. machine_id: what /etc/machine-id must hold, None if not pinned.
    """

    name: str
    destination: str
    host_keys: tuple[str, ...] = ()
    machine_id: str | None = None
    state_directory: str = "/var/lib/cutover"


class Unsent(Exception):
    """Nothing was sent, so nothing was done: becomes a refused Reply."""

    def __init__(self, code: str, detail: str) -> None:
        """code and detail: those of the Reply."""
        super().__init__(detail)
        self.code = code
        self.detail = detail


class Call(asyncssh.SSHClientSession[bytes]):
    """One call over one channel. `sent` is False until the text has left: up to then nothing can have acted."""

    def __init__(self, text: bytes, sink: Sink) -> None:
        self.sent = False
        self._text = text
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[Ending] = self._loop.create_future()
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None
        self._exit: int | None = None
        self._signal: str | None = None

    async def ended(self) -> Ending:
        """Wait for the end of the call, or of the connection."""
        return await self._ended

    def fail(self, why: str) -> None:
        """The connection broke while the call was under way."""
        if not self._ended.done():
            self._ended.set_result(Ending(None, None, why))

    def abandon(self) -> None:
        """Let go of the channel; what runs at the other side goes on. What was not sent by now never is."""
        if not self._ended.done():
            self._ended.cancel()
        if self._channel is not None:
            self._channel.abort()

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        """The channel is open; asyncssh sends the request for the shell before it yields to the loop."""
        self._channel = chan
        self._loop.call_soon(self._send)

    def _send(self) -> None:
        if self._channel is None:
            return
        if self._ended.cancelled():
            self._channel.abort()
            return
        with contextlib.suppress(BrokenPipeError):  # the connection ended first: connection_lost says so
            self.sent = True
            self._channel.write(self._text)

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Output: passed on at once, kept by nobody here."""
        self._sink(2 if datatype else 1, data)

    def exit_status_received(self, status: int) -> None:
        """The exit of the shell."""
        self._exit = status

    def exit_signal_received(self, signal: str, _core_dumped: bool, _msg: str, _lang: str) -> None:
        """The signal that ended it."""
        self._signal = signal

    def connection_lost(self, exc: Exception | None) -> None:
        """The channel is closed. Without exit and signal nobody knows how it ended, whatever asyncssh makes of it."""
        if not self._ended.done():
            self._ended.set_result(Ending(self._exit, self._signal, str(exc) if exc else "the channel was closed"))


class Jumps:
    """The connections to jump hosts, shared by all that go through them."""

    def __init__(self, config: Sequence[str]) -> None:
        self._config = config
        self._open: dict[tuple[str, ...], asyncio.Task[asyncssh.SSHClientConnection]] = {}

    async def reach(self, jumps: tuple[str, ...]) -> asyncssh.SSHClientConnection | None:
        """The connection to the last of the jumps, opened through those before it. Raises Unsent."""
        if not jumps:
            return None
        task = self._open.get(jumps)
        if task is None or (task.done() and (task.cancelled() or task.exception() or task.result().is_closed())):
            task = self._open[jumps] = asyncio.create_task(self._hop(jumps))
        return await asyncio.shield(task)

    async def _hop(self, jumps: tuple[str, ...]) -> asyncssh.SSHClientConnection:
        *before, last = jumps
        route = route_to(last, self._config)
        tunnel = await self.reach(tuple(before) or route.jumps)
        return await open_connection(f"jump host {last}", route, (), tunnel)

    async def close(self) -> None:
        """Let go of them all."""
        for task in self._open.values():
            if not task.done():
                task.cancel()
            elif not task.cancelled() and task.exception() is None:
                await let_go(task.result())


async def let_go(connection: asyncssh.SSHClientConnection) -> None:
    """Close a connection, politely for a moment."""
    connection.close()
    try:
        await asyncio.wait_for(connection.wait_closed(), _GOODBYE_SECONDS)
    except TimeoutError:
        connection.abort()


async def open_connection(
    host: str,
    route: Route,
    pinned: Sequence[str],
    tunnel: asyncssh.SSHClientConnection | None,
) -> asyncssh.SSHClientConnection:
    """Open and log in. Raises Unsent with the sentence that says why not."""
    where = f"{host} ({route.options.username}@{route.options.host}:{route.options.port})"
    try:
        keys = HostKeys(host, route.name, pinned, route.known_hosts)
        return await asyncio.wait_for(_connect(route, keys, tunnel), CONNECT_SECONDS)
    except asyncssh.HostKeyNotVerifiable as problem:
        raise Unsent("host-key", keys.refusal(problem)) from None
    except asyncssh.KeyExchangeFailed as problem:
        code = "host-key" if "host key" in str(problem) else "unreachable"
        raise Unsent(code, keys.refusal(problem) if code == "host-key" else f"{where}: {problem}") from None
    except asyncssh.PermissionDenied as problem:
        raise Unsent(
            "login",
            f"{where} does not accept the login: {problem}. Keys tried: the agent's and "
            f"{', '.join(route.identity_files) or 'the default files'}; one with a passphrase needs the agent: ssh-add",
        ) from None
    except TimeoutError:
        raise Unsent("unreachable", f"{where} did not answer within {CONNECT_SECONDS:g} s") from None
    except (OSError, ValueError, asyncssh.Error) as problem:
        raise Unsent("unreachable", f"{where}: {problem}") from None


async def _connect(
    route: Route, keys: HostKeys, tunnel: asyncssh.SSHClientConnection | None
) -> asyncssh.SSHClientConnection:
    options = route.options
    return await asyncssh.connect(
        options.orig_host,
        config=options.kwargs["config"],
        options=options,
        tunnel=tunnel,
        client_factory=lambda: keys,
        known_hosts=keys.known,
        server_host_key_algs=options.config.get("HostKeyAlgorithms", keys.types()),
        client_keys=(),
        agent_path=(),
        password_auth=False,
        kbdint_auth=False,
        host_based_auth=False,
        encryption_algs=() if options.config.get("Ciphers") else _CIPHERS,
        agent_forwarding=False,
        connect_timeout=CONNECT_SECONDS,
        login_timeout=CONNECT_SECONDS,
        keepalive_interval=KEEPALIVE_SECONDS,
        keepalive_count_max=KEEPALIVE_MISSES,
    )


def route_to(destination: str, config: Sequence[str]) -> Route:
    """`find_route`, with what is wrong in the configuration as Unsent."""
    try:
        return find_route(destination, config)
    except (OSError, ValueError, asyncssh.Error) as problem:
        raise Unsent("unreachable", f"the SSH configuration for {destination}: {problem}") from None
