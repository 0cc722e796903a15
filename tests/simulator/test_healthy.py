"""The world that is derived from a plan: every step of it goes well there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cutover.model.effects import Http
from cutover.model.kind import Act, Acts, Poll
from cutover.model.plan import Plan, Source
from cutover.planning.pins import collect_host
from cutover.planning.planner import plan
from cutover.simulator.healthy import healthy, machine_id
from cutover.steps import KINDS
from tests.simulator.base import simulate

RUNBOOK = """
title: A small move
sites: {old: {web: [yakko, dot]}, new: {web: [freud]}}
downtime: {announced: 10m, budget: 5m}
announcement: {waived: a test}
measures: {write: {post: "https://x.example/canary", expect: 201, means: writable}}
steps:
  - stop: {services: {stop: [app-web, app-cron.timer], on: old.web}}
  - flag:
      command:
        {on: [old, new], do: [[bin/prepare, "a b"], [bin/flag, "on"]], undo: [bin/flag, "off"], as: app, cwd: /srv,
         env: {A: b}, probe: {run: [bin/flagged], not_done: {exit: 4}}}
  - begin: {services: {start: [app-web, app-cron.timer], on: new.web}}
  - answers: {http_check: {get: "https://x.example/", within: 1m, body_has: hello, answers: {X-App-Host: freud}}}
"""


@pytest.fixture
def move() -> Plan:
    return plan(Source("move.yaml", RUNBOOK), KINDS)


async def _do(engine, step: str, act: Act, attempt: int = 1):
    before = await engine.world.perform(act.before) if act.before else None

    async def probed() -> str:
        return act.probe.judge(await engine.world.perform(act.probe.effect), before).done if act.probe else ""

    first = await probed()
    stamped = engine.effect(f"{step}.{act.key}", attempt=attempt)
    reply = await engine.world.perform(replace(act.effect, claim=stamped.claim, receipt=stamped.receipt))
    assert act.judge is None or act.judge(reply).passed, act.judge(reply).because
    return before, first, await probed()


def test_every_step_goes_well_forward_and_back(move):
    world = healthy(move)

    async def story(engine):
        for host in list(move.hosts)[1:]:
            await engine.claim(host=host)
        undos = []
        for step in move.steps:
            for check in step.checks:
                verdict = check.judge(await engine.world.perform(check.effect))
                assert verdict.passed, verdict.because
            for stage in step.stages:
                for act in stage.acts if isinstance(stage, Acts) else ():
                    before, first, last = await _do(engine, step.name, act)
                    undos.append((step.name, act, before))
                    if not act.key.startswith("refuse"):  # a proof is done anew each time
                        assert (first, last) == ("not_done", "done")
                for check in stage.checks if isinstance(stage, Poll) else ():
                    verdict = check.judge(await engine.world.perform(check.effect))
                    assert verdict.passed, verdict.because
        assert world.unit("freud", "app-web").active == "active"
        for step, act, before in reversed(undos):
            undo = act.undo(before) if act.undo else None
            for attempt in (1, 2) if undo else ():
                _, first, last = await _do(engine, step, undo, attempt)
                assert (first, last) == ("not_done" if attempt == 1 else "done", "done")

    start = world.copy()
    simulate(world, story)
    for name, host in world.hosts.items():
        assert {unit.name: unit.active for unit in host.units.values()} == {
            unit.name: unit.active for unit in start.hosts[name].units.values()
        }
        assert host.files == start.hosts[name].files
        assert host.facts == set()


def test_urls_answer_once_the_services_are_as_the_steps_leave_them(move):
    world = healthy(move)
    get = Http(method="GET", url=("https://x.example/",), timeout=5, reads=True)
    post = Http(method="POST", url=("https://x.example/canary",), timeout=5)

    async def story(engine):
        assert (await engine.world.perform(get)).status == 502
        assert (await engine.world.perform(post)).status == 201
        for host in ("yakko", "dot"):
            await engine.claim(host=host)
            await engine.act("stop", "sudo -n systemctl stop app-web", host=host)
        assert (await engine.world.perform(post)).status == 502
        await engine.claim(host="freud")
        await engine.act("start", "sudo -n systemctl start app-web", host="freud")
        assert (await engine.world.perform(post)).status == 201
        reply = await engine.world.perform(get)
        assert (reply.status, reply.body, reply.headers) == (200, b"hello", (("X-App-Host", "freud"),))

    simulate(world, story)


def test_a_simulated_host_can_be_pinned(move):
    async def story(engine):
        return await collect_host(engine.world, "yakko", ["app-web.service"], timeout=5)

    pins = simulate(healthy(move), story)
    assert pins.machine_id == machine_id("yakko")
    assert pins.host_keys[0].startswith("ssh-ed25519 ")
    assert pins.units["app-web.service"].fragment == "/etc/systemd/system/app-web.service"


def test_identities_come_from_the_pins_or_are_made_up(move):
    assert healthy(move).hosts["yakko"].machine_id == machine_id("yakko")
    pinned = {name: replace(host, machine_id="d" * 32) for name, host in move.hosts.items()}
    world = healthy(replace(move, hosts=pinned))
    assert world.hosts["yakko"].machine_id == "d" * 32
    world.hosts["yakko"].machine_id = "e" * 32

    async def story(engine):
        return await engine.world.connect(move.hosts)

    replies = simulate(world, story)
    assert [reply.code for reply in replies.values()] == ["identity", "", ""]
