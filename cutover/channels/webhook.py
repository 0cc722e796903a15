"""A POST to a URL of one's own."""

from collections.abc import Mapping
from typing import Any

from cutover.channels.dialect import Dialect, Message, Posting
from cutover.model.channels import Webhook
from cutover.model.effects import Reply, Sealed
from cutover.model.verdict import Verdict


class WebhookDialect(Dialect):
    """2xx means published."""

    longest = 60_000
    edits = False

    def __init__(self, name: str, channel: Webhook, timeout: float) -> None:
        """As the base says."""
        super().__init__(name, channel, timeout)
        self._channel = channel

    def headers(self) -> tuple[tuple[str, Sealed], ...]:
        """Those that the runbook gives."""
        return tuple(self._channel.header.items())

    def post(self, message: Message) -> Posting:
        """In doubt when its answer is lost, unless the other side takes a tag only once."""
        body = {"text": message.text, "what": message.what, "run": message.run, "tag": message.tag}
        key: tuple[tuple[str, Sealed], ...] = (("Idempotency-Key", (message.tag,)),)
        once = self._channel.idempotent
        effect = self.request("POST", self._channel.url, body, headers=key, idempotent=once)
        return Posting(effect=effect, judge=self.judged(self._published))

    def retract(self, posted: Mapping[str, Any], message: Message) -> Posting:  # noqa: ARG002 - it has no name
        """A second message."""
        return self.post(message)

    def _published(self, _: Reply) -> Verdict:
        return self.published()
