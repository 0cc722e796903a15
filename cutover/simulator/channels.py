"""The services behind channels, simulated: what was posted, edited and deleted there, and their answers.

They answer as documented in cutover/channels; tests/announce holds them to the same table as a real server on
loopback. A service is found by the URL that its paths begin with; one whose URL is a secret, by the secret's name.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from html import escape
from typing import Any
from urllib.parse import unquote

from cutover.model import channels as model
from cutover.model.effects import Http, Reply, sealed_text

KEPT = 3600.0
"""Seconds that Mastodon keeps an idempotency key."""


@dataclass(slots=True)
class Posted:
    """A message that somebody can read, or could. tag: the run's mark on it, where the service takes one."""

    id: str
    text: str
    at: float
    tag: str = ""
    edits: int = 0
    gone: bool = False


@dataclass(slots=True)
class Board:
    """One service. kind: of the channel. page: of Statuspage. keys: idempotency key or transaction -> its message."""

    kind: str
    page: str = ""
    messages: list[Posted] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)

    def copy(self) -> "Board":
        """A deep copy."""
        return Board(self.kind, self.page, [replace(message) for message in self.messages], dict(self.keys))

    def readable(self) -> list[str]:
        """What people read there now, oldest first."""
        return [message.text for message in self.messages if not message.gone]

    def post(self, text: str, now: float, tag: str = "", key: str = "") -> Posted:
        """Publish a message, once for a key."""
        known = self.find(self.keys[key]) if key in self.keys else None
        if known is not None:
            return known
        message = Posted(str(len(self.messages) + 1), text, now, tag)
        self.messages.append(message)
        if key:
            self.keys[key] = message.id
        return message

    def find(self, id: str) -> Posted | None:
        """The message of that id, unless it is gone."""
        return next((each for each in self.messages if each.id == id and not each.gone), None)


def board_of(channel: model.Channel) -> tuple[str, Board]:
    """The healthy service of a channel, behind the URL that its paths begin with."""
    match channel:
        case model.Mastodon(server=server):
            return f"{server}/api/v1/", Board("mastodon")
        case model.Matrix(server=server):
            return f"{server}/_matrix/client/v3/", Board("matrix")
        case model.Slack(api=api):
            return f"{api}/", Board("slack")
        case model.Statuspage(api=api, page=page):
            return f"{api}/pages/{page}", Board("statuspage", page=page)
        case (
            model.SlackWebhook(url=url, kind=kind)
            | model.Discord(url=url, kind=kind)
            | model.Webhook(url=url, kind=kind)
        ):
            return sealed_text(url), Board(kind)
    raise AssertionError(f"no rule for {type(channel).__name__}")


def answer(board: Board, effect: Http, path: str, now: float) -> Reply:
    """What the service answers to a request. path: what follows the URL that its paths begin with."""
    route, _, query = path.partition("?")
    body = json.loads(sealed_text(effect.body)) if effect.body else {}
    headers = {name.lower(): sealed_text(value) for name, value in effect.headers}
    status, found = _RULES[board.kind](board, effect.method, route, query, headers, body, now)
    text = found if isinstance(found, str) else json.dumps(found)
    return Reply(outcome="answered", status=status, body=text.encode()[: effect.cap])


Answer = tuple[int, Any]
Headers = dict[str, str]
_NOT_FOUND: Answer = (404, {"error": "Record not found"})


def _changed(message: Posted | None, text: str | None) -> Answer | None:
    """Edit a message, or delete it (None); None when it is there."""
    if message is None:
        return _NOT_FOUND
    if text is None:
        message.gone = True
    else:
        message.text, message.edits = text, message.edits + 1
    return None


def _mastodon(
    board: Board, method: str, route: str, _query: str, headers: Headers, body: dict[str, Any], now: float
) -> Answer:
    if not headers.get("authorization", "").startswith("Bearer "):
        return 401, {"error": "The access token is invalid"}
    if method == "GET" and route == "accounts/verify_credentials":
        return 200, {"id": "1", "username": "cutover"}
    if method == "GET" and route == "accounts/1/statuses":
        latest = [each for each in reversed(board.messages) if not each.gone][:20]
        return 200, [_status(each) for each in latest]
    if method == "POST" and route == "statuses":
        key = headers.get("idempotency-key", "")
        if (old := board.find(board.keys.get(key, ""))) and old.at + KEPT < now:
            del board.keys[key]
        return 200, _status(board.post(body["status"], now, key, key))
    message = board.find(route.removeprefix("statuses/"))
    return _changed(message, body["status"] if method == "PUT" else None) or (200, {"id": route.rpartition("/")[2]})


