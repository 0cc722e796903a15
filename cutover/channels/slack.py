"""Messages of a Slack app, and through an incoming webhook: https://docs.slack.dev/reference/methods/chat.postMessage."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from cutover.channels.dialect import PAUSE, Dialect, Message, Posting, json_of, retry_after, said
from cutover.model.channels import Slack, SlackWebhook
from cutover.model.effects import Http, Reply, Sealed
from cutover.model.verdict import Verdict, failed, passed, refused, unknown

PERHAPS = ("internal_error", "fatal_error", "request_timeout", "service_unavailable")
"""Errors after which, says Slack, "some aspect of the operation" may have succeeded, or nothing can be known."""
GONE = ("message_not_found",)


class SlackDialect(Dialect):
    """Its documentation: `chat.postMessage` answers `ts`; `chat.update` and `chat.delete` take it.

    One message a second; an error comes with status 200 and `ok: false`.
    """

    longest = 4_000

    def __init__(self, name: str, channel: Slack, timeout: float) -> None:
        """As the base says."""
        super().__init__(name, channel, timeout)
        self._channel = channel

    def headers(self) -> tuple[tuple[str, Sealed], ...]:
        """The token."""
        return (("Authorization", ("Bearer ", *self._channel.token)),)

    def post(self, message: Message) -> Posting:
        """In doubt when its answer is lost: Slack cannot be asked without leave to read the channel."""
        body = {"channel": self._channel.channel, "text": message.text, "unfurl_links": False}

        def says(found: dict[str, Any]) -> Verdict:
            if found.get("ts") and found.get("channel"):
                return self.published(message=str(found["ts"]), channel=str(found["channel"]))
            return unknown(f"{self.name} said ok and named no message")

        return Posting(effect=self._call("chat.postMessage", body), judge=self._judge(says))

    def retract(self, posted: Mapping[str, Any], message: Message) -> Posting:
        """An edit, or a deletion."""
        where = {"channel": posted.get("channel", self._channel.channel), "ts": posted["message"]}
        if self._channel.retract == "delete":
            call = self._call("chat.delete", where, idempotent=True)
        else:
            call = self._call("chat.update", {**where, "text": message.text}, idempotent=True)
        deletes = self._channel.retract == "delete"

        def judge(reply: Reply) -> Verdict:
            found = json_of(reply)
            if deletes and isinstance(found, dict) and found.get("error") in GONE:
                return passed(f"{self.name}: it is gone")
            return self._judge(lambda _: passed(f"{self.name} said ok"))(reply)

        return Posting(effect=call, judge=judge)

    def check(self) -> tuple[Http, Callable[[Reply], Verdict]]:
        """`auth.test`: whose token it is."""
        judged = self._judge(lambda _: passed(f"{self.name} takes the token"))

        def judge(reply: Reply) -> Verdict:
            verdict = judged(reply)
            return verdict if verdict.passed else failed(verdict.because)

        return replace(self._call("auth.test", None), method="GET", reads=True), judge

    def _call(self, method: str, body: Any, **fields: Any) -> Http:
        return self.request("POST", (f"{self._channel.api}/{method}",), body, **fields)

    def _judge(self, says: Callable[[dict[str, Any]], Verdict]) -> Callable[[Reply], Verdict]:
        def answered(reply: Reply) -> Verdict:
            found = json_of(reply)
            if not isinstance(found, dict) or not isinstance(found.get("ok"), bool):
                return unknown(f"{self.name} gave an answer that is none of Slack's{said(reply)}")
            if found["ok"]:
                return says(found)
            error = str(found.get("error", ""))
            if error in ("ratelimited", "rate_limited"):
                return refused(f"{self.name}: too many requests", max(1.0, retry_after(reply) or PAUSE))
            if error in PERHAPS:
                return unknown(f"{self.name} said no{said(reply)}; Slack says that it may have been done all the same")
            return refused(f"{self.name} said no{said(reply)}")

        return self.judged(answered)


class SlackWebhookDialect(Dialect):
    """Its documentation: the answer is `ok` in plain text, and no message is named."""

    longest = 4_000
    edits = False

    def __init__(self, name: str, channel: SlackWebhook, timeout: float) -> None:
        """As the base says."""
        super().__init__(name, channel, timeout)
        self._url = channel.url

    def post(self, message: Message) -> Posting:
        """In doubt when its answer is lost."""

        def says(reply: Reply) -> Verdict:
            if reply.body.strip() == b"ok":
                return self.published()
            return unknown(f"{self.name} answered {reply.status}, not ok{said(reply)}")

        return Posting(effect=self.request("POST", self._url, {"text": message.text}), judge=self.judged(says))

    def retract(self, posted: Mapping[str, Any], message: Message) -> Posting:  # noqa: ARG002 - it has no name
        """A second message."""
        return self.post(message)
