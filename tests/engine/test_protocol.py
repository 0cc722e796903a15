"""The protocol over a real socket: what followers and commanders get, and that none of them holds up the engine."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from cutover.client import Client
from cutover.engine import server as serving
from cutover.engine.server import Server
from cutover.errors import EngineGone
from cutover.journal.memory import MemoryJournal
from cutover.model.events import Draft, Event, Origin
from cutover.protocol import MAX_LINE, PROTOCOL, pack, unpack
from cutover.transports.clock import RealClock

SOON = 10.0


class Engine:
    """What the server knows of an engine: a journal, and somebody who takes commands."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = MemoryJournal(Origin(run="7f3a9c", boot_id="boot", plan="p" * 64, tool="test"), RealClock())
        self.taken: list[dict] = []
        self._clients: list[Client] = []

    async def take(self, command: dict) -> dict:
        self.taken.append(command)
        await self.decide("command.accepted", id=command["id"])
        return {"accepted": True}

    async def connect(self) -> Client:
        client = await Client.connect(self.path)
        self._clients.append(client)
        return client

    async def close(self) -> None:
        for client in self._clients:
            await client.close()
        await asyncio.sleep(0.01)

    async def decide(self, kind: str, **body: object) -> None:
        self.journal.record(Draft(kind, None, body))
        await self.journal.commit()

    @asynccontextmanager
    async def served(self) -> AsyncIterator[Server]:
        hello = {"run": "7f3a9c", "plan": "p" * 64, "seq": len(self.journal.stored)}
        server = Server(self.path, hello, self.journal, self.take)
        self.journal.on_commit(server.saw)
        await server.open()
        try:
            yield server
        finally:
            await server.close()


def runs(test: Callable[[Engine], Awaitable[None]]) -> Callable[[Path], None]:
    """Run a test in a loop of its own, with an engine at a socket, and in bounded time."""

    def wrapped(tmp_path: Path) -> None:
        async def run() -> None:
            engine = Engine(tmp_path / "engine.sock")
            try:
                async with asyncio.timeout(3 * SOON):
                    await test(engine)
            finally:
                await engine.close()

        asyncio.run(run())

    wrapped.__name__ = test.__name__  # type: ignore[attr-defined]
    wrapped.__doc__ = test.__doc__
    return wrapped


async def first(events: AsyncIterator[Event], count: int) -> list[Event]:
    async with asyncio.timeout(SOON):
        return [await anext(events) for _ in range(count)]


async def raw(engine: Engine) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_unix_connection(engine.path, limit=4 * MAX_LINE)
    assert unpack(await reader.readline())["type"] == "hello"
    return reader, writer


@runs
async def test_the_greeting_says_which_run_and_how_far_it_is(engine: Engine) -> None:
    await engine.decide("run.created")
    async with engine.served():
        client = await engine.connect()
        assert client.hello == {
            "type": "hello", "protocol": PROTOCOL, "run": "7f3a9c", "plan": "p" * 64, "seq": 1,
        }  # fmt: skip
        await engine.decide("later")
        assert (await engine.connect()).hello["seq"] == 2


@runs
async def test_a_command_is_answered_and_its_answer_bears_its_id(engine: Engine) -> None:
    async with engine.served():
        client = await engine.connect()
        answer = await client.command("one", "hold", {"reason": "tea"}, "me@here", expect_seq=3, plan="p")
        assert answer == {"type": "reply", "id": "one", "accepted": True}
        assert engine.taken == [
            {"type": "command", "id": "one", "verb": "hold", "args": {"reason": "tea"}, "actor": "me@here",
             "expect_seq": 3, "plan": "p"}
        ]  # fmt: skip


@runs
async def test_a_follower_sees_every_event_once_and_in_order_over_reconnections(engine: Engine) -> None:
    for number in range(50):
        await engine.decide("old", number=number)
    async with engine.served():
        seen: list[Event] = []
        for _ in range(10):
            client = await engine.connect()
            events = client.follow(seen[-1].seq if seen else 0)
            for number in range(7):
                await engine.decide("new", number=number)
            seen += await first(events, 9)
            await client.close()
        client = await engine.connect()
        left = len(engine.journal.stored) - len(seen)
        seen += await first(client.follow(seen[-1].seq), left)
    assert seen == engine.journal.events()


@runs
async def test_a_follower_sees_nothing_that_is_not_durable(engine: Engine) -> None:
    async with engine.served():
        client = await engine.connect()
        events = client.follow()
        engine.journal.record(Draft("decided", None, {}))
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        await engine.journal.commit()
        assert (await waiting).type == "decided"


@runs
async def test_a_follower_gets_the_last_events_before_the_engine_hangs_up(engine: Engine) -> None:
    async with engine.served():
        client = await engine.connect()
        events = client.follow()
        await engine.decide("first")
        seen = await first(events, 1)
        await engine.decide("engine.stopped")
    seen += [event async for event in events]
    assert [event.type for event in seen] == ["first", "engine.stopped"]
    assert not engine.path.exists()


