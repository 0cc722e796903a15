"""`point`: a point of no return that a runbook declares."""

from typing import ClassVar

from pydantic import Field

from cutover.model.kind import Cross, Kind, Point, Scope, Stage


class DeclaredPoint(Kind):
    """Declare a point of no return, to practise with.

    It does nothing but ask for the typed go that a real point asks for, or take the one that an `ask` step gave ahead
    (`arms`). Rehearsals use it to learn how a point feels. Where a step moves data or opens a door to users, the
    planner places the points by itself, and this kind cannot move them.

    What it proves: that a person let the run pass. Its way back: none is needed, it changes nothing.

    ```yaml
    - over: {point: {is: soft}}
    ```
    """

    name: ClassVar[str] = "point"

    is_: Point = Field(alias="is")
    """`soft`: going back is lossless under conditions. `hard`: there is no lossless way back after it."""

    def unfold(self, scope: Scope) -> tuple[Stage, ...]:  # noqa: ARG002 - it acts nowhere
        """Nothing but the point."""
        return (Cross(self.is_),)

    def claims_nothing_to_undo(self) -> str | None:
        """It only asks."""
        return "it only marks a point of no return"
