"""`announce`: tell people, on the channels of the runbook."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from cutover.channels import Dialect, Message, Posting, dialect_of
from cutover.model.effects import Reply
from cutover.model.kind import RUN_FACTS, Act, Acts, Check, Facts, Kind, Scope, ScopeError, Selectors, Stage
from cutover.model.runbook import Name

What = Literal["start", "update", "end"]
Text = Annotated[str, StringConstraints(min_length=1, max_length=60_000, pattern=r"^[^\x00]*$")]
Confirm = Annotated[
    Literal["any", "all"] | tuple[Name, ...],
    BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value),
    WithJsonSchema(
        {"anyOf": [{"enum": ["any", "all"]}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
    ),
]
# What a value of the run may be longer than its name.
_ROOM = 20


class Announce(Kind):
    """Tell people what happens, on one or several channels at once.

    The first announcement of a runbook is the `start`, the last of several is the `end`, and those between are
    updates, unless they say otherwise. Nothing that disrupts may begin before the start is *confirmed*: published, by
    the service's own answer, on a channel that lives `elsewhere`, since the moved site is no witness of itself.
    `confirm` says on how many: `any` of those elsewhere, `all` of them, or the ones named. The start holds the run
    until then, and asks when it fails. All else holds neither the run nor a way back: it is tried again beside the
    run, and what has not come through a minute after the run's end is listed as outstanding.

    The text may speak of the run: `${run.id}`, `${run.plan}` (the beginning of its plan's hash), `${run.began}` (in
    UTC) and `${run.window}` (how long users could not write, so far).

    What it proves: what the service answers; for the start, before the run, that it takes the token. A message that
    may or may not have been published is searched for where the service can be asked, and never repeated blindly. Its
    way back: each message is edited to the `retraction`, or deleted, or followed by a second one, as the channel
    allows. What each channel does is in [channels](../channels.md).

    ```yaml
    - tell:
        announce:
          channels: [status, mastodon]
          text: We move at 20:00 UTC, for about half an hour.
          confirm: [status]
    - moving: {announce: {what: update, channels: [mastodon], text: "We are on our way (run ${run.id})."}}
    - told: {announce: {channels: [status, mastodon], text: "We are home. Writes were paused for ${run.window}."}}
    ```
    """

    name: ClassVar[str] = "announce"

    channels: Selectors
    """The channels, as they are named under `channels`: one, or a list."""
    text: Text
    """What is said."""
    what: What | None = None
    """`start`, `update` or `end`; without it, by its place among the announcements."""
    confirm: Confirm | None = None
    """Of a start: which channels must have published it before the run goes on: `any`, `all`, or a list. Without it,
    any channel that lives elsewhere."""
    retraction: Annotated[Text, Field(max_length=400)] = "Called off: everything stays where it was."
    """What is said instead when the run goes back."""

    @model_validator(mode="after")
    def _fits(self) -> "Announce":
        if self.confirm is not None and self.what in ("update", "end"):
            raise PydanticCustomError("announce", "Only a start is confirmed; leave out 'confirm'.")
        if len(set(self.channels)) < len(self.channels):
            raise PydanticCustomError("announce", "A channel is named twice.")
        return self

    def placed(self, number: int, count: int) -> "Announce":
        """The first is the start, the last of several the end."""
        if self.what is not None:
            return self
        return self.model_copy(update={"what": "start" if number == 0 else "end" if number == count - 1 else "update"})

    def unfold(self, scope: Scope) -> tuple[Stage, ...]:
        """One act for each channel; those that need not confirm are beside the run."""
        confirming = self._confirming(scope)
        beside = tuple(self._act(name, scope, beside=True) for name in self.channels if name not in confirming)
        needed = tuple(self._act(name, scope, beside=False) for name in confirming)
        enough: Literal["all", "any"] = "any" if self.confirm in (None, "any") and len(needed) > 1 else "all"
        return tuple(stage for stage in (Acts(beside), Acts(needed, enough)) if stage.acts)

    def checks(self, scope: Scope) -> tuple[Check, ...]:
        """Whether the services take the tokens, where the start depends on each of them."""
        names = self._confirming(scope)
        if self.confirm in (None, "any") and len(names) > 1:
            return ()  # one of them is enough
        found = ((name, self._dialect(name, scope).check()) for name in names)
        return tuple(
            Check(key=f"token.{name}", title=f"{name} takes its token", effect=check[0], judge=check[1])
            for name, check in found
            if check is not None
        )

    def disruptive(self, scope: Scope) -> bool:  # noqa: ARG002 - wherever it is said
        """Words disrupt nothing."""
        return False

    def announces(self, scope: Scope) -> tuple[str, ...]:
        """Those that confirm the start."""
        return self._confirming(scope)

    def _confirming(self, scope: Scope) -> tuple[str, ...]:
        """The channels that the step waits for. Raises ScopeError for one that may not confirm, or is not there."""
        if self.what in ("update", "end"):
            if self.confirm is not None:  # by its place; where it is said, the loader has refused it
                raise ScopeError(f"only a start is confirmed, and this is the {self.what} by its place", "confirm", ())
            return ()
        elsewhere = tuple(name for name in self.channels if self._dialect(name, scope).elsewhere)
        if not isinstance(self.confirm, tuple):
            return elsewhere
        for name in self.confirm:
            if name not in self.channels:
                raise ScopeError(f"'{name}' should confirm, and is none of its channels", name, self.channels)
            if name not in elsewhere:
                site = scope.channels[name].lives_on
                message = f"'{name}' lives on {site}: only a channel that lives elsewhere may confirm"
                raise ScopeError(message, name, elsewhere)
        return self.confirm

    def _dialect(self, name: str, scope: Scope) -> Dialect:
        if name not in scope.channels:
            raise ScopeError(f"there is no channel '{name}'", name, scope.channels)
        dialect = dialect_of(name, scope.channels[name], scope.timeout)
        for text in (self.text, self.retraction):
            room = _ROOM * sum(text.count(f"${{run.{fact}}}") for fact in RUN_FACTS)
            if len(text) + room > dialect.longest:
                message = f"the text may have {len(text) + room} characters, and '{name}' takes {dialect.longest}"
                raise ScopeError(message, text, ())
        return dialect

    def _act(self, name: str, scope: Scope, *, beside: bool) -> Act:
        """The act on one channel: as the plan shows it, and a way to make it again when the run's facts are known."""
        dialect, what = self._dialect(name, scope), self.what or "start"

        def made(facts: Facts) -> Act:
            posting = dialect.post(self._message(self.text, what, name, scope, facts))
            act = _act_of(f"post.{name}", f"announce the {what} on {name}", posting)
            return replace(act, undo=self._undo(dialect, name, scope, facts), beside=beside)

        return replace(made(Facts()), late=made)

    def _undo(self, dialect: Dialect, name: str, scope: Scope, facts: Facts) -> Callable[[Reply | None], Act | None]:
        """Its retraction, made from what was noted when it was published."""

        def undo(_: Reply | None) -> Act | None:
            message = self._message(self.retraction, "retraction", name, scope, facts)
            noted = {"message": "${message}"} if facts.planned else facts.observed
            title = f"retract what was announced on {name}"
            if dialect.edits and "message" not in noted:
                # Nobody knows its id (a person said that it is out): a second message is all that is left.
                return replace(_act_of(f"undo-post.{name}", title, dialect.post(message)), beside=True)
            posting = dialect.retract(noted, message)
            return None if posting is None else replace(_act_of(f"undo-post.{name}", title, posting), beside=True)

        return undo

    def _message(self, text: str, what: str, name: str, scope: Scope, facts: Facts) -> Message:
        mark = hashlib.sha256(f"{scope.step} {name} {what == 'retraction'}".encode()).hexdigest()[:8]
        for fact in RUN_FACTS:
            text = text.replace(f"${{run.{fact}}}", getattr(facts, fact))
        # A plan shows what is sent when all goes well: after a start.
        first = {"message": "${message}"} if facts.planned and self.what in ("update", "end") else facts.first
        tag = f"{facts.id}-{mark}"
        return Message(text=text, what=what, run=facts.id, tag=tag, before=facts.before, first=first)


def _act_of(key: str, title: str, posting: Posting) -> Act:
    return Act(
        key=key,
        title=title,
        effect=posting.effect,
        disruptive=False,
        before=posting.before,
        probe=posting.probe,
        judge=posting.judge,
    )