def _status(message: Posted) -> dict[str, Any]:
    paragraphs = "".join(f"<p>{escape(part)}</p>" for part in message.text.split("\n\n"))
    return {"id": message.id, "content": paragraphs}


def _slack(
    board: Board, _method: str, route: str, _query: str, headers: Headers, body: dict[str, Any], now: float
) -> Answer:
    if not headers.get("authorization", "").startswith("Bearer "):
        return 200, {"ok": False, "error": "not_authed"}
    match route:
        case "auth.test":
            return 200, {"ok": True, "user_id": "U1"}
        case "chat.postMessage":
            return 200, {"ok": True, "channel": body["channel"], "ts": board.post(body["text"], now).id}
        case "chat.update" | "chat.delete":
            wrong = _changed(board.find(body["ts"]), body.get("text"))
            return (
                (200, {"ok": False, "error": "message_not_found"}) if wrong else (200, {"ok": True, "ts": body["ts"]})
            )
    return 200, {"ok": False, "error": "unknown_method"}


def _slack_webhook(
    board: Board, _method: str, _route: str, _query: str, _headers: Headers, body: dict[str, Any], now: float
) -> Answer:
    board.post(body["text"], now)
    return 200, "ok"


def _discord(
    board: Board, method: str, route: str, query: str, _headers: Headers, body: dict[str, Any], now: float
) -> Answer:
    if method == "POST":
        message = board.post(body["content"], now)
        return (200, {"id": message.id}) if "wait=true" in query else (204, "")
    wrong = _changed(board.find(route.removeprefix("/messages/")), body.get("content") if method == "PATCH" else None)
    return (404, {"message": "Unknown Message", "code": 10008}) if wrong else (200, {"id": route.rpartition("/")[2]})


def _matrix(
    board: Board, method: str, route: str, _query: str, headers: Headers, body: dict[str, Any], now: float
) -> Answer:
    if not headers.get("authorization", "").startswith("Bearer "):
        return 401, {"errcode": "M_MISSING_TOKEN", "error": "Missing access token"}
    if route == "account/whoami":
        return 200, {"user_id": "@cutover:matrix.example"}
    if method == "GET":
        latest = [each for each in reversed(board.messages) if not each.gone][:50]
        return 200, {
            "chunk": [{"event_id": f"${e.id}", "content": {"body": e.text, "cutover.tag": e.tag}} for e in latest]
        }
    words = [unquote(word) for word in route.split("/")]
    if words[2] == "redact":
        _changed(board.find(words[3].removeprefix("$")), None)
        return 200, {"event_id": "$redaction"}
    if relation := body.get("m.relates_to"):
        edited = board.find(relation["event_id"].removeprefix("$"))
        return _changed(edited, body["m.new_content"]["body"]) or (200, {"event_id": "$edit"})
    message = board.post(body["body"], now, body.get("cutover.tag", ""), words[-1])
    return 200, {"event_id": f"${message.id}"}


def _statuspage(
    board: Board, method: str, route: str, _query: str, headers: Headers, body: dict[str, Any], now: float
) -> Answer:
    if not headers.get("authorization", "").startswith("OAuth "):
        return 401, {"error": "Could not authenticate"}
    if not route:
        return 200, {"id": board.page}
    if method == "GET":
        latest = list(reversed(board.messages))
        return 200, [{"id": each.id, "metadata": {"cutover": {"tag": each.tag}}} for each in latest]
    incident = body["incident"]
    tag = incident.get("metadata", {}).get("cutover", {}).get("tag", "")
    if method == "POST":
        return 201, {"id": board.post(incident["body"], now, tag).id}
    message = board.find(route.removeprefix("/incidents/"))
    if message is not None and tag:
        message.tag = tag
    return _changed(message, incident["body"]) or (200, {"id": route.rpartition("/")[2]})


def _webhook(
    board: Board, _method: str, _route: str, _query: str, _headers: Headers, body: dict[str, Any], now: float
) -> Answer:
    board.post(body["text"], now, body["tag"])
    return 200, {}


_RULES: dict[str, Callable[..., Answer]] = {
    "mastodon": _mastodon,
    "slack": _slack,
    "slack_webhook": _slack_webhook,
    "discord": _discord,
    "matrix": _matrix,
    "statuspage": _statuspage,
    "webhook": _webhook,
}
