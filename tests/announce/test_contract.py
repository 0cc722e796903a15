"""The same table for the services on loopback, through the real transport, and for the simulated ones."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import TypeAdapter

from cutover.channels import Dialect, Message, Posting, dialect_of
from cutover.model.channels import CHANNELS, AnyChannel, Channel
from cutover.model.effects import Http, Reply, effect_to_json, reply_to_json
from cutover.model.runbook import SecretSource
from cutover.simulator.channels import board_of
from cutover.simulator.clock import LoopClock, VirtualLoop
from cutover.simulator.fleet import Fleet
from cutover.simulator.world import SimWorld
from cutover.transports.clock import RealClock
from cutover.transports.secrets import Secrets
from cutover.transports.world import RealWorld
from tests.announce.recorder import TOKEN, Recorder

PARAMS: dict[str, dict[str, Any]] = {
    "mastodon": {"server": "ADDRESS/mastodon", "token": "${secret:token}"},
    "slack": {"channel": "C0123456789", "token": "${secret:token}", "api": "ADDRESS/slack"},
    "slack_webhook": {"url": "${secret:slackhook}"},
    "discord": {"url": "${secret:discord}"},
    "matrix": {"server": "ADDRESS/matrix", "room": "!r:matrix.example", "token": "${secret:token}"},
    "statuspage": {"page": "abc", "token": "${secret:token}", "api": "ADDRESS/statuspage"},
    "webhook": {"url": "${secret:webhook}", "header": {"X-Key": "${secret:token}"}},
}
KINDS = tuple(PARAMS)
SEARCHABLE = ("mastodon", "matrix", "statuspage")
ONCE = ("mastodon", "matrix")
DELETING = ("mastodon", "slack", "discord", "matrix")
CHECKED = ("mastodon", "slack", "matrix", "statuspage")


@dataclass
class Side:
    """One of the two worlds: how to perform, what people read there, and where it is."""

    perform: Callable[[Http], Reply]
    readable: Callable[[], list[str]]
    address: str
    recorder: Recorder | None = None

    def dialect(self, kind: str, **more: Any) -> Dialect:
        return dialect_of("it", self.channel(kind, **more), 5.0)

    def channel(self, kind: str, **more: Any) -> Channel:
        return channel(kind, self.address, **more)


def channel(kind: str, address: str, **more: Any) -> Channel:
    params = json.dumps({"kind": kind, "lives_on": "elsewhere", **PARAMS[kind], **more}).replace("ADDRESS", address)
    adapter: TypeAdapter[Channel] = TypeAdapter(AnyChannel)
    return adapter.validate_json(params)


@contextmanager
def on_loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[Side]:
    with Recorder() as recorder:
        values = {"token": TOKEN, **{n: f"{recorder.address}/{n}/canary-url-9" for n in ("slackhook", "webhook")}}
        values["discord"] = f"{recorder.address}/discord/canary-url-9"
        for name, value in values.items():
            monkeypatch.setenv(f"CUTOVER_TEST_{name.upper()}", value)
        sources = {name: SecretSource(env=f"CUTOVER_TEST_{name.upper()}") for name in values}

        def perform(effect: Http) -> Reply:
            async def once() -> Reply:
                secrets = Secrets(sources)
                await secrets.load()
                world = RealWorld({}, secrets, RealClock())
                try:
                    return await world.perform(effect)
                finally:
                    await world.close()

            return asyncio.run(once())

        yield Side(perform, lambda: list(recorder.messages.values()), recorder.address, recorder)


@contextmanager
def simulated() -> Iterator[Side]:
    fleet = Fleet(boards=dict(board_of(channel(kind, "https://sim.example")) for kind in KINDS))

    def perform(effect: Http) -> Reply:
        with asyncio.Runner(loop_factory=lambda: VirtualLoop(fleet.now)) as runner:
            return runner.run(_perform(effect))

    async def _perform(effect: Http) -> Reply:
        return await SimWorld(fleet, LoopClock()).perform(effect)

    yield Side(perform, lambda: [text for board in fleet.boards.values() for text in board.readable()],
               "https://sim.example")  # fmt: skip


@pytest.fixture(params=["on loopback", "simulated"])
def side(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Side]:
    with on_loopback(monkeypatch) if request.param == "on loopback" else simulated() as made:
        yield made


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> Iterator[Side]:
    with on_loopback(monkeypatch) as made:
        yield made


def message(side: Side, dialect: Dialect, text: str = 'We "move" <at> 20:00 & back äöü', tag: str = "7f3a9c-0a1b2c3d",
            what: str = "start", **more: Any) -> Message:  # fmt: skip
    made = Message(text=text, what=what, run="7f3a9c", tag=tag, **more)
    before = dialect.post(made).before
    return Message(text=text, what=what, run="7f3a9c", tag=tag, before=side.perform(before) if before else None, **more)


def published(side: Side, dialect: Dialect, said: Message) -> dict[str, Any]:
    posting = dialect.post(said)
    verdict = posting.judge(side.perform(posting.effect))
    assert verdict.finding == "passed", verdict.because
    return verdict.observed or {}


def probed(side: Side, posting: Posting) -> tuple[str, dict[str, Any]]:
    assert posting.probe is not None
    assert isinstance(posting.probe.effect, Http)
    found = posting.probe.judge(side.perform(posting.probe.effect), None)
    return found.done, found.observed or {}


def texts(side: Side) -> list[str]:
    return [text.partition("\n\nrun ")[0] for text in side.readable()]


def test_every_kind_of_channel_is_here() -> None:
    assert {cls.model_fields["kind"].annotation.__args__[0] for cls in CHANNELS} == set(KINDS)  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_is_published_and_named(side: Side, kind: str) -> None:
    dialect = side.dialect(kind)
    noted = published(side, dialect, message(side, dialect))
    assert texts(side) == ['We "move" <at> 20:00 & back äöü']
    assert ("message" in noted) == dialect.edits


@pytest.mark.parametrize("kind", SEARCHABLE)
def test_a_message_can_be_found_again(side: Side, kind: str) -> None:
    dialect = side.dialect(kind)
    said = message(side, dialect)
    assert probed(side, dialect.post(said))[0] == "not_done"
    published(side, dialect, message(side, dialect, tag="7f3a9c-0a1b2c3"))  # one that begins the same
    published(side, dialect, message(side, dialect, tag="x7f3a9c-0a1b2c3d"))
    assert probed(side, dialect.post(said))[0] == "not_done"
    noted = published(side, dialect, said)
    assert probed(side, dialect.post(said)) == ("done", noted)


@pytest.mark.parametrize("kind", ONCE)
def test_the_service_takes_a_message_once(side: Side, kind: str) -> None:
    dialect = side.dialect(kind)
    said = message(side, dialect)
    assert published(side, dialect, said) == published(side, dialect, said)
    assert len(texts(side)) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_retraction_replaces_the_text_or_follows_it_and_may_be_sent_twice(side: Side, kind: str) -> None:
    dialect = side.dialect(kind)
    noted = published(side, dialect, message(side, dialect))
    back = dialect.retract(noted, message(side, dialect, "Called off.", "7f3a9c-ffffffff", "retraction"))
    assert back is not None
    times = 2 if back.effect.idempotent else 1
    for _ in range(times):
        assert back.judge(side.perform(back.effect)).passed
    assert texts(side)[-1] == "Called off."
    assert len(texts(side)) == (1 if dialect.edits else 2)
    assert back.effect.idempotent == dialect.edits


@pytest.mark.parametrize("kind", DELETING)
def test_a_retraction_may_delete_and_be_sent_twice(side: Side, kind: str) -> None:
    dialect = side.dialect(kind, retract="delete")
    noted = published(side, dialect, message(side, dialect))
    back = dialect.retract(noted, message(side, dialect, "Called off.", "7f3a9c-ffffffff", "retraction"))
    assert back is not None
    for _ in range(2):
        assert back.judge(side.perform(back.effect)).passed
    assert texts(side) == []


def test_an_incident_is_one_from_its_start_to_its_end(side: Side) -> None:
    dialect = side.dialect("statuspage")
    opened = published(side, dialect, message(side, dialect))
    end = message(side, dialect, "Home.", "7f3a9c-eeeeeeee", "end", first=opened)
    assert published(side, dialect, end) == opened
    assert texts(side) == ["Home."]
    assert probed(side, dialect.post(end))[0] == "done"
    assert dialect.retract(opened, end) is None


@pytest.mark.parametrize("kind", CHECKED)
def test_the_token_is_proved(side: Side, kind: str) -> None:
    check = side.dialect(kind).check()
    assert check is not None
    assert check[1](side.perform(check[0])).passed


# --- through the real transport alone: what goes wrong


@pytest.mark.parametrize("kind", CHECKED)
def test_a_wrong_token_is_red_before_the_run_and_publishes_nothing(real: Side, kind: str) -> None:
    dialect = real.dialect(kind, token="x${secret:discord}")
    check = dialect.check()
    assert check is not None
    assert check[1](real.perform(check[0])).finding == "failed"
    posting = dialect.post(Message(text="x", what="start", run="r", tag="t"))
    verdict = posting.judge(real.perform(posting.effect))
    assert (verdict.finding, verdict.nothing_done, verdict.again_in) == ("failed", True, None)
    assert texts(real) == []


DATE = "Wed, 21 Oct 2026 07:28:00 GMT"


@pytest.mark.parametrize(
    ("kind", "status", "headers", "body", "seconds"),
    [
        ("mastodon", 429, {"Date": DATE, "X-RateLimit-Reset": "2026-10-21T07:33:00.000000Z"}, '{"error":"no"}', 300),
        ("slack", 429, {"Retry-After": "30"}, "", 30),
        ("slack", 200, {"Retry-After": "7"}, '{"ok":false,"error":"ratelimited"}', 7),
        ("slack_webhook", 429, {"Retry-After": "1"}, "", 1),
        ("discord", 429, {"Retry-After": "65"}, '{"message":"limited","retry_after":64.57,"global":false}', 65),
        ("discord", 429, {}, '{"message":"limited","retry_after":64.57,"global":false}', 64.57),
        ("matrix", 429, {}, '{"errcode":"M_LIMIT_EXCEEDED","retry_after_ms":2000}', 2),
        ("matrix", 429, {"Retry-After": "3"}, '{"errcode":"M_LIMIT_EXCEEDED","retry_after_ms":2000}', 3),
        ("statuspage", 420, {"Retry-After": "60"}, "", 60),
        ("webhook", 429, {"Date": DATE, "Retry-After": "Wed, 21 Oct 2026 07:28:45 GMT"}, "", 45),
        ("webhook", 429, {}, "", 30),
        ("webhook", 429, {"Retry-After": "-3"}, "", 30),
        ("webhook", 429, {"Retry-After": "nan"}, "", 30),
    ],
)
def test_too_many_requests_say_when(
    real: Side, kind: str, status: int, headers: dict[str, str], body: str, seconds: float
) -> None:
    assert real.recorder is not None
    dialect = real.dialect(kind)
    said = message(real, dialect)
    real.recorder.scripted = [(status, headers, body)]
    posting = dialect.post(said)
    verdict = posting.judge(real.perform(posting.effect))
    assert (verdict.finding, verdict.nothing_done, verdict.again_in) == ("failed", True, seconds)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("status", "body", "finding"),
    [
        (500, "", "unknown"),
        (502, "<html>", "unknown"),
        (504, "", "unknown"),
        (400, "bad", "failed"),
        (404, "", "failed"),
    ],
)
def test_what_a_status_means(real: Side, kind: str, status: int, body: str, finding: str) -> None:
    assert real.recorder is not None
    dialect = real.dialect(kind)
    said = message(real, dialect)
    real.recorder.scripted = [(status, {}, body)]
    posting = dialect.post(said)
    verdict = posting.judge(real.perform(posting.effect))
    assert verdict.finding == finding
    assert verdict.nothing_done == (finding == "failed")


@pytest.mark.parametrize(
    ("error", "finding"),
    [
        ("channel_not_found", "failed"),
        ("is_archived", "failed"),
        ("internal_error", "unknown"),
        ("fatal_error", "unknown"),
    ],
)
def test_slack_says_no_with_status_200(real: Side, error: str, finding: str) -> None:
    assert real.recorder is not None
    dialect = real.dialect("slack")
    real.recorder.scripted = [(200, {}, json.dumps({"ok": False, "error": error}))]
    posting = dialect.post(message(real, dialect))
    assert posting.judge(real.perform(posting.effect)).finding == finding


@pytest.mark.parametrize("kind", ["mastodon", "slack", "slack_webhook", "discord", "matrix", "statuspage"])
@pytest.mark.parametrize(
    "body", ["", "{}", "[]", "null", "<html>welcome</html>", '{"id":null}', '{"ok":"yes"}', "\x00"]
)
def test_a_good_status_without_a_name_is_no_proof(real: Side, kind: str, body: str) -> None:
    assert real.recorder is not None
    dialect = real.dialect(kind)
    said = message(real, dialect)
    posting = dialect.post(said)
    real.recorder.scripted = [(200, {}, body)]
    assert posting.judge(real.perform(posting.effect)).finding == "unknown"
    if posting.probe:
        real.recorder.scripted = [(200, {}, body)]
        found = probed(real, posting)[0]
        assert found == "unknown" or (body == "[]" and kind != "matrix" and found == "not_done")


@pytest.mark.parametrize("kind", KINDS)
def test_a_lost_answer_is_unknown_and_found_where_one_can_look(real: Side, kind: str) -> None:
    assert real.recorder is not None
    dialect = real.dialect(kind)
    posting = dialect.post(message(real, dialect))
    real.recorder.silent = 1
    assert real.perform(posting.effect).outcome == "unknown"
    assert len(texts(real)) == 1
    if kind in SEARCHABLE:
        assert probed(real, posting)[0] == "done"
    else:
        assert posting.probe is None
        assert not posting.effect.idempotent


@pytest.mark.parametrize("kind", KINDS)
def test_no_secret_is_in_what_is_journalled(real: Side, kind: str) -> None:
    dialect = real.dialect(kind)
    said = message(real, dialect)
    posting = dialect.post(said)
    back = dialect.retract(published(real, dialect, said) or {"message": "1"}, said)
    check = dialect.check()
    effects = [posting.effect, *([posting.before] if posting.before else []), *([check[0]] if check else [])]
    effects += [back.effect] if back else []
    effects += [posting.probe.effect] if posting.probe and isinstance(posting.probe.effect, Http) else []
    for effect in effects:
        kept = json.dumps([effect_to_json(effect), reply_to_json(real.perform(effect))])
        assert "canary" not in kept
    assert real.recorder is not None
    sent = [json.dumps([each.path, each.headers]) for each in real.recorder.requests]
    assert all("canary" in each for each in sent)


def test_what_is_sent_is_what_is_documented(real: Side) -> None:
    assert real.recorder is not None
    sent = {}
    for kind in KINDS:
        dialect = real.dialect(kind)
        published(real, dialect, message(real, dialect, "We move."))
        sent[kind] = real.recorder.requests[-1]
    assert sent["mastodon"].headers["idempotency-key"] == "7f3a9c-0a1b2c3d"
    assert sent["mastodon"].body == {"status": "We move.\n\nrun 7f3a9c-0a1b2c3d", "visibility": "public"}
    assert sent["discord"].path.endswith("?wait=true")
    assert sent["discord"].body == {"content": "We move.", "allowed_mentions": {"parse": []}}
    room = "/matrix/_matrix/client/v3/rooms/%21r%3Amatrix.example"
    assert (sent["matrix"].method, sent["matrix"].path) == ("PUT", f"{room}/send/m.room.message/7f3a9c-0a1b2c3d")
    assert sent["statuspage"].body["incident"]["metadata"] == {"cutover": {"tag": "7f3a9c-0a1b2c3d"}}
    assert sent["webhook"].body == {"text": "We move.", "what": "start", "run": "7f3a9c", "tag": "7f3a9c-0a1b2c3d"}
    assert all(each.headers["content-type"] == "application/json; charset=utf-8" for each in sent.values())
