"""Where something can be announced: the channels of a runbook, as written. What is sent is made in `channels/`.

Whoever knows a webhook's URL can post to it, so URLs of webhooks are secrets as tokens are.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

from cutover.model.effects import Sealed, SecretRef
from cutover.model.kind import Params
from cutover.model.sealed import SealedText

ELSEWHERE = "elsewhere"


def _holds_a_secret(text: Sealed) -> Sealed:
    if not any(isinstance(piece, SecretRef) for piece in text):
        raise PydanticCustomError("secret", "expected a secret, such as ${secret:NAME}; a runbook is no place for it")
    return text


Secret = Annotated[
    SealedText,
    AfterValidator(_holds_a_secret),
    WithJsonSchema({"type": "string", "pattern": r"\$\{secret:", "description": "A secret, ${secret:NAME}."}),
]
Server = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*[^\s/?#])?$")]
"""The URL that the paths of an API begin with, without a slash at its end."""
Word = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,255}$")]
HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")]
Retract = Literal["edit", "delete"]


class Channel(Params):
    """Base of the channels."""

    lives_on: Annotated[str, StringConstraints(min_length=1)]
    """The site it depends on, or `elsewhere`. Only a channel that lives elsewhere may confirm an announcement."""

    @property
    def elsewhere(self) -> bool:
        """Whether it lives on none of the sites."""
        return self.lives_on == ELSEWHERE


class Mastodon(Channel):
    """A status of a Mastodon account.

    Needs a token with the scopes `read:accounts`, `read:statuses` and `write:statuses`. Every status ends with the
    run's tag, so that it can be found again: before anything is posted a second time, the account's last statuses are
    searched for it. The same tag is sent as `Idempotency-Key`, which the server keeps for one hour
    (https://docs.joinmastodon.org/methods/statuses/#create). A status is taken back by editing it, or deleted.
    """

    kind: Literal["mastodon"]
    """The kind of channel."""
    server: Server
    """The server, such as https://social.example."""
    token: Secret
    """The access token."""
    visibility: Literal["public", "unlisted", "private"] = "public"
    """Who sees the status."""
    retract: Retract = "edit"
    """How it is taken back: the text is replaced, or the status deleted."""


class Slack(Channel):
    """A message of a Slack app in one channel.

    Needs a bot token with the scope `chat:write`, and the app in the channel. Slack has no protection against a
    message sent twice: an answer that is lost leaves it in doubt. It answers errors with status 200 and `ok: false`;
    of `internal_error` and `fatal_error` it says itself that the message may have been posted
    (https://docs.slack.dev/reference/methods/chat.postMessage).
    """

    kind: Literal["slack"]
    """The kind of channel."""
    channel: Word
    """The channel's id, such as C0123456789."""
    token: Secret
    """The bot token."""
    api: Server = "https://slack.com/api"
    """Where Slack's API is."""
    retract: Retract = "edit"
    """How it is taken back: the text is replaced, or the message deleted."""


class SlackWebhook(Channel):
    """A message through an incoming webhook of Slack.

    Slack answers it with no more than `ok` (https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks):
    a message can be neither found nor edited. It is taken back by a second message, and in doubt when an answer is
    lost.
    """

    kind: Literal["slack_webhook"]
    """The kind of channel."""
    url: Secret
    """The webhook's URL."""


class Discord(Channel):
    """A message through a webhook of Discord.

    Sent with `wait=true`: only then does Discord answer with the message's id, or with an error
    (https://docs.discord.com/developers/resources/webhook#execute-webhook). Nobody is mentioned by it. A message cannot
    be searched for: an answer that is lost leaves it in doubt.
    """

    kind: Literal["discord"]
    """The kind of channel."""
    url: Secret
    """The webhook's URL, without a query."""
    retract: Retract = "edit"
    """How it is taken back: the text is replaced, or the message deleted."""


class Matrix(Channel):
    """A notice in a Matrix room.

    The transaction id in its path is made from the run and the step, so a server that knows it answers a second time
    with the first event (https://spec.matrix.org/latest/client-server-api/#transaction-identifiers); since servers
    forget them, the room's last events are searched for the run's tag before anything is sent again. The tag is in
    the event and not shown. It is taken back by an edit (`m.replace`), or redacted.
    """

    kind: Literal["matrix"]
    """The kind of channel."""
    server: Server
    """The homeserver's URL."""
    room: Annotated[str, StringConstraints(pattern=r"^![!-~]{1,254}$")]
    """The room's id, such as !abc:matrix.example."""
    token: Secret
    """The access token of an account that is in the room."""
    retract: Retract = "edit"
    """How it is taken back: the text is replaced, or the event redacted."""


class Statuspage(Channel):
    """An incident on a page of Atlassian Statuspage.

    The start opens an incident, an update adds to it, the end resolves it, and so does the retraction, with its own
    words. The run's tag is in the incident's `metadata`, where it is searched for before an incident is opened again
    (https://developer.statuspage.io/#tag/incidents). One request per second is allowed.
    """

    kind: Literal["statuspage"]
    """The kind of channel."""
    page: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]{1,64}$")]
    """The page's id."""
    token: Secret
    """The API key."""
    title: Annotated[str, StringConstraints(min_length=1, max_length=200)] = "Planned maintenance"
    """The incident's name."""
    api: Server = "https://api.statuspage.io/v1"
    """Where Statuspage's API is."""


class Webhook(Channel):
    """A POST of JSON to a URL of your own: `{"text": …, "what": "start", "run": …, "tag": …}`.

    Any status of 2xx means that it has been published. The tag is the same for every attempt at one message and is sent
    as `Idempotency-Key` too; say `idempotent: true` where the other side takes a tag only once. Elsewhere an answer
    that is lost leaves it in doubt. It is taken back by a second message, with `"what": "retraction"`.
    """

    kind: Literal["webhook"]
    """The kind of channel."""
    url: Secret
    """The URL."""
    header: dict[HeaderName, SealedText] = Field(default_factory=dict)
    """Headers to send."""
    idempotent: bool = False
    """Whether the other side takes a message with the same tag only once."""


AnyChannel = Annotated[
    Mastodon | Slack | SlackWebhook | Discord | Matrix | Statuspage | Webhook, Field(discriminator="kind")
]

CHANNELS: tuple[type[Channel], ...] = (Mastodon, Slack, SlackWebhook, Discord, Matrix, Statuspage, Webhook)
"""Every kind of channel."""