@runs
async def test_a_follower_that_does_not_read_holds_up_nobody_and_misses_nothing(engine: Engine) -> None:
    async with engine.served():
        slow = await engine.connect()
        events = slow.follow()
        await engine.decide("begins")
        seen = await first(events, 1)
        quick = (await engine.connect()).follow(1)
        text = "x" * 10_000
        for number in range(1_000):  # far more than a socket and the server's buffer hold
            await engine.decide("flood", number=number, text=text)
            assert (await first(quick, 1))[0].body["number"] == number
        seen += await first(events, 1_000)
        assert seen == engine.journal.events()


def test_a_follower_that_never_reads_again_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "SEND_TIMEOUT", 0.3)

    @runs
    async def test(engine: Engine) -> None:
        async with engine.served() as server:
            with socket.socket(socket.AF_UNIX) as deaf:
                deaf.connect(str(engine.path))
                deaf.send(pack({"type": "follow"}))
                while not server._clients:
                    await asyncio.sleep(0.01)
                for _ in range(400):
                    await engine.decide("flood", text="x" * 10_000)
                async with asyncio.timeout(SOON):
                    while server._clients:
                        await asyncio.sleep(0.05)

    test(tmp_path)


@pytest.mark.parametrize("tail", [3, 4_096])
def test_a_follower_that_fell_behind_the_tail_reads_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tail: int
) -> None:
    monkeypatch.setattr(serving, "TAIL", tail)

    @runs
    async def test(engine: Engine) -> None:
        await engine.decide("before the server")
        async with engine.served():
            events = (await engine.connect()).follow()
            for number in range(20):
                await engine.decide("event", number=number)
            assert await first(events, 21) == engine.journal.events()

    test(tmp_path)


@runs
async def test_junk_is_answered_with_a_sentence_and_the_conversation_goes_on(engine: Engine) -> None:
    async with engine.served():
        reader, writer = await raw(engine)
        for junk in (b"\xff\xfe\n", b"{\n", b"[1]\n", b"\n", b'{"type":"dance"}\n', b"{}\n", b'"x"\n',
                     b"[" * 5_000 + b"\n"):  # fmt: skip
            writer.write(junk)
            answer = unpack(await asyncio.wait_for(reader.readline(), SOON))
            assert answer["type"] == "error", junk
            assert answer["why"], junk
        writer.write(pack({"type": "command", "id": "one", "verb": "hold"}))
        assert unpack(await reader.readline()) == {"type": "reply", "id": "one", "accepted": True}
        writer.close()


@runs
async def test_whoever_sends_a_line_without_end_is_hung_up_on_and_nobody_else(engine: Engine) -> None:
    async with engine.served():
        other = await engine.connect()
        reader, writer = await raw(engine)
        writer.write(b"x" * (2 * MAX_LINE + 2))
        with suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), SOON) == b""
        writer.close()
        assert (await other.command("one", "hold", {}, "me@here"))["accepted"]


@runs
async def test_many_clients_at_once(engine: Engine) -> None:
    async with engine.served():
        clients = [await engine.connect() for _ in range(100)]
        followers = [(await engine.connect()).follow() for _ in range(50)]
        answers = await asyncio.gather(
            *(client.command(f"c{number}", "note", {}, "me@here") for number, client in enumerate(clients))
        )
        assert all(answer["accepted"] for answer in answers)
        for events in followers:
            assert await first(events, 100) == engine.journal.events()


@runs
async def test_nobody_is_served_after_the_end(engine: Engine) -> None:
    async with engine.served():
        client = await engine.connect()
    with pytest.raises(EngineGone):
        await client.command("one", "hold", {}, "me@here")
    with pytest.raises(EngineGone):
        await engine.connect()
    assert engine.taken == []


@runs
async def test_a_socket_that_a_dead_engine_left_is_replaced(engine: Engine) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(engine.path))
    with pytest.raises(EngineGone):
        await engine.connect()
    async with engine.served():
        assert (await engine.connect()).hello["run"] == "7f3a9c"
        assert engine.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_another_user_is_not_served(tmp_path: Path) -> None:
    async def run() -> None:
        engine = Engine(tmp_path / "engine.sock")
        async with engine.served():
            engine.path.chmod(0o777)
            for folder in [tmp_path, *tmp_path.parents][:-1]:
                if not folder.stat().st_mode & 0o001:
                    folder.chmod(folder.stat().st_mode | 0o011)
            said = await asyncio.to_thread(_as_nobody, engine.path)
            assert said == b""

    asyncio.run(run())


def _as_nobody(path: Path) -> bytes:
    """What the server says to another user, asked by a process of that user."""
    there, here = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setuid(65534)
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                client.settimeout(SOON)
                os.write(here, client.recv(1_000))
        except OSError as problem:
            os.write(here, str(problem).encode())
        finally:
            os._exit(0)
    os.close(here)
    with open(there, "rb") as said:
        answer = said.read()
    os.waitpid(child, 0)
    return answer
