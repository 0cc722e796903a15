"""HTTP against a real server on loopback."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from cutover.model.effects import Http, Reply, SecretRef
from cutover.model.runbook import SecretSource
from cutover.transports.clock import RealClock
from cutover.transports.secrets import Secrets
from cutover.transports.world import RealWorld
from tests.transports.sshd import free_port

Serve = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


def ask(serve: Serve | None, **changes: object) -> tuple[Reply, list[bytes]]:
    """Perform one request against a server that answers with `serve`; the reply, and what the server was sent."""
    seen: list[bytes] = []

    async def main() -> Reply:
        async def serving(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.append(await reader.read(65536))
            assert serve is not None
            try:
                await serve(seen[-1], writer)
            finally:
                writer.close()

        port = free_port()
        server = await asyncio.start_server(serving, "127.0.0.1", port) if serve else None
        world = RealWorld({}, Secrets({"key": SecretSource(env="CUTOVER_TEST_KEY")}), RealClock())
        try:
            fields: dict[str, object] = {"method": "GET", "url": (f"http://127.0.0.1:{port}/path",), "timeout": 5.0}
            return await world.perform(Http(**{**fields, **changes}))  # type: ignore[arg-type]
        finally:
            await world.close()
            if server is not None:
                server.close()
                await server.wait_closed()

    return asyncio.run(main()), seen


def answering(text: bytes) -> Serve:
    """A server that sends `text` whatever it was asked."""

    async def serve(_request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(text)
        await writer.drain()

    return serve


def test_an_answer_with_secrets_sent_and_scrubbed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUTOVER_TEST_KEY", "canary-key-42")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")

    async def echo(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: /canary-key-42\r\nContent-Length: 13\r\n\r\ncanary-key-42")
        await writer.drain()

    reply, seen = ask(
        echo,
        method="POST",
        headers=(("Authorization", ("Bearer ", SecretRef("key"))),),
        body=("value=", SecretRef("key")),
    )
    assert b"Bearer canary-key-42" in seen[0]
    assert seen[0].endswith(b"value=canary-key-42")
    assert (reply.outcome, reply.status, reply.body) == ("answered", 302, b"${secret:key}")
    assert dict(reply.headers)["location"] == "/${secret:key}"


def test_the_body_is_cut_at_the_cap() -> None:
    async def flood(_request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                writer.write(b"x" * 65536)
                await writer.drain()
        except ConnectionError:
            pass

    reply, _ = ask(flood, cap=1000)
    assert (reply.outcome, reply.body) == ("answered", b"x" * 1000)


def test_nobody_there_is_refused() -> None:
    reply, _ = ask(None)
    assert (reply.outcome, reply.code) == ("refused", "unreachable")


@pytest.mark.parametrize("url", ["ftp://x/", "nothing"])
def test_what_is_no_url_is_refused(url: str) -> None:
    reply, _ = ask(None, url=(url,))
    assert (reply.outcome, reply.code) == ("refused", "bad-request")


def test_silence_and_a_cut_connection_after_sending_are_unknown() -> None:
    async def silent(_request: bytes, _writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(2)

    reply, _ = ask(silent, method="POST", timeout=0.5)
    assert (reply.outcome, reply.detail) == ("unknown", "no answer within 0.5 s")
    assert 0.4 < reply.seconds < 5.0
    reply, _ = ask(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"), method="POST")
    assert reply.outcome == "unknown"
    reply, _ = ask(answering(b""), method="POST")
    assert reply.outcome == "unknown"


def test_a_secret_that_cannot_be_read_is_refused() -> None:
    reply, _ = ask(answering(b""), body=(SecretRef("key"),))
    assert (reply.outcome, reply.code) == ("refused", "secret")
    assert "CUTOVER_TEST_KEY" in reply.detail
