"""The table of moves: every state has a way to an end, illegal moves change nothing, and the docs are drawn from it."""

from pathlib import Path

import pytest

from cutover.engine import table
from cutover.engine.machine import RUN, STEP, Moves, mermaid
from cutover.errors import IllegalMove

DOC = Path(__file__).parents[2] / "docs" / "states.md"
TABLES = [
    pytest.param(RUN, table.RUN_STATES, table.RUN_MOVES, table.RUN_ENDED, id="run"),
    pytest.param(STEP, table.STEP_STATES, table.STEP_MOVES, table.STEP_SETTLED | {"undone"}, id="step"),
]


@pytest.mark.parametrize(("moves", "states", "rows", "ends"), TABLES)
def test_exactly_the_rows_of_the_table_are_legal(moves: Moves, states: tuple, rows: tuple, ends: frozenset) -> None:
    triggers = {trigger for trigger, _, _ in rows}
    legal = {(trigger, source): target for trigger, source, target in rows}
    assert len(legal) == len(rows), "a duplicate row would silently win over another"
    for state in states:
        for trigger in triggers:
            if (trigger, state) in legal:
                assert moves.move(state, trigger) == legal[trigger, state]
            else:
                with pytest.raises(IllegalMove):
                    moves.move(state, trigger)


@pytest.mark.parametrize(("moves", "states", "rows", "ends"), TABLES)
def test_every_state_has_a_way_to_an_end(moves: Moves, states: tuple, rows: tuple, ends: frozenset) -> None:
    reaches = set(ends)
    while more := {source for _, source, target in rows if target in reaches} - reaches:
        reaches |= more
    assert reaches == set(states)


def test_a_run_that_ended_does_not_move() -> None:
    assert not any(source in table.RUN_ENDED for _, source, _ in table.RUN_MOVES)


def drawn() -> str:
    return (
        "# The states\n\nDrawn from `cutover/engine/table.py` by a test; the engine moves by the same rows.\n\n"
        f"## A run\n\n```mermaid\n{mermaid(table.RUN_MOVES, 'preparing')}```\n\n"
        f"## A step\n\n```mermaid\n{mermaid(table.STEP_MOVES, 'pending')}```\n"
    )


def test_the_diagrams_are_drawn_from_the_table() -> None:
    assert DOC.read_text() == drawn(), "write tests.engine.test_table.drawn() to docs/states.md"
