"""Who runs one command on every host of a farm: each in a process of its own, started by `benchmarks.ssh`.

`python -m benchmarks.contenders NAME DIRECTORY SIZE ROUNDS` connects and runs once (cold), then runs ROUNDS times more
over the connections that it holds, and prints a JSON line: when it began, seconds and processor seconds of each.
"""

import asyncio
import importlib
import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage

from benchmarks.farm import PORT, USER, Farm

COMMAND = "cat /etc/machine-id"


@dataclass
class Laps:
    """Seconds by the clock and of the processor, lap by lap."""

    began: float = field(default_factory=time.monotonic)
    laps: list[tuple[float, float]] = field(default_factory=list)
    _wall: float = field(default_factory=time.monotonic)
    _processor: float = field(default_factory=lambda: processor_seconds())

    def lap(self) -> None:
        """End one, begin the next."""
        wall, processor = time.monotonic(), processor_seconds()
        self.laps.append((wall - self._wall, processor - self._processor))
        self.restart()

    def restart(self) -> None:
        """Let go of what passed since the last lap."""
        self._wall, self._processor = time.monotonic(), processor_seconds()


def processor_seconds() -> float:
    """User and system time of this process and of its children so far."""
    uses = getrusage(RUSAGE_SELF), getrusage(RUSAGE_CHILDREN)
    return sum(use.ru_utime + use.ru_stime for use in uses)


async def asyncssh_bare(farm: Farm, rounds: int, *, quick: bool = False) -> Laps:
    """A tidy minimal script: keys read once, known hosts strict, one command each, gather."""
    import socket

    import asyncssh

    class Quick(asyncssh.SSHClient):
        """Acknowledges at once, so that a connection's first command does not wait for it."""

        def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
            conn.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    async def connect(host: str) -> asyncssh.SSHClientConnection:
        return await asyncssh.connect(
            host,
            PORT,
            config=None,
            username=USER,
            client_keys=keys,
            agent_path=None,
            known_hosts=known_hosts,
            client_factory=Quick if quick else None,
        )

    async def first(host: str) -> asyncssh.SSHClientConnection:
        connection = await connect(host)
        await connection.run(COMMAND, check=True)
        return connection

    laps = Laps()
    keys = [asyncssh.read_private_key(str(farm.key))]
    known_hosts = asyncssh.read_known_hosts(str(farm.known_hosts))
    connections = await asyncio.gather(*map(first, farm.addresses))
    laps.lap()
    for _ in range(rounds):
        await asyncio.gather(*(connection.run(COMMAND, check=True) for connection in connections))
        laps.lap()
    for connection in connections:
        connection.close()
    await asyncio.gather(*(connection.wait_closed() for connection in connections))
    return laps


async def asyncssh_quick(farm: Farm, rounds: int) -> Laps:
    """The same with TCP_QUICKACK."""
    return await asyncssh_bare(farm, rounds, quick=True)


async def cutover(farm: Farm, rounds: int) -> Laps:
    """The engine: connect, check who each host is, read, judge, and every verdict durable in the journal."""
    from benchmarks import looking

    return await looking.drive(farm, rounds, Laps)


async def parallel_ssh(farm: Farm, rounds: int) -> Laps:
    """parallel-ssh over libssh2; it does not check host keys at all."""
    from pssh.clients import ParallelSSHClient

    laps = Laps()
    client = ParallelSSHClient(
        farm.addresses,
        user=USER,
        port=PORT,
        pkey=str(farm.key),
        pool_size=farm.size,
        allow_agent=False,
        identity_auth=False,
    )
    for _ in range(rounds + 1):
        output = client.run_command(COMMAND)
        client.join(output)
        assert all(host.exit_code == 0 for host in output), [host.exception for host in output]
        laps.lap()
    return laps


CONTENDERS: dict[str, Callable[[Farm, int], Awaitable[Laps]]] = {
    "cutover": cutover,
    "asyncssh": asyncssh_bare,
    "asyncssh-quickack": asyncssh_quick,
    "parallel-ssh": parallel_ssh,
}
# Imported before the clock starts: starting up is told apart.
IMPORTS = {"cutover": "benchmarks.looking", "parallel-ssh": "pssh.clients"}


def main(name: str, directory: str, size: str, rounds: str) -> None:
    """Run one contender."""
    importlib.import_module(IMPORTS.get(name, "asyncssh"))
    laps = asyncio.run(CONTENDERS[name](Farm(Path(directory), int(size)), int(rounds)))
    print(json.dumps({"began": laps.began, "laps": laps.laps}))


if __name__ == "__main__":
    main(*sys.argv[1:])
