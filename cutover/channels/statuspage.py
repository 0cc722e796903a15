"""Incidents on a page of Atlassian Statuspage: https://developer.statuspage.io/#tag/incidents."""

from collections.abc import Callable, Mapping
from typing import Any

from cutover.channels.dialect import ENOUGH, Dialect, Message, Posting, json_of, said
from cutover.model.channels import Statuspage
from cutover.model.effects import Http, Reply, Sealed
from cutover.model.verdict import Verdict, failed, passed

STATUS = {"start": "identified", "update": "monitoring", "end": "resolved", "retraction": "resolved"}


class StatuspageDialect(Dialect):
    """Its documentation: `POST /pages/{id}/incidents`, `PATCH` and `DELETE .../incidents/{id}`; `metadata` is free.

    Each top-level value of the metadata must be an object. An update says the same thing when it is sent twice, but it
    is shown twice: whether it is there, the metadata tells, which holds the tag of the last message.
    """

    longest = 25_000

    def __init__(self, name: str, channel: Statuspage, timeout: float) -> None:
        """As the base says."""
        super().__init__(name, channel, timeout)
        self._channel = channel
        self._incidents = f"{channel.api}/pages/{channel.page}/incidents"

    def headers(self) -> tuple[tuple[str, Sealed], ...]:
        """The API key."""
        return (("Authorization", ("OAuth ", *self._channel.token)),)

    def post(self, message: Message) -> Posting:
        """The first message opens an incident, a later one adds to it."""
        incident: dict[str, Any] = {"status": STATUS[message.what], "body": message.text}
        incident["metadata"] = {"cutover": {"tag": message.tag}}
        recent = self.request("GET", (f"{self._incidents}?limit=20",), reads=True, cap=ENOUGH)
        if opened := message.first.get("message"):
            effect = self.request("PATCH", (f"{self._incidents}/{opened}",), {"incident": incident})
        else:
            incident["name"] = self._channel.title
            effect = self.request("POST", (self._incidents,), {"incident": incident})
        probe = self.searched(recent, lambda incidents: _find(incidents, message.tag), message.tag)
        return Posting(effect=effect, judge=self.named("id"), probe=probe)

    def retract(self, posted: Mapping[str, Any], message: Message) -> Posting | None:
        """The incident is resolved with other words; what only added to it is taken back with it."""
        if message.first.get("message"):
            return None
        incident = {"status": STATUS["retraction"], "body": message.text}
        url = (f"{self._incidents}/{posted['message']}",)
        effect = self.request("PATCH", url, {"incident": incident}, idempotent=True)
        return Posting(effect=effect, judge=self.judged(self.done))

    def check(self) -> tuple[Http, Callable[[Reply], Verdict]]:
        """Whether the key may read the page."""

        def judge(reply: Reply) -> Verdict:
            found = json_of(reply)
            if reply.status == 200 and isinstance(found, dict) and found.get("id") == self._channel.page:
                return passed(f"{self.name} takes the key")
            return failed(f"{self.name} does not take the key: it answered {reply.status}{said(reply)}")

        return self.request("GET", (f"{self._channel.api}/pages/{self._channel.page}",), reads=True), judge


def _find(incidents: Any, tag: str) -> dict[str, Any] | None:
    if not isinstance(incidents, list):
        raise TypeError
    for incident in incidents:
        if (incident.get("metadata") or {}).get("cutover", {}).get("tag") == tag:
            return {"message": str(incident["id"])}
    return None
