"""What is sent to each kind of channel, and what its answers mean: one file for each service."""

from cutover.channels.dialect import Dialect, Message, Posting
from cutover.channels.discord import DiscordDialect
from cutover.channels.mastodon import MastodonDialect
from cutover.channels.matrix import MatrixDialect
from cutover.channels.slack import SlackDialect, SlackWebhookDialect
from cutover.channels.statuspage import StatuspageDialect
from cutover.channels.webhook import WebhookDialect
from cutover.model import channels as model

__all__ = ["Dialect", "Message", "Posting", "dialect_of"]

_DIALECTS: dict[type[model.Channel], type[Dialect]] = {
    model.Mastodon: MastodonDialect,
    model.Slack: SlackDialect,
    model.SlackWebhook: SlackWebhookDialect,
    model.Discord: DiscordDialect,
    model.Matrix: MatrixDialect,
    model.Statuspage: StatuspageDialect,
    model.Webhook: WebhookDialect,
}


def dialect_of(name: str, channel: model.Channel, timeout: float) -> Dialect:
    """What speaks to a channel. name: the channel's in the runbook. timeout: seconds for each request."""
    return _DIALECTS[type(channel)](name, channel, timeout)
