"""Units over time: timers, holds, reboots, and what comes back by itself."""

from __future__ import annotations

import pytest

from cutover.simulator import faults, rules
from cutover.simulator.fleet import Fleet
from tests.simulator.base import fleet

HELD = "[Unit]\nAssertPathExists=!/etc/systemd/system/{unit}.d/held.conf\n"


def do(world: Fleet, line: str, stdin: str = "") -> rules.Answer:
    host = world.hosts["yakko"]
    answer = rules.answer(host, ("sudo", "-n", *line.split()), stdin, world.now)
    world.notice(host)
    world.advance(world.now + answer.takes)
    return answer


def hold(world: Fleet, unit: str, *, reload: bool = True) -> None:
    do(world, f"install -D /dev/stdin /etc/systemd/system/{unit}.d/held.conf", HELD.format(unit=unit))
    if reload:
        do(world, "systemctl daemon-reload")


def starts(world: Fleet, unit: str) -> int:
    return world.unit("yakko", unit).starts


def test_a_timer_starts_its_service_until_it_is_stopped():
    world = fleet()
    world.advance(31)
    assert starts(world, "app-cron") == 10
    assert world.unit("yakko", "app-cron").active == "inactive"
    do(world, "systemctl stop app-cron.timer")
    world.advance(100)
    assert starts(world, "app-cron") == 10


def test_a_timer_cannot_start_what_is_held_down():
    world = fleet()
    hold(world, "app-cron.service")
    world.advance(60)
    assert starts(world, "app-cron") == 0
    assert world.unit("yakko", "app-cron.timer").active == "active"


def test_a_hold_outlasts_a_reboot_and_a_stop_does_not():
    world = fleet(faults.Reboot("yakko", 10.0, 20.0))
    do(world, "systemctl stop app-web app-worker")
    hold(world, "app-web.service")
    do(world, "touch /run/volatile")
    world.advance(20)
    assert world.unit("yakko", "app-cron.timer").active == "inactive"
    world.advance(40)
    assert world.unit("yakko", "app-web").active == "inactive"
    assert world.unit("yakko", "app-worker").active == "active"
    assert world.unit("yakko", "app-cron.timer").active == "active"
    assert do(world, "test -e /run/volatile").exit == 1


@pytest.mark.parametrize(("reload", "active"), [(True, "inactive"), (False, "active")])
def test_what_is_started_by_hand_stays_down_only_once_the_hold_is_loaded(reload, active):
    world = fleet(faults.RestartByItself("yakko", "app-web", after=1.0))
    world.advance(1)
    hold(world, "app-web.service", reload=reload)
    do(world, "systemctl stop app-web")
    world.advance(20)
    assert world.unit("yakko", "app-web").active == active


def test_a_crash_of_what_is_held_down_keeps_it_down():
    world = fleet(faults.Crash("yakko", "app-web", 5.0))
    hold(world, "app-web.service")
    world.advance(4)
    assert world.unit("yakko", "app-web").active == "active"
    world.advance(20)
    assert world.unit("yakko", "app-web").active == "inactive"


def test_every_start_has_an_invocation_of_its_own():
    world = fleet()
    unit = world.unit("yakko", "app-web")
    seen = [unit.invocation]
    do(world, "systemctl restart app-web")
    seen.append(unit.invocation)
    do(world, "systemctl stop app-web")
    seen.append(unit.invocation)
    assert seen[0] != seen[1] == seen[2]
    assert all(len(invocation) == 32 for invocation in seen)


def test_a_unit_whose_process_does_not_come_up_fails():
    world = fleet()
    world.unit("yakko", "app-web").fails = True
    do(world, "systemctl stop app-web")
    answer = do(world, "systemctl start app-web")
    assert (answer.exit, answer.stderr.splitlines()[0][:40]) == (1, "Job for app-web.service failed because t")
    assert world.unit("yakko", "app-web").active == "failed"
    assert do(world, "systemctl is-failed app-web").stdout == "failed\n"
    do(world, "systemctl reset-failed app-web")
    assert do(world, "systemctl is-failed app-web").stdout == "inactive\n"
