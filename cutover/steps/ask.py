"""`ask`: a question to a person."""

from typing import Annotated, ClassVar, Literal

from pydantic import StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from cutover.model.kind import Ask, Kind, Params, Point, Scope, Stage
from cutover.model.units import Duration


class Back(Params):
    """Go back when nobody has answered."""

    back: Duration
    """After this time. Only while the way back is lossless; once it is not, silence holds."""


class AskPerson(Kind):
    """Stop until a person says go.

    The run goes on at `go`; at `back` it is aborted and walks its way back. With `typed` the go is a word that belongs
    to this run alone and has to be typed. A go may reach further: `arms` lets the run pass the named points of no
    return without asking again, provided that every guard of the point is green at that moment.

    Silence holds the run, for as long as it takes. `silence: {back: 4m}` goes back after four minutes instead, as long
    as nothing would be lost by it. `until` only says how long an answer is expected to take.

    What it proves: who said go, and when. Its way back: none is needed, it only asks.

    ```yaml
    - look:
        ask:
          question: fra1 serves the new site to us alone. Let users in?
          typed: true
          arms: [hard]
          silence: {back: 4m}
    ```
    """

    name: ClassVar[str] = "ask"

    question: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    """What is asked."""
    typed: bool = False
    """Whether the go has to be typed, as a word of this run."""
    arms: tuple[Point, ...] = ()
    """The points of no return that this go passes ahead."""
    until: Duration | None = None
    """How long an answer is expected to take; the run holds on after it."""
    silence: Literal["hold"] | Back = "hold"
    """What happens when nobody answers: `hold`, or `{back: 4m}`."""

    @model_validator(mode="after")
    def _one_time(self) -> "AskPerson":
        if self.until is not None and isinstance(self.silence, Back):
            raise PydanticCustomError("ask", "'until' and 'silence' both say how long; leave out 'until'.")
        return self

    def unfold(self, scope: Scope) -> tuple[Stage, ...]:  # noqa: ARG002 - it acts nowhere
        """One question."""
        back = self.silence if isinstance(self.silence, Back) else None
        question = Ask(
            key="ask",
            question=self.question,
            typed=self.typed,
            arms=frozenset(self.arms),
            silence="back" if back else "hold",
            until=back.back if back else self.until,
        )
        return (question,)

    def claims_nothing_to_undo(self) -> str | None:
        """It only asks."""
        return "it only asks"
