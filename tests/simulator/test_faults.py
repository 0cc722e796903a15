"""What can go wrong with connections, hosts and units, and what a caller sees of it."""

from __future__ import annotations

import asyncio

import pytest

from cutover.model.effects import Http
from cutover.simulator import faults
from cutover.simulator.faults import At, fault_from_json, fault_to_json
from tests.simulator.base import fleet, simulate

EVERY_FAULT = [
    faults.LoseRequest(At(nth=1)),
    faults.LoseReply(At(host="y*", act="a.*", times=3)),
    faults.ArriveLate(At(argv="* stop *"), 3.0),
    faults.Delay(At(reads=True), 2.0),
    faults.KillSupervisor(At(), 0.5),
    faults.FailCommand(At(argv="false"), 7, "no", True),
    faults.HttpAnswers("https://*", 503, 2, 5.0),
    faults.CutLink("yakko", 5.0, 10.0),
    faults.CutLink("yakko", At(act="x"), 10.0),
    faults.FreezeHost("yakko", 5.0, 10.0),
    faults.Reboot("yakko", 5.0, 10.0),
    faults.FillDisk("yakko", 0.0, False),
    faults.ChangeMachineId("yakko", 1.0, "c" * 32),
    faults.ChangeHostKey("yakko", 1.0),
    faults.LoseStateDirectory("yakko", 1.0),
    faults.RestartByItself("yakko", "app-web", 0.0, 2.0),
    faults.Crash("yakko", "app-web", 1.0),
    faults.CutReplication("yakko", At(act="fence.close"), 5.0),
    faults.StallReplay("yakko", 1.0, 5.0),
    faults.DieWhileStopping("yakko", "postgresql@15-main"),
]


@pytest.mark.parametrize("fault", EVERY_FAULT, ids=lambda fault: type(fault).__name__)
def test_a_fault_survives_json(fault):
    assert fault_from_json(fault_to_json(fault)) == fault


def test_every_fault_is_in_the_list():
    assert {type(fault) for fault in EVERY_FAULT} == set(faults.Fault.__args__)


@pytest.mark.parametrize(("fault", "receipt"), [(faults.LoseReply, "finished"), (faults.LoseRequest, "none")])
def test_a_lost_connection_is_unknown_and_the_receipt_tells(fault, receipt):
    async def story(engine):
        assert (await engine.act("a", "true")).ok
        assert (await engine.act("b", "true")).outcome == "unknown"
        assert (await engine.look("b")).receipt == receipt

    simulate(fleet(fault(At(nth=3))), story)  # the claim was the first


def test_a_request_that_arrives_late_finds_its_attempt_forbidden():
    async def story(engine):
        assert (await engine.act("a", "touch /tmp/late")).outcome == "unknown"
        assert (await engine.look("a")).receipt == "none"
        assert (await engine.act("a", "touch /tmp/again", attempt=2)).ok
        await asyncio.sleep(60)

    world = fleet(faults.ArriveLate(At(act="a"), after=30))
    simulate(world, story)
    assert [done.argv[1] for done in world.history] == ["/tmp/again"]


def test_a_request_that_arrives_late_acts_where_nobody_forbade_it():
    async def story(engine):
        assert (await engine.act("a", "touch /tmp/late")).outcome == "unknown"
        await asyncio.sleep(60)
        assert (await engine.look("a")).receipt == "finished"

    simulate(fleet(faults.ArriveLate(At(act="a"), after=30)), story)


def test_a_short_cut_is_only_a_delay():
    async def story(engine):
        reply = await engine.act("a", "sleep 5")
        assert reply.ok
        assert reply.seconds == pytest.approx(6.8, abs=0.1)

    simulate(fleet(faults.CutLink("yakko", 3.0, 4.0)), story)


def test_a_long_cut_is_noticed_within_seconds_and_the_host_is_unreachable_meanwhile():
    async def story(engine):
        reply = await engine.act("a", "sleep 5")
        assert (reply.outcome, round(reply.seconds)) == ("unknown", 9)
        assert (await engine.read("true")).code == "unreachable"
        await asyncio.sleep(40)
        assert (await engine.look("a")).receipt == "finished"

    simulate(fleet(faults.CutLink("yakko", 3.0, 40.0)), story)


def test_a_frozen_host_goes_on_after_its_thaw():
    async def story(engine):
        assert (await engine.act("a", "sleep 5", "touch /tmp/x")).outcome == "unknown"
        await asyncio.sleep(40)
        assert (await engine.look("a")).receipt == "finished"

    world = fleet(faults.FreezeHost("yakko", 3.0, 40.0))
    simulate(world, story)
    assert world.history[-1].at == pytest.approx(43)


def test_a_wrapper_that_stands_still_between_check_and_act_holds_the_lock():
    async def story(engine):
        acting = asyncio.create_task(engine.act("a", "touch /tmp/x"))
        await asyncio.sleep(1)
        taken = await engine.claim("take", token=2)
        assert taken.seconds == pytest.approx(4, abs=0.1)
        assert (await acting).ok
        assert (await engine.act("b", "true")).code == "token"

    simulate(fleet(faults.Delay(At(act="a"), 5.0)), story)


def test_a_changed_host_key_refuses_new_connections_only():
    async def story(engine):
        await asyncio.sleep(2)
        assert (await engine.act("a", "true")).ok
        await engine.world.close()
        assert (await engine.act("b", "true")).code == "host-key"
        assert (await engine.world.connect(["yakko"]))["yakko"].code == "host-key"

    simulate(fleet(faults.ChangeHostKey("yakko", 1.0)), story)


def test_a_command_fails_as_often_as_it_is_told_to():
    async def story(engine):
        exits = [(await engine.act(f"a{n}", "sudo -n systemctl stop app-web")).commands[0].exit for n in range(3)]
        assert exits == [6, 6, 0]

    simulate(fleet(faults.FailCommand(At(argv="*systemctl stop*", times=2), 6, "no")), story)


def test_something_starts_again_what_was_stopped():
    async def story(engine):
        await engine.act("a", "sudo -n systemctl stop app-web")
        assert not (await engine.read("systemctl is-active app-web")).ok
        await asyncio.sleep(3)
        assert (await engine.read("systemctl is-active app-web")).ok

    simulate(fleet(faults.RestartByItself("yakko", "app-web", after=2.0)), story)


def test_a_crash_is_followed_by_the_restart_policy():
    async def story(engine):
        await asyncio.sleep(1.5)
        reply = await engine.read("systemctl show -p ActiveState,SubState,NRestarts app-web")
        assert reply.commands[0].stdout == b"NRestarts=1\nActiveState=activating\nSubState=auto-restart\n"
        await asyncio.sleep(2)
        assert (await engine.read("systemctl is-active app-web")).ok

    simulate(fleet(faults.Crash("yakko", "app-web", 1.0)), story)


def test_a_url_answers_as_told_and_then_as_always():
    async def story(engine):
        get = Http(method="GET", url=("https://x.example/",), timeout=5, reads=True)
        statuses = [(await engine.world.perform(get)).status for _ in range(3)]
        assert statuses == [503, 503, 200]
        silent = faults.HttpAnswers("*", 0)
        engine.world.fleet.inject(silent)
        reply = await engine.world.perform(get)
        assert (reply.outcome, reply.seconds) == ("unknown", pytest.approx(5))

    simulate(fleet(faults.HttpAnswers("https://x.*", 503, times=2)), story)
