"""Notices in a Matrix room: https://spec.matrix.org/latest/client-server-api/."""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from cutover.channels.dialect import ENOUGH, Dialect, Message, Posting, json_of, said
from cutover.model.channels import Matrix
from cutover.model.effects import Http, Reply, Sealed
from cutover.model.verdict import Verdict, failed, passed

TAG = "cutover.tag"
"""The field of an event's content that holds the run's tag; clients do not show it."""


class MatrixDialect(Dialect):
    """Its documentation: `PUT .../send/{eventType}/{txnId}`, `m.replace`, `PUT .../redact/{eventId}/{txnId}`."""

    longest = 16_000  # an event may have 64 KiB, with everything around the text

    def __init__(self, name: str, channel: Matrix, timeout: float) -> None:
        """As the base says."""
        super().__init__(name, channel, timeout)
        self._channel = channel
        self._room = f"{channel.server}/_matrix/client/v3/rooms/{quote(channel.room, safe='')}"

    def headers(self) -> tuple[tuple[str, Sealed], ...]:
        """The token."""
        return (("Authorization", ("Bearer ", *self._channel.token)),)

    def post(self, message: Message) -> Posting:
        """The transaction id protects as long as the server remembers it; after that the tag does."""
        content = {"msgtype": "m.notice", "body": message.text, TAG: message.tag}
        recent = self.request("GET", (f"{self._room}/messages?dir=b&limit=100",), reads=True, cap=ENOUGH)
        return Posting(
            effect=self._send(message.tag, content),
            judge=self.named("event_id"),
            probe=self.searched(recent, lambda page: _find(page, message.tag), message.tag),
        )

    def retract(self, posted: Mapping[str, Any], message: Message) -> Posting:
        """An edit, or a redaction; both under a transaction id of their own."""
        event = posted["message"]
        if self._channel.retract == "delete":
            url = f"{self._room}/redact/{quote(event, safe='${}')}/{message.tag}"
            effect = self.request("PUT", (url,), {"reason": message.text}, idempotent=True)
            return Posting(effect=effect, judge=self.judged(self.done))
        new = {"msgtype": "m.notice", "body": message.text}
        relation = {"rel_type": "m.replace", "event_id": event}
        content = {**new, "body": f"* {message.text}", "m.new_content": new, "m.relates_to": relation}
        return Posting(effect=self._send(message.tag, content, idempotent=True), judge=self.judged(self.done))

    def check(self) -> tuple[Http, Callable[[Reply], Verdict]]:
        """Whose token it is."""

        def judge(reply: Reply) -> Verdict:
            found = json_of(reply)
            if reply.status == 200 and isinstance(found, dict) and found.get("user_id"):
                return passed(f"{self.name} takes the token")
            return failed(f"{self.name} does not take the token: it answered {reply.status}{said(reply)}")

        url = f"{self._channel.server}/_matrix/client/v3/account/whoami"
        return self.request("GET", (url,), reads=True), judge

    def _send(self, transaction: str, content: dict[str, Any], **fields: Any) -> Http:
        return self.request("PUT", (f"{self._room}/send/m.room.message/{transaction}",), content, **fields)


def _find(page: Any, tag: str) -> dict[str, Any] | None:
    for event in page["chunk"]:
        if event.get("content", {}).get(TAG) == tag:
            return {"message": str(event["event_id"])}
    return None
