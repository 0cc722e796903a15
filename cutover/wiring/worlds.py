"""Which world a run acts in: real hosts, or a simulated one. Nothing below this can tell them apart."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from cutover.errors import CutoverError, SecretUnavailable
from cutover.model.plan import Plan, PlannedHost
from cutover.ports import Clock, World

SSH = "ssh"


async def open_world(plan: Plan, where: str, clock: Clock) -> World:
    """The world that the run was made for: hosts over SSH, or a simulated one served at a socket."""
    if where != SSH:
        from cutover.simulator.remote import RemoteWorld

        return RemoteWorld(Path(where), clock)
    from cutover.transports.secrets import Secrets
    from cutover.transports.ssh import Target
    from cutover.transports.world import RealWorld

    secrets = Secrets(plan.secrets)
    problems = await secrets.load()  # known from the first reply on, so that none of them is ever recorded
    if problems:
        raise SecretUnavailable("; ".join(problems.values()))
    targets = {
        host.name: Target(host.name, _destination(host), host.host_keys, host.machine_id)
        for host in plan.hosts.values()
    }
    return RealWorld(targets, secrets, clock, databases=plan.scope.databases)


def _destination(host: PlannedHost) -> str:
    """`[user@]name[:port]`; user and port only where an inventory gives them."""
    user = f"{host.user}@" if host.user else ""
    return f"{user}{host.destination}" + (f":{host.port}" if host.port else "")


@contextmanager
def simulated_world(plan: Plan, *, round_trip: float = 0.02) -> Iterator[Path]:
    """The plan's healthy world, in a process of its own that lives as long as this context: yields its socket.

    round_trip: seconds to each host and back.
    """
    with tempfile.TemporaryDirectory(prefix="cutover-world-") as folder:
        source, address = Path(folder, "source.json"), Path(folder, "world.sock")
        source.write_text(json.dumps(asdict(plan.source)))
        argv = [sys.executable, "-m", "cutover.simulator.server", "--socket", str(address), "--source", str(source)]
        argv += ["--round-trip", str(round_trip)]
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            if process.stdout.readline() != b"ready\n":
                raise CutoverError("the simulated world did not start")
            yield address
        finally:
            process.stdin.close()  # it ends when nobody holds its stdin any more
            process.wait(timeout=10)
            process.stdout.close()
