"""Statuses of a Mastodon account: https://docs.joinmastodon.org/methods/statuses/."""

import re
from collections.abc import Callable, Mapping
from html import unescape
from typing import Any

from cutover.channels.dialect import ENOUGH, Dialect, Message, Posting, json_of, said
from cutover.model.channels import Mastodon
from cutover.model.effects import Http, Reply, Sealed
from cutover.model.verdict import Verdict, failed, passed

_TAGS = re.compile(r"<[^>]*>")


class MastodonDialect(Dialect):
    """Its documentation: `POST /api/v1/statuses` with `Idempotency-Key`, `PUT` and `DELETE /api/v1/statuses/:id`."""

    longest = 460  # of 500: the rest is for the tag

    def __init__(self, name: str, channel: Mastodon, timeout: float) -> None:
        """As the base says."""
        super().__init__(name, channel, timeout)
        self._channel = channel
        self._statuses = f"{channel.server}/api/v1/statuses"
        self._me = f"{channel.server}/api/v1/accounts/verify_credentials"

    def headers(self) -> tuple[tuple[str, Sealed], ...]:
        """The token."""
        return (("Authorization", ("Bearer ", *self._channel.token)),)

    def post(self, message: Message) -> Posting:
        """The key is kept for an hour only, and not atomically: the account's last statuses are searched first."""
        account = json_of(message.before).get("id", "") if message.before and message.before.status == 200 else ""
        recent = f"{self._channel.server}/api/v1/accounts/{account or '${account}'}/statuses?limit=40"
        body = {"status": _tagged(message), "visibility": self._channel.visibility}
        return Posting(
            effect=self.request("POST", (self._statuses,), body, headers=(("Idempotency-Key", (message.tag,)),)),
            judge=self.named("id"),
            probe=self.searched(
                self.request("GET", (recent,), reads=True, cap=ENOUGH),
                lambda statuses: _find(statuses, message.tag),
                message.tag,
            ),
            before=self.request("GET", (self._me,), reads=True),
        )

    def retract(self, posted: Mapping[str, Any], message: Message) -> Posting:
        """An edit, which followers see as one, or a deletion."""
        url = (f"{self._statuses}/{posted['message']}",)
        if self._channel.retract == "delete":
            deletion = self.request("DELETE", url, idempotent=True)
            return Posting(effect=deletion, judge=self.gone_or(self.judged(self.done)))
        edit = self.request("PUT", url, {"status": _tagged(message)}, idempotent=True)
        return Posting(effect=edit, judge=self.judged(self.done))

    def check(self) -> tuple[Http, Callable[[Reply], Verdict]]:
        """Whose token it is."""

        def judge(reply: Reply) -> Verdict:
            found = json_of(reply)
            if reply.status == 200 and isinstance(found, dict) and found.get("id"):
                return passed(f"{self.name} takes the token")
            return failed(f"{self.name} does not take the token: it answered {reply.status}{said(reply)}")

        return self.request("GET", (self._me,), reads=True), judge


def _tagged(message: Message) -> str:
    return f"{message.text}\n\nrun {message.tag}"


def _find(statuses: Any, tag: str) -> dict[str, Any] | None:
    if not isinstance(statuses, list):
        raise TypeError
    for status in statuses:
        if unescape(_TAGS.sub(" ", status["content"])).rstrip().endswith(f"run {tag}"):
            return {"message": str(status["id"])}
    return None
