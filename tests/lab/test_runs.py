"""A small move from one site to another, done by `cutover` on real hosts; and taken back from everywhere."""

from __future__ import annotations

import json

import pytest

from tests.lab.client import LabHost
from tests.lab.cutover_on import FILE, Operator, Run, active, held_down
from tests.lab.lab import Lab

pytestmark = pytest.mark.lab

ALL_UP, ALL_DOWN = [True, True, True], [False, False, False]
MARK = "/var/tmp/moved"
MOVE = f"""
  - ready: {{ask: {{question: "Stop the old site?"}}}}
  - stop-old: {{services: {{stop: [app-web, app-worker, app-cron.timer], on: basement.web}}}}
  - look: {{ask: {{question: "The old site is down. Start the new one?"}}}}
  - mark:
      command:
        on: [yakko, freud, fritz]
        do: [sh, -c, "sleep 2; touch {MARK}"]
        probe: {{run: [test, -e, {MARK}], done: {{exit: 0}}, not_done: {{exit: 1}}}}
        undo: [rm, -f, {MARK}]
  - start-new: {{services: {{start: [app-web, app-worker, app-cron.timer], on: hetzner.web}}}}
  - proved:
      http_check: {{get: "http://freud:3000/", expect: 200, answers: {{X-App-Host: freud}}, within: 30s}}
"""
OLD, NEW, MARKED = ("yakko", "dot"), ("freud", "fritz"), ("yakko", "freud", "fritz")


def hosts(lab: Lab, names: tuple[str, ...]) -> list[LabHost]:
    return [lab.host(name) for name in names]


def test_from_init_to_done(fresh_lab: Lab) -> None:
    op1 = Operator(fresh_lab)
    op1.cutover("init", FILE)
    op1.cutover("check", FILE)
    op1.writes(MOVE, pinned=False)
    assert "Run `cutover pin`" in op1.cutover("check", FILE).stderr
    op1.cutover("pin", FILE)
    assert "every host is as it was pinned" in op1.cutover("pin", FILE, "--check").stderr.lower()
    plan = op1.cutover("plan", FILE).stdout
    assert "taken back by: start app-web on yakko again" in plan
    preflight = op1.cutover("preflight", FILE)
    assert "checks are green" in preflight.stderr
    assert "yakko is free to be claimed" in preflight.stdout

    run = op1.runs()
    run.answer("ready.ask", "go")
    run.answer("look.ask", "go")
    run.ends("done", code=0)
    assert [active(host) for host in hosts(fresh_lab, OLD)] == [ALL_DOWN] * 2
    assert [active(host) for host in hosts(fresh_lab, NEW)] == [ALL_UP] * 2
    assert all(held_down(host).count("\n") == 3 for host in hosts(fresh_lab, OLD))
    assert all(host.exists(MARK) for host in hosts(fresh_lab, MARKED))
    run.is_whole()
    shown = run.shown()
    for words in (
        "deploy@op1 answers go",
        "app-web on yakko is inactive, held down",
        "http://freud:3000/ answered 200",
    ):
        assert words in shown

    assert_preflight_is_fit_for_a_daily_job(op1, fresh_lab)


def assert_preflight_is_fit_for_a_daily_job(op1: Operator, lab: Lab) -> None:
    """It says by its exit and in JSON what is no longer as it must be, and changes nothing."""
    lab.host("dot").run(["rm", "/usr/lib/systemd/system/app-worker.service"])
    lab.host("dot").systemctl("daemon-reload")
    lines = op1.cutover("preflight", FILE, "--json", code=1).stdout.splitlines()
    red = [found["because"] for found in map(json.loads, lines) if found["finding"] != "passed"]
    assert any("there is no unit app-worker.service on dot" in because for because in red), red


def slow(host: LabHost, unit: str, when: str) -> None:
    """Let a unit take its time."""
    host.write(f"/etc/systemd/system/{unit}.d/slow.conf", f"[Service]\n{when}=/bin/sleep 2\n")
    host.systemctl("daemon-reload")


def reach(run: Run, step: str) -> None:
    """Let the run come as far as this step, and be in the middle of it."""
    run.asks("ready.ask")
    for ask in ("ready", "look"):
        if step == ask:
            run.asks(f"{ask}.ask")
            return
        run.answer(f"{ask}.ask", "go")
        if step == "stop-old":
            break
    run.acts(step)


def assert_as_before(lab: Lab) -> None:
    """The old site serves, the new one does not, and nothing is left of the attempt."""
    assert [active(host) for host in hosts(lab, OLD)] == [ALL_UP] * 2
    assert [active(host) for host in hosts(lab, NEW)] == [ALL_DOWN] * 2
    assert [held_down(host) for host in hosts(lab, OLD)] == ["", ""]
    assert [host.exists(MARK) for host in hosts(lab, MARKED)] == [False] * 3
    for name in OLD:
        assert lab.host("op1").run(["curl", "-sf", f"http://{lab.host(name).address}:3000/"]).stdout == f"{name}\n"


@pytest.mark.parametrize(
    "step",
    ["start-new", *(pytest.param(s, marks=pytest.mark.slow) for s in ("ready", "stop-old", "look", "mark", "proved"))],
)
def test_aborted_in_the_middle_of(fresh_lab: Lab, step: str) -> None:
    slow(fresh_lab.host("yakko"), "app-worker.service", "ExecStop")
    slow(fresh_lab.host("freud"), "app-worker.service", "ExecStartPre")
    op1 = Operator(fresh_lab)
    op1.writes(MOVE.replace("X-App-Host: freud", "X-App-Host: nobody") if step == "proved" else MOVE)
    run = op1.runs()
    reach(run, step)
    run.ctl("abort", "--reason", "second thoughts")
    run.ends("rolled_back", code=4)
    assert_as_before(fresh_lab)
    run.is_whole()
    assert "second thoughts" in run.shown()


@pytest.mark.parametrize("how", ["back", pytest.param("held", marks=pytest.mark.slow)])
def test_turned_back_at_the_question(fresh_lab: Lab, how: str) -> None:
    op1 = Operator(fresh_lab)
    op1.writes(MOVE)
    attached = op1.start("run", FILE, "--yes", "--wait", stdout=-1, stderr=-1)
    run = Run(op1, "last")
    fresh_lab.host("op1").run(["timeout", "20", "sh", "-c", f'until [ -n "$(ls {op1.path()})" ]; do sleep 0.1; done'])
    run.answer("ready.ask", "go")
    run.asks("look.ask")
    assert [active(host) for host in hosts(fresh_lab, OLD)] == [ALL_DOWN] * 2
    if how == "held":
        run.ctl("hold", "--reason", "let me think")
        assert "let me think" in run.held()
        run.ctl("abort")
    else:
        run.answer("look.ask", "back", "not today")
    run.ends("rolled_back", code=4)
    out, err = attached.communicate(timeout=20)
    assert attached.returncode == 4, (out, err)
    assert_as_before(fresh_lab)
