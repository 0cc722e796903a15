"""What the remote wrapper costs its host beyond the command, and what a call costs beside bare asyncssh.

Prints `name value unit goal` lines. Run on an idle machine: `python -m benchmarks.wrapper_cost`; the part over SSH
needs root and an sshd (openssh-server).
"""

import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncssh

from cutover.model.effects import Claim, ClaimHost, Command, OnHost, Receipt
from cutover.transports.clock import RealClock
from cutover.transports.secrets import Secrets
from cutover.transports.world import RealWorld
from cutover.transports.wrapper import render_act, render_claim
from tests.transports.sshd import SSHD, Sshd, this_machine

ROUNDS = 100
OWNER = "bench@here:1"
TRUE = (Command(("/bin/true",)),)


def report(name: str, value: float, unit: str, goal: str = "-") -> None:
    """One line."""
    print(f"{name:44} {value:9.2f} {unit:6} {goal}")


def act(number: int, run: str) -> OnHost:
    """An act that does nothing, so that only the wrapper is measured."""
    claim, receipt = Claim(OWNER, 1), Receipt(run, f"act.{number}", 1)
    return OnHost(host="web1", commands=TRUE, timeout=10, claim=claim, receipt=receipt, machine_id=this_machine())


def in_host(shell: list[str], directory: Path) -> None:
    """The wrapper fed straight into a shell, beside the bare command in the same shell."""
    (directory / "claim").touch()
    claim = render_claim(ClaimHost(host="web1", mode="claim", owner=OWNER, timeout=10), "n", str(directory))
    subprocess.run(shell, input=claim, check=True, capture_output=True)
    texts = [render_act(act(number, shell[0]), ("",), "n", str(directory)) for number in range(ROUNDS)]
    bare, wrapped = [], []
    for text in texts:
        for took, what in ((bare, b"exec /bin/true\n"), (wrapped, text)):
            started = time.perf_counter()
            done = subprocess.run(shell, input=what, check=True, capture_output=True)
            took.append((time.perf_counter() - started) * 1000)
        assert done.stdout.endswith(b"end acted yes\n"), done
    report(f"{shell[0]}: bare command, median", statistics.median(bare), "ms")
    report(f"{shell[0]}: wrapper beyond it, median", statistics.median(wrapped) - statistics.median(bare), "ms", "<=15")
    report(f"{shell[0]}: wrapper beyond it, p95", _p95(wrapped) - _p95(bare), "ms", "<=15")
    report("text sent per act", len(texts[0]), "bytes")


async def over_ssh(directory: Path) -> None:
    """Calls on held connections to a loopback sshd."""
    sshd = Sshd(directory)
    sshd.start()
    world = RealWorld({"web1": sshd.target()}, Secrets(), RealClock(), sshd.config)
    try:
        bare = await asyncssh.connect("web1", config=[str(sshd.config)], known_hosts=None)
        await world.connect(["web1"])
        await world.perform(ClaimHost(host="web1", mode="claim", owner=OWNER, timeout=10))
        numbers = iter(range(10 * ROUNDS))
        reads = OnHost(host="web1", commands=TRUE, timeout=10, reads=True)
        rows = {
            "bare": lambda: bare.run("/bin/true"),
            "read": lambda: world.perform(reads),
            "act": lambda: world.perform(act(next(numbers), "ssh")),
        }
        wall: dict[str, list[float]] = {name: [] for name in rows}
        cpu = dict.fromkeys(rows, 0.0)
        for _ in range(ROUNDS):
            for name, call in rows.items():
                cpu_before, before = time.process_time(), time.perf_counter()
                await call()
                wall[name].append((time.perf_counter() - before) * 1000)
                cpu[name] += (time.process_time() - cpu_before) * 1000
        medians = {name: statistics.median(took) for name, took in wall.items()}
        report("ssh: bare asyncssh run, median", medians["bare"], "ms")
        report("ssh: reading effect / bare, wall", medians["read"] / medians["bare"], "x", "<=1.5")
        report("ssh: reading effect / bare, client CPU", cpu["read"] / cpu["bare"], "x", "<=1.5")
        report("ssh: acting effect beyond bare, median", medians["act"] - medians["bare"], "ms", "<=15")
        bare.close()
        await cold(sshd)
    finally:
        await world.close()
        sshd.stop()


async def cold(sshd: Sshd, connections: int = 50) -> None:
    """From nothing to a first answer on many connections at once, identity checked, beside bare asyncssh."""

    known = f"web1 {sshd.public_key}\n".encode()

    async def bare(_: int) -> None:
        connection = await asyncssh.connect("web1", config=[str(sshd.config)], known_hosts=known)
        await connection.run("/bin/true")
        connection.close()

    async def timed(name: str, what: Callable[[], Awaitable[object]]) -> float:
        started, cpu = time.perf_counter(), time.process_time()
        await what()
        took = (time.perf_counter() - started) * 1000
        report(f"cold, {connections}: {name}, wall", took, "ms")
        report(f"cold, {connections}: {name}, client CPU", (time.process_time() - cpu) * 1000, "ms")
        return took

    async def ours() -> None:
        hosts = {f"h{n}": sshd.target() for n in range(connections)}
        world = RealWorld(hosts, Secrets(), RealClock(), sshd.config)
        replies = await world.connect(hosts)
        assert all(reply.ok for reply in replies.values()), replies
        await asyncio.gather(
            *(world.perform(OnHost(host=name, commands=TRUE, timeout=30, reads=True)) for name in hosts)
        )
        await world.close()

    first = await timed("bare", lambda: asyncio.gather(*map(bare, range(connections))))
    second = await timed("ours", ours)
    report(f"cold, {connections}: ours / bare, wall", second / first, "x", "<=1.3")


def _p95(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.95)]


def main() -> None:
    """Measure with every shell that is here."""
    with tempfile.TemporaryDirectory() as scratch:
        for name in ("dash", "bash", "busybox"):
            if shutil.which(name):
                directory = Path(scratch, name)
                directory.mkdir()
                in_host(
                    [name, "sh"] if name == "busybox" else [name, "--posix"] if name == "bash" else [name], directory
                )
        if SSHD and os.getuid() == 0:
            asyncio.run(over_ssh(Path(scratch, "ssh")))
        else:
            print("over ssh: skipped, needs root and sshd", file=sys.stderr)


if __name__ == "__main__":
    main()
