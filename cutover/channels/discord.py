"""Messages through a webhook of Discord: https://docs.discord.com/developers/resources/webhook."""

from collections.abc import Mapping
from typing import Any

from cutover.channels.dialect import Dialect, Message, Posting
from cutover.model.channels import Discord


class DiscordDialect(Dialect):
    """Its documentation: `POST ...?wait=true`, `PATCH` and `DELETE .../messages/{id}`; 2,000 characters.

    There is no check: reading a webhook answers its token, which no journal should hold.
    """

    longest = 2_000

    def __init__(self, name: str, channel: Discord, timeout: float) -> None:
        """As the base says."""
        super().__init__(name, channel, timeout)
        self._channel = channel

    def post(self, message: Message) -> Posting:
        """In doubt when its answer is lost: a webhook cannot list what it has posted."""
        effect = self.request("POST", (*self._channel.url, "?wait=true"), _content(message))
        return Posting(effect=effect, judge=self.named("id"))

    def retract(self, posted: Mapping[str, Any], message: Message) -> Posting:
        """An edit, or a deletion."""
        url = (*self._channel.url, f"/messages/{posted['message']}")
        if self._channel.retract == "delete":
            deletion = self.request("DELETE", url, idempotent=True)
            return Posting(effect=deletion, judge=self.gone_or(self.judged(self.done)))
        edit = self.request("PATCH", url, _content(message), idempotent=True)
        return Posting(effect=edit, judge=self.judged(self.done))


def _content(message: Message) -> dict[str, Any]:
    return {"content": message.text, "allowed_mentions": {"parse": []}}
