"""Databases of a runbook: where they are, what is guessed, what is pinned, and what is refused."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from cutover.errors import CutoverError
from cutover.model.plan import Source
from cutover.planning import pins, planner
from cutover.planning.problems import Refused
from cutover.planning.review import review
from cutover.simulator.clock import LoopClock, VirtualLoop
from cutover.simulator.healthy import healthy
from cutover.simulator.world import SimWorld
from cutover.steps import KINDS
from tests.engine.postgres_move import MOVE


def source(text: str = MOVE, **more: str) -> Source:
    return Source(file="move.yaml", runbook=text, **more)  # type: ignore[arg-type]


def pinned(text: str) -> str:
    """The pins that are found in the healthy world of a plan."""
    plan = planner.plan(source(text), KINDS)

    async def collect() -> str:
        world = SimWorld(healthy(plan), LoopClock())
        await world.connect(plan.hosts)
        return pins.written(await pins.collect(world, plan))

    with asyncio.Runner(loop_factory=lambda: VirtualLoop(0.0)) as runner:
        return runner.run(collect())


def test_a_cluster_is_found_pinned_and_compared() -> None:
    text = pinned(MOVE)
    assert '  "old":\n    system_identifier: "7' in text
    plan = planner.plan(source(pins=text), KINDS)
    assert plan.pinned
    old, new = plan.scope.database("old"), plan.scope.database("new")
    assert old.system_identifier == new.system_identifier is not None
    assert (old.directory, old.hba) == ("/var/lib/postgresql/15/main", "/etc/postgresql/15/main/pg_hba.conf")
    assert not [each for each in review(plan).warnings if "Nothing proves" in each.message]
    guards = plan.step("fence").acts[0].effect.guards  # type: ignore[union-attr]
    assert guards[0].want.strip() == old.system_identifier
    other = text.replace(f'"{old.system_identifier}"', '"77"')
    assert planner.plan(source(pins=other), KINDS).hash != plan.hash


def test_what_is_not_pinned_is_guessed_and_remarked_on() -> None:
    plan = planner.plan(source(MOVE.replace("15-main", "16-blue")), KINDS)
    assert plan.scope.database("old").directory == "/var/lib/postgresql/16/blue"
    assert not plan.pinned
    assert any("old, new will be the right clusters" in each.message for each in review(plan).warnings)


@pytest.mark.parametrize(
    ("was", "is_", "says"),
    [
        ("{on: alice, unit", "{on: allice, unit", "databases.old.on: there is no host, role or site 'allice'"),
        ("database: old}", "database: odl}", "there is no database 'odl'"),
        ("unit: postgresql@15-main, name: app}\n  new", "name: app}\n  new", "databases.old needs 'unit'"),
        ("name: app}\nsteps", "name: a b}\nsteps", "databases.new.name: expected text"),
    ],
)
def test_slips_are_told(was: str, is_: str, says: str) -> None:
    assert was in MOVE
    with pytest.raises(CutoverError) as caught:
        planner.plan(source(MOVE.replace(was, is_, 1)), KINDS)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("was", "is_", "says"),
    [
        ("{on: alice, unit", "{on: allice, unit", ["databases.old.on: there is no host, role or site 'allice'"]),
        ("title:", "titel: x\ntitle:", ["The runbook has no parameter 'titel'"]),
        (
            "{on: alice, unit",
            "{on: allice, unit",
            ["databases.old.on: there is no host, role or site 'allice'", "fence: there is no database 'odl'"],
        ),
    ],
)
def test_beside_another_slip_databases_are_known_and_unknown_ones_are_told(was: str, is_: str, says: list[str]) -> None:
    text = MOVE.replace(was, is_, 1)
    text = text.replace("database: old}", "database: odl}", 1) if len(says) > 1 else text
    with pytest.raises(Refused) as caught:
        planner.plan(source(text), KINDS)
    told = [each.message for each in caught.value.diagnostics]
    assert len(told) == len(says)
    assert all(message.startswith(said) for message, said in zip(told, says, strict=True))


def test_a_password_stays_sealed() -> None:
    text = MOVE.replace("name: app}\nsteps", 'name: app, password: "${secret:pg}"}\nsecrets: {pg: {env: PG}}\nsteps')
    plan = planner.plan(source(text), KINDS)
    assert plan.scope.database("new").shown["password"] == "${secret:pg}"
    assert replace(plan.scope.database("new"), password=()).shown["password"] == ""


def test_a_pinned_database_that_is_not_in_the_runbook_is_a_slip() -> None:
    text = pinned(MOVE).replace('  "new":\n    system', '  "newer":\n    system')
    with pytest.raises(CutoverError, match="'newer' is pinned, and the runbook has no such database"):
        planner.plan(source(pins=text), KINDS)
