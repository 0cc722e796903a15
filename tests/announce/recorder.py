"""The services behind channels as a real HTTP server on loopback: what they document, and a record of what they got.

Written from their documentation, apart from the simulator's rules, so that one can be held against the other:
ids, idempotency keys and transactions, edits and deletions, `ok: false`, 429 with what it says about when to come back.
"""

import json
import threading
from dataclasses import dataclass, field
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "canary-token-71"


@dataclass
class Request:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Recorder:
    """What was asked, what stands there now, and what to answer instead. scripted: (status, headers, body), used up."""

    requests: list[Request] = field(default_factory=list)
    messages: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    scripted: list[tuple[int, dict[str, str], str]] = field(default_factory=list)
    silent: int = 0
    address: str = ""

    def __enter__(self) -> "Recorder":
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                raw = self.rfile.read(length)
                status, headers, body = recorder.take(self.command, self.path, dict(self.headers), raw)
                if status == 0:
                    self.close_connection = True
                    return
                data = body.encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def take(self, method: str, path: str, headers: dict[str, str], raw: bytes) -> tuple[int, dict[str, str], str]:
        """Record a request and answer it. silent: so many are done, and their answer is lost."""
        headers = {name.lower(): value for name, value in headers.items()}
        body = json.loads(raw) if raw else None
        self.requests.append(Request(method, path, headers, body))
        if self.scripted:
            return self.scripted.pop(0)
        status, found = self._route(method, path, headers, body)
        if self.silent:
            self.silent -= 1
            return 0, {}, ""
        return status, {"Content-Type": "application/json"}, found if isinstance(found, str) else json.dumps(found)

    def _route(self, method: str, path: str, headers: dict[str, str], body: Any) -> tuple[int, Any]:
        service, _, rest = path.removeprefix("/").partition("/")
        split = urlsplit(rest)
        words = [unquote(word) for word in split.path.split("/")]
        return getattr(self, f"_{service}")(method, words, parse_qs(split.query), headers, body)

    def _new(self, text: str, tag: str = "") -> str:
        name = f"{1000 + len(self.messages)}"
        self.messages[name], self.tags[name] = text, tag
        return name

    def _mastodon(self, method: str, words: list[str], query: dict, headers: dict, body: Any) -> tuple[int, Any]:
        """docs.joinmastodon.org/methods/statuses and /methods/accounts."""
        if headers.get("authorization") != f"Bearer {TOKEN}":
            return 401, {"error": "The access token is invalid"}
        match method, words[2:]:
            case "GET", ["accounts", "verify_credentials"]:
                return 200, {"id": "14715", "username": "trwnh", "source": {"note": ""}}
            case "GET", ["accounts", "14715", "statuses"]:
                limit = int(query.get("limit", ["20"])[0])
                return 200, [self._status(name) for name in list(self.messages)[::-1][:limit]]
            case "POST", ["statuses"]:
                key = headers.get("idempotency-key", "")
                if not body.get("status"):
                    return 422, {"error": "Validation failed: Text can't be blank"}
                self.keys[key] = self.keys.get(key) or self._new(body["status"])
                return 200, self._status(self.keys[key])
            case "PUT", ["statuses", name] if name in self.messages:
                self.messages[name] = body["status"]
                return 200, self._status(name)
            case "DELETE", ["statuses", name] if name in self.messages:
                status = self._status(name)
                del self.messages[name]
                return 200, status
        return 404, {"error": "Record not found"}

    def _status(self, name: str) -> dict[str, Any]:
        text = escape(self.messages[name]).replace("\n\n", "</p><p>").replace("\n", "<br />")
        return {"id": name, "content": f"<p>{text}</p>", "visibility": "public"}

    def _slack(self, _method: str, words: list[str], _query: dict, headers: dict, body: Any) -> tuple[int, Any]:
        """docs.slack.dev/reference/methods: errors are 200 with ok: false."""
        if headers.get("authorization") != f"Bearer {TOKEN}":
            return 200, {"ok": False, "error": "invalid_auth"}
        match words:
            case ["auth.test"]:
                return 200, {"ok": True, "url": "https://x.slack.com/", "user_id": "U1"}
            case ["chat.postMessage"] if body["channel"] != "C0123456789":
                return 200, {"ok": False, "error": "channel_not_found"}
            case ["chat.postMessage"]:
                return 200, {"ok": True, "channel": "C0123456789", "ts": self._new(body["text"]), "message": {}}
            case ["chat.update" | "chat.delete"] if body["ts"] not in self.messages:
                return 200, {"ok": False, "error": "message_not_found"}
            case ["chat.update"]:
                self.messages[body["ts"]] = body["text"]
            case ["chat.delete"]:
                del self.messages[body["ts"]]
        return 200, {"ok": True, "channel": body["channel"], "ts": body["ts"]}

    def _slackhook(self, _method: str, _words: list[str], _query: dict, _headers: dict, body: Any) -> tuple[int, Any]:
        """docs.slack.dev/messaging/sending-messages-using-incoming-webhooks."""
        if not body.get("text"):
            return 400, "no_text"
        self._new(body["text"])
        return 200, "ok"

    def _discord(self, method: str, words: list[str], query: dict, _headers: dict, body: Any) -> tuple[int, Any]:
        """docs.discord.com/developers/resources/webhook."""
        match method, words[1:]:
            case "POST", []:
                if len(body["content"]) > 2000:
                    return 400, {"message": "Invalid Form Body", "code": 50035}
                name = self._new(body["content"])
                return (200, {"id": name, "content": body["content"]}) if query.get("wait") == ["true"] else (204, "")
            case "PATCH", ["messages", name] if name in self.messages:
                self.messages[name] = body["content"]
                return 200, {"id": name, "content": body["content"]}
            case "DELETE", ["messages", name] if name in self.messages:
                del self.messages[name]
                return 204, ""
        return 404, {"message": "Unknown Message", "code": 10008}

    def _matrix(self, method: str, words: list[str], query: dict, headers: dict, body: Any) -> tuple[int, Any]:
        """spec.matrix.org/latest/client-server-api."""
        if headers.get("authorization") != f"Bearer {TOKEN}":
            return 401, {"errcode": "M_UNKNOWN_TOKEN", "error": "Invalid access token passed."}
        match method, words[3:]:
            case "GET", ["account", "whoami"]:
                return 200, {"user_id": "@cutover:matrix.example", "device_id": "ABC"}
            case "GET", ["rooms", "!r:matrix.example", "messages"]:
                limit = int(query.get("limit", ["10"])[0])
                chunk = [
                    {"event_id": f"${name}", "type": "m.room.message", "content": {"cutover.tag": self.tags[name]}}
                    for name in list(self.messages)[::-1][:limit]
                ]
                return 200, {"start": "t1", "chunk": [{"event_id": "$x", "type": "m.room.member"}, *chunk]}
            case "PUT", ["rooms", "!r:matrix.example", "send", "m.room.message", transaction]:
                return 200, {"event_id": self._sent(transaction, body)}
            case "PUT", ["rooms", "!r:matrix.example", "redact", event, _]:
                self.messages.pop(event.removeprefix("$"), None)
                return 200, {"event_id": "$redaction"}
        return 403, {"errcode": "M_FORBIDDEN", "error": "User not in room"}

    def _sent(self, transaction: str, body: Any) -> str:
        if transaction not in self.keys:
            if relation := body.get("m.relates_to"):
                self.messages[relation["event_id"].removeprefix("$")] = body["m.new_content"]["body"]
                self.keys[transaction] = "$edit"
            else:
                self.keys[transaction] = f"${self._new(body['body'], body['cutover.tag'])}"
        return self.keys[transaction]

    def _statuspage(self, method: str, words: list[str], _query: dict, headers: dict, body: Any) -> tuple[int, Any]:
        """developer.statuspage.io: top-level values of the metadata must be objects."""
        if headers.get("authorization") != f"OAuth {TOKEN}":
            return 401, {"error": "Could not authenticate"}
        incident = (body or {}).get("incident", {})
        metadata = incident.get("metadata", {})
        if not all(isinstance(value, dict) for value in metadata.values()):
            return 422, {"error": ["metadata values must be objects"]}
        match method, words[1:]:
            case "GET", [page]:
                return 200, {"id": page, "name": "A page"}
            case "GET", [_, "incidents"]:
                return 200, [self._incident(name) for name in list(self.messages)[::-1]]
            case "POST", [_, "incidents"]:
                return 201, self._incident(self._new(incident["body"], json.dumps(metadata)))
            case "PATCH", [_, "incidents", name] if name in self.messages:
                self.messages[name] = incident["body"]
                self.tags[name] = json.dumps(metadata) if metadata else self.tags[name]
                return 200, self._incident(name)
        return 404, {"error": "Not found"}

    def _incident(self, name: str) -> dict[str, Any]:
        return {"id": name, "name": "Planned maintenance", "metadata": json.loads(self.tags[name])}

    def _webhook(self, _method: str, _words: list[str], _query: dict, headers: dict, body: Any) -> tuple[int, Any]:
        """Ours: takes a tag once."""
        key = headers["idempotency-key"]
        assert key == body["tag"]
        self.keys[key] = self.keys.get(key) or self._new(body["text"])
        return 202, ""
