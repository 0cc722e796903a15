"""Claims, guards, receipts and sequences, as the wrapper has them."""

from __future__ import annotations

import asyncio

import pytest

from cutover.errors import NoRule
from cutover.model.effects import Command, Guard, OnHost
from cutover.simulator.faults import At, ChangeMachineId, FillDisk, KillSupervisor, LoseStateDirectory, Reboot
from tests.simulator.base import MACHINE, fleet, simulate


def test_a_sequence_stops_at_its_first_failure_and_leaves_a_receipt():
    async def story(engine):
        reply = await engine.act("a", "touch /tmp/1", "false", "touch /tmp/2")
        assert [command.exit for command in reply.commands] == [0, 1]
        assert not reply.ok
        look = await engine.look("a")
        assert (look.receipt, look.commands) == ("finished", reply.commands)
        assert (await engine.look("b")).receipt == "none"

    world = fleet()
    simulate(world, story)
    assert [done.argv[-1] for done in world.history] == ["/tmp/1", "false"]


def test_an_attempt_is_never_done_twice():
    async def story(engine):
        assert (await engine.act("a", "true")).ok
        again = await engine.act("a", "true")
        assert (again.outcome, again.code) == ("refused", "receipt-exists")
        assert (await engine.act("a", "true", attempt=2)).ok

    world = fleet()
    simulate(world, story)
    assert [done.receipt for done in world.history] == ["run/a.1", "run/a.2"]


def test_a_later_attempt_forbids_the_earlier_one_that_never_began():
    async def story(engine):
        assert (await engine.act("a", "true", attempt=3)).ok
        assert (await engine.look("a", 1)).receipt == "none"
        assert (await engine.act("a", "true", attempt=2)).code == "receipt-exists"

    simulate(fleet(), story)


def test_a_later_attempt_is_refused_beside_the_earlier_one():
    async def story(engine):
        assert (await engine.act("a", "sleep 60", timeout=2)).outcome == "unknown"
        assert (await engine.act("a", "true", attempt=2)).code == "running"

    simulate(fleet(), story)


def test_what_is_checked_before_an_act_is_refused_without_a_trace():
    async def story(engine):
        assert (await engine.act("a", "true", machine_id="b" * 32)).code == "identity"
        assert (await engine.act("a", "true", claim=None)).code == "bad-request"
        engine.token = 2
        refused = await engine.act("a", "true")
        assert (refused.code, refused.token, refused.owner) == ("token", 1, "me")
        engine.token = 1
        guards = (Guard(("cat", "/etc/machine-id"), MACHINE), Guard(("hostname",), "alice", "it is not alice"))
        refused = await engine.act("a", "true", guards=guards)
        assert refused.code == "guard"
        assert "it is not alice" in refused.detail
        assert "yakko" in refused.detail
        assert (await engine.look("a")).receipt == "none"
        assert (await engine.act("a", "true", guards=guards[:1], machine_id=MACHINE)).ok

    world = fleet()
    simulate(world, story)
    assert len(world.history) == 1


def test_the_sequence_goes_on_when_its_caller_is_gone():
    async def story(engine):
        calling = asyncio.create_task(engine.act("a", "sleep 5", "sudo -n systemctl stop app-web", "touch /tmp/end"))
        await asyncio.sleep(1)
        calling.cancel()
        assert (await engine.look("a")).receipt == "running"
        await asyncio.sleep(10)
        look = await engine.look("a")
        assert look.receipt == "finished"
        assert [command.exit for command in look.commands] == [0, 0, 0]

    world = fleet()
    simulate(world, story)
    assert world.unit("yakko", "app-web").active == "inactive"
    assert len(world.history) == 3


def test_a_timeout_is_unknown_and_kills_nothing():
    async def story(engine):
        reply = await engine.act("a", "sleep 60", timeout=5)
        assert reply.outcome == "unknown"
        assert reply.seconds == pytest.approx(5)
        await asyncio.sleep(60)
        assert (await engine.look("a")).receipt == "finished"

    simulate(fleet(), story)


def test_parallel_acts_share_the_lock_and_a_claim_waits_for_them():
    async def story(engine):
        async with asyncio.TaskGroup() as group:
            acts = [group.create_task(engine.act(f"a{n}", "sleep 3")) for n in range(3)]
            await asyncio.sleep(0.5)
            taken = await engine.claim("take", token=2)
        assert taken.outcome == "answered"
        assert taken.seconds == pytest.approx(2.5, abs=0.2)
        assert all(act.result().seconds < 3.5 for act in acts)
        assert (await engine.act("b", "true")).code == "token"

    simulate(fleet(), story)


