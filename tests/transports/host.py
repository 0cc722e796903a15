"""A host as a test sees it: claim it, act there, look, and read what lies in its state directory."""

import asyncio
import itertools
import shutil
import subprocess
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from cutover.model.effects import Claim, ClaimHost, Command, Look, OnHost, Receipt, Reply, Sealed
from cutover.model.runbook import SecretSource
from cutover.transports.clock import RealClock
from cutover.transports.secrets import Secrets
from cutover.transports.world import RealWorld
from tests.transports.sshd import Sshd, this_machine

T = TypeVar("T")
OWNER = "kim@ops1:run-1:1"


class Host:
    """One host with a state directory of its own; `act` fills in what the engine would stamp."""

    _numbers = itertools.count(1)

    def __init__(self, sshd: Sshd) -> None:
        self.sshd = sshd
        self.state = sshd.directory / f"state-{next(self._numbers)}"
        self.state.mkdir()
        (self.state / "claim").touch()
        self.claim = Claim(OWNER, 1)

    def world(self, secrets: Mapping[str, SecretSource] | None = None, **target: Any) -> RealWorld:
        """A world that knows this host as web1."""
        known = replace(self.sshd.target(), state_directory=str(self.state), **target)
        return RealWorld({"web1": known}, Secrets(secrets), RealClock(), self.sshd.config)

    def run(self, test: Callable[[RealWorld], Awaitable[T]], **given: Any) -> T:
        """Run `test` with a world; every connection is let go afterwards."""

        async def main() -> T:
            world = self.world(**given)
            try:
                return await test(world)
            finally:
                await world.close()

        return asyncio.run(main())

    def claiming(self, **changes: Any) -> ClaimHost:
        """A claim by the usual owner."""
        return ClaimHost(**{"host": "web1", "mode": "claim", "owner": OWNER, "timeout": 20.0, **changes})

    def act(self, *commands: Command, **changes: Any) -> OnHost:
        """An act as the engine would stamp it."""
        fields: dict[str, Any] = {
            "host": "web1",
            "commands": commands,
            "timeout": 20.0,
            "machine_id": this_machine(),
            "claim": self.claim,
            "receipt": Receipt("run-1", f"step.{next(self._numbers)}", 1),
        }
        return OnHost(**{**fields, **changes})

    def look(self, receipt: Receipt | None, **changes: Any) -> Look:
        """A look at a receipt."""
        assert receipt is not None
        return Look(**{"host": "web1", "receipt": receipt, "timeout": 10.0, "machine_id": this_machine(), **changes})

    def receipt_text(self, effect: OnHost) -> str:
        """What the receipt of an act says."""
        assert effect.receipt is not None
        receipt = effect.receipt
        return (self.state / "runs" / receipt.run / f"{receipt.act}.{receipt.attempt}").read_text()

    async def claimed(self, world: RealWorld) -> None:
        """Claim the host."""
        reply = await world.perform(self.claiming())
        assert reply.token == self.claim.token, reply


def sh(script: str, stdin: Sealed = (), *words: str) -> Command:
    """A shell script as one command of a test."""
    return Command(("sh", "-c", script, "sh", *words), stdin)


def reads(*commands: Command, **changes: Any) -> OnHost:
    """A reading effect."""
    return OnHost(**{"host": "web1", "commands": commands, "timeout": 20.0, "reads": True, **changes})


async def until(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until it holds; fails when it does not in time."""
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.02)


def outputs(reply: Reply) -> list[tuple[int, bytes, bytes]]:
    """Exit and streams of each command."""
    return [(command.exit, command.stdout, command.stderr) for command in reply.commands]


def tmpfs(path: Path, size: str) -> None:
    """Mount a small tmpfs for a full disk."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], check=True)


def unmount(path: Path) -> None:
    """The inverse of `tmpfs`."""
    subprocess.run(["umount", "-l", str(path)], check=True)
    shutil.rmtree(path, ignore_errors=True)
