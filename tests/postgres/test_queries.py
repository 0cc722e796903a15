"""The held connections to real clusters: through sshd, read-only, never waited for; rows as the simulator's."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from cutover.model.databases import Database
from cutover.model.effects import Query, Reply
from cutover.simulator import psql
from cutover.transports.clock import RealClock
from cutover.transports.postgres import QUERIES
from cutover.transports.secrets import Secrets
from cutover.transports.world import RealWorld
from tests.postgres.clusters import PASSWORD, Cluster, wait_until
from tests.postgres.test_contract import Simulated
from tests.transports.sshd import Sshd

T = TypeVar("T")
Pair = tuple[Cluster, Cluster]


def play(sshd: Sshd, pair: Pair, story: Callable[[RealWorld], Awaitable[T]], **changed: Any) -> T:
    """Play a story in a world that has both databases."""

    async def main() -> T:
        databases: dict[str, Database] = {each.key: replace(each.database, **changed) for each in pair}
        targets = {each.key: replace(sshd.target(), name=each.key) for each in pair}
        world = RealWorld(targets, Secrets({}), RealClock(), sshd.config, databases)
        try:
            replies = await world.connect(targets)
            assert all(reply.ok for reply in replies.values())
            return await story(world)
        finally:
            await world.close()

    return asyncio.run(main())


def query(database: str, name: str, timeout: float = 10.0) -> Query:
    return Query(database=database, name=name, timeout=timeout)


def form(value: Any) -> Any:
    """The form of JSON-ready data: names and types."""
    match value:
        case dict():
            return {name: form(each) for name, each in value.items()}
        case list() | tuple():
            return [form(each) for each in value[:1]]
    return type(value).__name__


@pytest.mark.parametrize("name", sorted(QUERIES))
@pytest.mark.parametrize("key", ["old", "new"])
def test_rows_are_as_the_simulator_has_them(sshd: Sshd, pair: Pair, key: str, name: str) -> None:
    simulated = Simulated(*pair)
    cluster = simulated.cluster(key)
    cluster.open = 1
    expected = psql.query(simulated.hosts.values(), cluster, name, simulated.now)

    async def story(world: RealWorld) -> Reply:
        if name == "sessions":  # it does not count itself
            other = RealWorld({}, Secrets({}), RealClock())
            await other.close()
        return await world.perform(query(key, name))

    reply = play(sshd, pair, story)
    assert reply.outcome == "answered", reply
    if name != "sessions":
        assert form(list(reply.rows)) == form(expected)
    if name in ("primary", "standby"):
        assert reply.rows[0]["in_recovery"] is (key == "new")
        assert reply.rows[0]["system_identifier"] == pair[0].system_identifier


def test_a_connection_is_held_and_only_reads(sshd: Sshd, pair: Pair) -> None:
    async def story(world: RealWorld) -> None:
        for _ in range(3):
            assert (await world.perform(query("old", "primary"))).ok
        sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'cutover'"
        assert await asyncio.to_thread(pair[0].sql, sql) == "1"
        held = world._databases._held["old"]
        assert held._connection is not None
        with pytest.raises(Exception, match="read-only transaction"):
            await held._connection.execute("CREATE TABLE no (id int)")

    play(sshd, pair, story)


def test_a_frozen_server_is_not_waited_for(sshd: Sshd, pair: Pair) -> None:
    sql = "SELECT pid FROM pg_stat_activity WHERE application_name = 'cutover'"

    async def story(world: RealWorld) -> None:
        assert (await world.perform(query("old", "primary"))).ok
        backend = int(await asyncio.to_thread(pair[0].sql, sql))
        os.kill(backend, signal.SIGSTOP)
        try:
            loop = asyncio.get_running_loop()
            began = loop.time()
            reply = await world.perform(query("old", "primary", timeout=0.5))
            assert (reply.outcome, reply.detail) == ("unknown", "app on old did not answer within 0.5 s")
            assert loop.time() - began < 1.5
            began = loop.time()
            assert (await world.perform(query("old", "primary"))).ok  # on a new connection
            assert loop.time() - began < 3
        finally:
            os.kill(backend, signal.SIGCONT)

    play(sshd, pair, story)


def test_a_server_that_was_restarted_is_asked_anew(sshd: Sshd, pair: Pair) -> None:
    old, _ = pair

    async def story(world: RealWorld) -> None:
        assert (await world.perform(query("old", "primary"))).ok
        await asyncio.to_thread(old.stop)
        down = await world.perform(query("old", "primary"))
        assert down.outcome == "refused", down
        assert down.code == "unreachable"
        await asyncio.to_thread(old.start)
        assert (await world.perform(query("old", "primary"))).ok

    play(sshd, pair, story)
    wait_until(lambda: old.sql("SELECT state FROM pg_stat_replication") == "streaming")


def test_a_wrong_password_is_refused_and_not_repeated(sshd: Sshd, pair: Pair) -> None:
    async def story(world: RealWorld) -> Reply:
        return await world.perform(query("old", "primary"))

    reply = play(sshd, pair, story, password=("not the password",))
    assert (reply.outcome, reply.code) == ("refused", "unreachable")
    assert "password authentication failed" in reply.detail
    assert PASSWORD not in reply.detail
    assert "not the password" not in reply.detail


def test_a_query_without_a_name_here_is_refused(sshd: Sshd, pair: Pair) -> None:
    async def story(world: RealWorld) -> list[Reply]:
        return [await world.perform(query("old", "nothing")), await world.perform(query("none", "primary"))]

    unnamed, nowhere = play(sshd, pair, story)
    assert (unnamed.outcome, unnamed.code) == ("refused", "bad-request")
    assert (nowhere.outcome, nowhere.code) == ("refused", "unreachable")