def test_a_claim_gives_up_beside_a_long_act():
    async def story(engine):
        await engine.act("a", "sleep 100", timeout=1)
        refused = await engine.claim("take", token=2)
        assert (refused.code, refused.token, refused.owner) == ("busy", 1, "me")
        assert refused.seconds == pytest.approx(10, abs=0.1)

    simulate(fleet(), story)


def test_a_killed_supervisor_leaves_its_command_and_nothing_follows():
    async def story(engine):
        reply = await engine.act("a", "sleep 20", "touch /tmp/never")
        assert reply.outcome == "unknown"
        assert reply.seconds < 2
        assert (await engine.look("a")).receipt == "running"
        assert (await engine.claim("take", token=2)).code == "running"
        await asyncio.sleep(30)
        assert (await engine.look("a")).receipt == "died"
        assert (await engine.claim("take", token=2)).token == 2

    world = fleet(KillSupervisor(At(act="a"), after=1))
    simulate(world, story)
    assert len(world.history) == 1


def test_a_receipt_that_says_started_and_nothing_more():
    async def story(engine):
        assert (await engine.act("a", "touch /tmp/never")).outcome == "unknown"
        look = await engine.look("a")
        assert (look.receipt, look.commands) == ("died", ())
        assert (await engine.act("a", "true")).code == "receipt-exists"

    world = fleet(KillSupervisor(At(act="a")))
    simulate(world, story)
    assert world.history == []


def test_on_a_full_disk_only_what_may_be_repeated_acts():
    async def story(engine):
        assert (await engine.act("a", "true")).code == "no-receipt"
        reply = await engine.act("b", "true", idempotent=True)
        assert reply.ok
        assert reply.receipt_written is False
        assert (await engine.look("b")).receipt == "none"
        assert (await engine.claim("release", token=1)).code == "not-durable"

    simulate(fleet(FillDisk("yakko", At(act="a"))), story)


def test_without_a_state_directory_nothing_acts():
    async def story(engine):
        await asyncio.sleep(2)
        for reply in (await engine.act("a", "true"), await engine.claim("show"), await engine.look("a")):
            assert reply.code == "no-state-directory"

    simulate(fleet(LoseStateDirectory("yakko", 1.0)), story)


def test_another_machine_is_refused():
    async def story(engine):
        await asyncio.sleep(2)
        refused = await engine.act("a", "true", machine_id=MACHINE)
        assert (refused.code, refused.detail) == ("identity", "c" * 32)

    simulate(fleet(ChangeMachineId("yakko", 1.0, "c" * 32)), story)


def test_a_reboot_ends_what_is_under_way():
    async def story(engine):
        reply = await engine.act("a", "sleep 20", "touch /tmp/never")
        assert reply.outcome == "unknown"
        assert (await engine.read("true")).code == "unreachable"
        await asyncio.sleep(60)
        assert (await engine.look("a")).receipt == "died"
        assert (await engine.claim("show")).token == 1
        assert (await engine.read("systemctl is-active app-web")).ok

    world = fleet(Reboot("yakko", 5.0, 30.0))
    simulate(world, story)
    assert world.hosts["yakko"].boots == 2


def test_what_no_rule_answers_names_the_command_and_the_act():
    async def story(engine):
        with pytest.raises(NoRule, match=r"'frobnicate --all', sent by deploy\.run\.yakko"):
            await engine.act("deploy.run.yakko", "true", "frobnicate --all")
        with pytest.raises(NoRule, match="Bogus"):
            await engine.read("systemctl show -p Bogus app-web")
        assert (await engine.look("deploy.run.yakko")).receipt == "none"

    simulate(fleet(), story)


def test_output_is_cut_at_the_cap_and_streamed():
    async def story(engine):
        chunks = []
        effect = OnHost(host="yakko", commands=(Command(("echo", "ä" * 10)),), timeout=5, reads=True, cap=5)
        reply = await engine.world.perform(effect, lambda stream, data: chunks.append((stream, data)))
        assert reply.commands[0].stdout == ("ä" * 10).encode()[:5]
        assert reply.commands[0].stdout_cut
        assert chunks == [(1, reply.commands[0].stdout)]

    simulate(fleet(), story)
