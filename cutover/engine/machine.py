"""The one place that uses `transitions`: it says which moves are legal, and does no work.

One synchronous `Machine` serves every step: a step's state is set on a cursor, the trigger is tried, the new state is
read back. Models per step would cost a bound method per trigger and step, and callbacks would act before the journal.
"""

from collections.abc import Iterable

from transitions import Machine, MachineError

from cutover.engine import table
from cutover.errors import IllegalMove


class _Cursor:
    state: str


class Moves:
    """A table of legal moves."""

    def __init__(self, what: str, states: Iterable[str], moves: Iterable[tuple[str, str, str]]) -> None:
        """`what` names the table in errors: "run" or "step"."""
        self._what = what
        self._cursor = _Cursor()
        self._machine = Machine(
            model=self._cursor,
            states=list(states),
            transitions=[{"trigger": trigger, "source": source, "dest": target} for trigger, source, target in moves],
            initial=next(iter(states)),
            auto_transitions=False,
            send_event=False,
        )

    def move(self, state: str, trigger: str) -> str:
        """The state that follows. Raises IllegalMove where the table has no such row."""
        self._machine.set_state(state, self._cursor)
        try:
            self._cursor.trigger(trigger)  # type: ignore[attr-defined]  # bound by transitions at run time
        except (MachineError, AttributeError):
            raise IllegalMove(f"a {self._what} that is {state} cannot {trigger.replace('_', ' ')}") from None
        return self._cursor.state

    def allows(self, state: str, trigger: str) -> bool:
        """Whether the table has that row."""
        try:
            self.move(state, trigger)
        except IllegalMove:
            return False
        return True


RUN = Moves("run", table.RUN_STATES, table.RUN_MOVES)
STEP = Moves("step", table.STEP_STATES, table.STEP_MOVES)


def mermaid(moves: Iterable[tuple[str, str, str]], initial: str) -> str:
    """The table as a Mermaid state diagram, for the documentation."""
    rows = [f"    [*] --> {initial}"] + [f"    {source} --> {target}: {name}" for name, source, target in moves]
    return "\n".join(["stateDiagram-v2", *rows]) + "\n"
