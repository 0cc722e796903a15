"""A world in a process of its own outlives the engines that drive it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from cutover.errors import NoRule
from cutover.model.effects import Claim, ClaimHost, Command, Http, Look, OnHost, Receipt, Wait
from cutover.model.plan import Source
from cutover.simulator.faults import CutLink, fault_to_json
from cutover.simulator.fleet import Fleet
from cutover.simulator.remote import RemoteWorld
from tests.simulator.base import fleet
from tests.simulator.test_healthy import RUNBOOK

# An engine that claims, starts a long sequence and is never heard of again.
CLIENT = """
import asyncio, sys
from pathlib import Path
from cutover.model.effects import Claim, ClaimHost, Command, OnHost, Receipt
from cutover.simulator.remote import RemoteWorld

async def main():
    world = RemoteWorld(Path(sys.argv[1]))
    await world.connect(["yakko"])
    await world.perform(ClaimHost(host="yakko", mode="claim", owner="me", timeout=10))
    commands = tuple(Command(tuple(line.split())) for line in ("touch /tmp/1", "sleep 10", "touch /tmp/2"))
    asyncio.get_running_loop().call_later(0.2, lambda: print("acting", flush=True))
    await world.perform(OnHost(host="yakko", commands=commands, timeout=60, claim=Claim("me", 1),
                               receipt=Receipt("run", "a", 1)))

asyncio.run(main())
"""


@contextlib.contextmanager
def served(directory: Path, *arguments: str) -> Iterator[Path]:
    socket = directory / "world"
    command = [sys.executable, "-m", "cutover.simulator.server", "--socket", str(socket), *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        assert server.stdin
        assert server.stdout.readline() == "ready\n"
        try:
            yield socket
        finally:
            server.stdin.close()
            assert server.wait(10) == 0


@pytest.fixture
def fleet_file(tmp_path: Path) -> Path:
    path = tmp_path / "fleet.json"
    path.write_text(json.dumps(fleet().to_json()))
    return path


def test_the_sequence_of_a_killed_engine_goes_on(tmp_path: Path, fleet_file: Path) -> None:
    with served(tmp_path, "--fleet", str(fleet_file), "--speed", "10") as socket:
        with subprocess.Popen([sys.executable, "-c", CLIENT, socket], stdout=subprocess.PIPE, text=True) as engine:
            assert engine.stdout
            assert engine.stdout.readline() == "acting\n"
            engine.send_signal(signal.SIGKILL)

        async def look() -> list[str | None]:
            world = RemoteWorld(socket)
            seen = []
            deadline = time.monotonic() + 20
            while not seen or (seen[-1] != "finished" and time.monotonic() < deadline):
                reply = await world.perform(Look(host="yakko", receipt=Receipt("run", "a", 1), timeout=10))
                if not seen or seen[-1] != reply.receipt:
                    seen.append(reply.receipt)
                await asyncio.sleep(0.05)
            history = (await world.control("history"))["history"]
            assert [done["argv"] for done in history] == [["touch", "/tmp/1"], ["sleep", "10"], ["touch", "/tmp/2"]]
            shown = await world.perform(ClaimHost(host="yakko", mode="show", owner="you", timeout=10))
            assert (shown.token, shown.owner) == (1, "me")
            await world.close()
            return seen

        assert asyncio.run(look()) == ["running", "finished"]


def test_many_calls_at_once_and_what_looks_after_the_world(tmp_path: Path, fleet_file: Path) -> None:
    async def story(socket: Path) -> None:
        world = RemoteWorld(socket)
        assert (await world.connect(["yakko", "nobody"]))["nobody"].code == "unreachable"
        claimed = await world.perform(ClaimHost(host="yakko", mode="claim", owner="me", timeout=10))
        claim = Claim("me", claimed.token or 0)

        def act(number: int) -> OnHost:
            command = Command(("echo", f"hällo {number}"))
            receipt = Receipt("run", f"a{number}", 1)
            return OnHost(host="yakko", commands=(command,), timeout=10, claim=claim, receipt=receipt)

        heard: list[bytes] = []
        replies = await asyncio.gather(
            *(world.perform(act(n), lambda _, data: heard.append(data)) for n in range(50)),
            world.perform(Wait(seconds=0.1)),
            world.perform(Http(method="GET", url=("https://x.example",), timeout=5, reads=True)),
        )
        assert all(reply.ok for reply in replies)
        assert [reply.commands[0].stdout.decode() for reply in replies[:50]] == [f"hällo {n}\n" for n in range(50)]
        assert len(heard) == 50
        with pytest.raises(NoRule, match="frobnicate"):
            await world.perform(OnHost(host="yakko", commands=(Command(("frobnicate",)),), timeout=5, reads=True))
        dumped = Fleet.from_json((await world.control("dump"))["fleet"])
        assert len(dumped.history) == 50
        await world.control("inject", fault=fault_to_json(CutLink("yakko", 0.0, 3600.0)))
        reply = await world.perform(OnHost(host="yakko", commands=(Command(("true",)),), timeout=1, reads=True))
        assert reply.outcome == "unknown"
        await world.close()

    with served(tmp_path, "--fleet", str(fleet_file), "--speed", "10") as socket:
        asyncio.run(story(socket))


def test_a_lost_server_makes_answers_unknown_and_raises_nothing(tmp_path: Path, fleet_file: Path) -> None:
    async def story() -> None:
        read = OnHost(host="yakko", commands=(Command(("sleep", "30")),), timeout=60, reads=True)
        with served(tmp_path, "--fleet", str(fleet_file)) as socket:
            world = RemoteWorld(socket)
            calling = asyncio.create_task(world.perform(read))
            await asyncio.sleep(0.5)
        assert (await calling).outcome == "unknown"
        socket.unlink(missing_ok=True)
        assert (await world.perform(read)).code == "unreachable"
        assert (await world.connect(["yakko"]))["yakko"].code == "unreachable"
        await world.close()

    asyncio.run(story())


def test_a_world_is_made_from_a_plans_source(tmp_path: Path) -> None:
    source = tmp_path / "source.json"
    source.write_text(json.dumps(asdict(Source("move.yaml", RUNBOOK))))

    async def story(socket: Path) -> None:
        world = RemoteWorld(socket)
        show = Command(("systemctl", "show", "-p", "ActiveState", "app-web"))
        reply = await world.perform(OnHost(host="yakko", commands=(show,), timeout=5, reads=True))
        assert reply.commands[0].stdout == b"ActiveState=active\n"
        await world.close()

    with served(tmp_path, "--source", str(source)) as socket:
        asyncio.run(story(socket))
