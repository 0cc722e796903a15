"""What the dialects share: the message, the request that posts it, and what a status means.

An answer of 2xx that names the message means that it is published. 429 means that it was not, and when it may be tried
again (RFC 6585 section 4); any other 4xx that it was not. After a 5xx nobody can tell: a gateway may have lost the
answer of a server that did post.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar

from cutover.model.channels import Channel
from cutover.model.effects import Http, Reply, Sealed
from cutover.model.kind import Probe
from cutover.model.text import visible_bytes, visible_line
from cutover.model.verdict import Probed, Verdict, passed, refused, unknown

THROTTLED = (420, 429)
"""Too many requests. 420 is what Statuspage answered until 2021."""
PAUSE = 30.0
"""Seconds to wait after a 429 that does not say how long."""
ENOUGH = 1 << 19
"""Bytes of a list of recent messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is said. what: start, update, end or retraction. tag: the run's mark on this very message.

    before: what was read before it was posted. first: what the channel's first message of this run noted.
    """

    text: str
    what: str
    run: str
    tag: str
    before: Reply | None = None
    first: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Posting:
    """A request that says something, and how to learn what became of it. before: read first."""

    effect: Http
    judge: Callable[[Reply], Verdict]
    probe: Probe | None = None
    before: Http | None = None


class Dialect:
    """How one kind of channel is spoken to."""

    longest: ClassVar[int]
    """Characters of a text that the service takes."""
    edits: ClassVar[bool] = True
    """Whether a message that was posted can be changed."""

    def __init__(self, name: str, channel: Channel, timeout: float) -> None:
        """name: the channel's in the runbook. timeout: seconds for each request."""
        self.name, self.elsewhere = name, channel.elsewhere
        self.timeout = timeout

    def post(self, message: Message) -> Posting:
        """What publishes a message."""
        raise NotImplementedError

    def retract(self, posted: Mapping[str, Any], message: Message) -> Posting | None:
        """What takes a message back that noted `posted` when it was published; None: another one does."""
        raise NotImplementedError

    def check(self) -> tuple[Http, Callable[[Reply], Verdict]] | None:
        """A reading that proves the token before the run; None where a channel has none that gives nothing away."""
        return None

    # --- what dialects are made of

    def request(self, method: Any, url: Sealed, body: Any = None, **fields: Any) -> Http:
        """A request with the channel's own headers, and perhaps a body of JSON."""
        headers: list[tuple[str, Sealed]] = [*self.headers(), *fields.pop("headers", ())]
        if body is not None:
            headers.append(("Content-Type", ("application/json; charset=utf-8",)))
        text: Sealed = (json.dumps(body, ensure_ascii=False),) if body is not None else ()
        return Http(method=method, url=url, headers=tuple(headers), body=text, timeout=self.timeout, **fields)

    def headers(self) -> tuple[tuple[str, Sealed], ...]:
        """The headers of every request."""
        return ()

    def judged(self, says: Callable[[Reply], Verdict]) -> Callable[[Reply], Verdict]:
        """A judge of answers: what `says` makes of 2xx, and what every other status means."""

        def judge(reply: Reply) -> Verdict:
            status = reply.status
            if status is None:
                return unknown(f"{self.name} gave no answer")
            if status in THROTTLED:
                return self.throttled(reply)
            if 200 <= status < 300:
                return says(reply)
            answered = f"{self.name} answered {status}{said(reply)}"
            if status >= 500 or status == 408:
                return unknown(f"{answered}; whether it was published, nobody can tell")
            return refused(answered)

        return judge

    def throttled(self, reply: Reply) -> Verdict:
        """Too many requests: not published, and not to be tried at once."""
        wait = retry_after(reply)
        return refused(f"{self.name} answered {reply.status}: too many requests, again in {wait:g} s", max(wait, 1.0))

    def published(self, **noted: Any) -> Verdict:
        """It is out. noted: by what it can be found again."""
        return passed(f"{self.name} has published it", **noted)

    def named(self, field_name: str, note: str = "message") -> Callable[[Reply], Verdict]:
        """A judge: published when the answer names the message."""

        def says(reply: Reply) -> Verdict:
            found = json_of(reply)
            if isinstance(found, dict) and (found_id := found.get(field_name)):
                return self.published(**{note: str(found_id)})
            return unknown(f"{self.name} answered {reply.status} and named no message{said(reply)}")

        return self.judged(says)

    def done(self, reply: Reply) -> Verdict:
        """A judge of 2xx that says no more than that it was done."""
        return passed(f"{self.name} answered {reply.status}")

    def gone_or(self, judge: Callable[[Reply], Verdict]) -> Callable[[Reply], Verdict]:
        """A judge of a deletion: what is not there needs no deleting."""
        return lambda reply: passed(f"{self.name}: it is gone") if reply.status in (404, 410) else judge(reply)

    def searched(self, effect: Http, find: Callable[[Any], dict[str, Any] | None], tag: str) -> Probe:
        """A probe that looks for a message among the latest.

        find: what it notes, from the answer, or None; raises TypeError, KeyError or AttributeError for what is no list.
        """

        def judge(reply: Reply, _: Reply | None) -> Probed:
            found = json_of(reply) if reply.status == 200 else None
            if found is None:
                return Probed("unknown", f"{self.name}: whether {tag} is published cannot be read{said(reply)}")
            try:
                noted = find(found)
            except (KeyError, TypeError, AttributeError):
                return Probed("unknown", f"{self.name}: the list of the latest messages is not as documented")
            if noted is not None:
                return Probed("done", f"{self.name} has published {tag}", noted)
            return Probed("not_done", f"{tag} is not among the latest messages of {self.name}")

        return Probe(effect=effect, judge=judge)


def json_of(reply: Reply) -> Any:
    """The body as JSON; None for anything else."""
    try:
        return json.loads(reply.body)
    except ValueError:
        return None


def said(reply: Reply) -> str:
    """The first words of an answer, for a sentence."""
    found = json_of(reply)
    words = next((found[key] for key in ("error", "message") if found.get(key)), "") if isinstance(found, dict) else ""
    text = visible_line(str(words) or visible_bytes(reply.body[:200]).strip())[:160]
    return f": {text}" if text else ""


def retry_after(reply: Reply) -> float:
    """Seconds to wait, as the answer says: `Retry-After` (RFC 9110 section 10.2.3) or a service's own words."""
    headers = {name.lower(): value for name, value in reply.headers}
    found = json_of(reply)
    own = found if isinstance(found, dict) else {}
    ways = (
        _number(headers.get("retry-after")),
        _number(own.get("retry_after")),  # Discord, in seconds
        _number(own.get("retry_after_ms"), 0.001),  # Matrix before v1.10
        _date(headers, "retry-after"),
        _date(headers, "x-ratelimit-reset"),  # Mastodon
    )
    return next((seconds for seconds in ways if seconds is not None), PAUSE)


def _number(value: Any, factor: float = 1.0) -> float | None:
    try:
        seconds = float(value) * factor
    except (TypeError, ValueError):
        return None
    return seconds if 0.0 <= seconds < float("inf") else None


def _date(headers: Mapping[str, str], name: str) -> float | None:
    """Seconds from the answer's own `Date` to another date in it: no clock of ours is asked."""
    try:
        now = parsedate_to_datetime(headers["date"])
        text = headers[name]
        then = datetime.fromisoformat(text) if text[:4].isdigit() else parsedate_to_datetime(text)
        return max(0.0, (then - now).total_seconds())
    except (KeyError, ValueError, TypeError):
        return None
