"""What goes wrong on the hosts ends in a question, a hold or a refusal that says why; and goes on once it is mended."""

from __future__ import annotations

import time

import pytest

from tests.lab.client import LabHost
from tests.lab.cutover_on import FILE, HEAD, Operator, Run, held_down, receipts
from tests.lab.lab import Lab

pytestmark = pytest.mark.lab

RAN = "/var/tmp/ran"


def work(seconds: int, host: str = "yakko", timeout: int = 8, more: str = "") -> str:
    """A step whose only evidence is its receipt: it takes its time, and leaves a line each time it ran."""
    return f"""
  - work:
      timeout: {timeout}s
      command:
        on: {host}
        do: [sh, -c, "sleep {seconds}; echo ran >>{RAN}"]
        undo: [rm, -f, {RAN}]
        {more}
"""


ASK = '\n  - ready: {ask: {question: "Go on?"}}\n'


@pytest.fixture
def op1(fresh_lab: Lab) -> Operator:
    return Operator(fresh_lab)


@pytest.fixture
def yakko(fresh_lab: Lab) -> LabHost:
    return fresh_lab.host("yakko")


def begun(run: Run, host: LabHost) -> None:
    """Wait until the act has left its receipt on the host."""
    script = f"until cat /var/lib/cutover/runs/{run.id}/work.* 2>/dev/null | grep -q ^pid; do sleep 0.05; done"
    host.run(["timeout", "30", "sh", "-c", script])


def assert_ran_once(host: LabHost) -> None:
    assert host.read(RAN) == "ran\n"


def assert_says(said: str, *words: str) -> None:
    print(said)
    for each in words:
        assert each in said


def test_sessions_dropped_in_the_middle_of_a_command(op1: Operator, yakko: LabHost) -> None:
    op1.writes(work(4, timeout=20))
    run = op1.runs()
    begun(run, yakko)
    yakko.drop_ssh_sessions()
    run.ends("done", code=0)
    assert_ran_once(yakko)
    assert_says(run.shown(), "the connection to yakko ended before the answer", "its receipt says that every command")


@pytest.mark.slow
def test_a_host_frozen_in_the_middle_of_a_command(op1: Operator, fresh_lab: Lab, yakko: LabHost) -> None:
    op1.writes(work(3))
    run = op1.runs()
    begun(run, yakko)
    fresh_lab.freeze("yakko")
    assert_says(run.asks("work.in_doubt"), "work is in doubt", "on yakko: after 8s more", "did not answer")
    assert run.state()["exit_code"] == 6
    fresh_lab.thaw("yakko")
    run.ctl("retry", "work")
    run.ends("done", code=0)
    assert_ran_once(yakko)


def test_a_host_with_another_key_than_pinned_is_refused(op1: Operator, fresh_lab: Lab, yakko: LabHost) -> None:
    op1.writes(work(0))
    fresh_lab.change_host_key("yakko")
    assert_says(op1.refused(), "yakko: its host key is not the expected one", "CHANGED", "the pins say")
    fresh_lab.restore_host_key("yakko")
    op1.runs().ends("done", code=0)


@pytest.mark.slow
def test_a_host_that_comes_back_with_another_key(op1: Operator, fresh_lab: Lab, yakko: LabHost) -> None:
    op1.writes(work(3))
    run = op1.runs()
    begun(run, yakko)
    fresh_lab.change_host_key("yakko")
    yakko.drop_ssh_sessions()
    assert_says(run.asks("work.in_doubt"), "its host key is not the expected one", "after 8s more")
    fresh_lab.restore_host_key("yakko")
    run.ctl("retry", "work")
    run.ends("done", code=0)
    assert_ran_once(yakko)


def test_another_machine_behind_the_same_key(op1: Operator, fresh_lab: Lab, yakko: LabHost) -> None:
    op1.writes(ASK + work(0))
    other = fresh_lab.change_machine_id("yakko")
    assert_says(op1.refused(), f"yakko is machine {other}, not the pinned {fresh_lab.machine_id('yakko')}")
    fresh_lab.restore_machine_id("yakko")

    run = op1.runs()
    run.asks("ready.ask")
    fresh_lab.change_machine_id("yakko")
    run.answer("ready.ask", "go")
    assert_says(run.asks("work.failed"), "refused, nothing was done: the machine there is not the one that was pinned")
    assert not yakko.exists(RAN)
    fresh_lab.restore_machine_id("yakko")
    run.ctl("retry", "work")
    run.ends("done", code=0)
    assert_ran_once(yakko)


def test_a_receipt_that_says_started_and_nothing_more(op1: Operator, yakko: LabHost) -> None:
    op1.writes(work(3))
    run = op1.runs()
    begun(run, yakko)
    yakko.run(["kill", "-9", started(yakko)])
    assert_says(run.asks("work.in_doubt"), "its receipt on yakko says that it began and nothing more")
    assert_ran_once(yakko)  # it went on without its supervisor, and nothing was done beside it
    assert "needs a reason" in run.ctl("answer", "work.in_doubt.1", "done", code=1)
    run.ctl("retry", "work")  # looks again, and finds no more
    run.answer("work.in_doubt", "done", "I looked: the line is there")
    run.ends("done", code=0)
    assert_ran_once(yakko)
    assert "I looked: the line is there" in run.shown()


def started(host: LabHost) -> str:
    """The pid of the wrapper's supervisor, from the receipt."""
    return next(line.split()[4] for line in receipts(host).splitlines() if line.startswith("started"))


def test_a_full_disk_on_a_host(op1: Operator, fresh_lab: Lab, yakko: LabHost) -> None:
    may_repeat = work(0, more="idempotent: true").replace("work", "again").replace(RAN, "/dev/shm/ran")
    op1.writes(ASK + may_repeat + work(0))
    run = op1.runs()
    run.asks("ready.ask")
    fresh_lab.fill_disk("yakko")
    run.answer("ready.ask", "go")
    assert_says(run.asks("work.failed"), "refused, nothing was done: no receipt can be written (disk full", "on yakko;")
    assert run.state()["steps"]["again"]["status"] == "done"
    assert yakko.read("/dev/shm/ran") == "ran\n"
    fresh_lab.free_disk("yakko")
    run.ctl("retry", "work")
    run.ends("done", code=0)
    assert_ran_once(yakko)


@pytest.mark.slow
@pytest.mark.parametrize("then", ["retry", "back"])
def test_a_unit_is_stopped_on_a_full_disk(op1: Operator, fresh_lab: Lab, yakko: LabHost, then: str) -> None:
    op1.writes(ASK + "\n  - stop: {services: {stop: [app-web], on: yakko, stays_down: it is a test}}\n")
    run = op1.runs()
    run.asks("ready.ask")
    fresh_lab.fill_disk("yakko")
    run.answer("ready.ask", "go")
    assert_says(run.asks("stop.failed"), "stop failed", "No space left on device")
    assert yakko.is_active("app-web.service")
    fresh_lab.free_disk("yakko")
    run.answer("stop.failed", then)
    run.ends("done", code=0) if then == "retry" else run.ends("rolled_back", code=4)
    assert yakko.is_active("app-web.service") == (then == "back")
    assert held_down(yakko).count("\n") == (then == "retry")


def test_a_runbook_edited_between_crash_and_resume(op1: Operator, yakko: LabHost) -> None:
    op1.writes(ASK + work(0))
    run = op1.runs()
    run.asks("ready.ask")
    run.signal("KILL")
    assert run.state()["exit_code"] == 5
    op1.host.write(f"/home/deploy/{FILE}", HEAD + ASK + work(0).replace("ran", "RAN"), owner="deploy")
    run.resume()
    assert_says(run.held(), "move.yaml changed since the run was started", "the run goes on with plan", "release it")
    run.ctl("release")
    run.answer("ready.ask", "go")
    run.ends("done", code=0)
    assert_ran_once(yakko)


def test_an_engine_killed_in_the_middle_of_a_command(op1: Operator, yakko: LabHost) -> None:
    op1.writes(work(4, timeout=20))
    run = op1.runs()
    begun(run, yakko)
    run.signal("KILL")
    assert "Begun, and nobody knows yet how it ended" in run.resume()
    run.ends("done", code=0)
    assert_ran_once(yakko)
    run.is_whole()


def test_a_login_that_may_not_sudo(op1: Operator, yakko: LabHost) -> None:
    op1.writes("\n  - stop: {services: {stop: [app-worker], on: yakko, stays_down: it is a test}}\n")
    config = op1.host.read("/home/deploy/.ssh/config")
    op1.host.write("/home/deploy/.ssh/config", f"Host yakko\n  User nosudo\n{config}", owner="deploy")
    said = op1.cutover("preflight", FILE, code=1).stdout
    assert_says(said, "✗ stop", "the login user may not act as root on yakko without a password", "sudo: a password")
    assert_says(said, "/var/lib/cutover on yakko is missing or not writable for this login")
    op1.refused()
    assert yakko.is_active("app-worker.service")
    op1.host.write("/home/deploy/.ssh/config", config, owner="deploy")
    op1.runs().ends("done", code=0)


def test_a_host_without_the_state_directory(op1: Operator, yakko: LabHost) -> None:
    op1.writes(work(0))
    yakko.run(["rm", "-r", "/var/lib/cutover"])
    said = op1.cutover("preflight", FILE, code=1).stdout
    line = "install -d -m 2770 -g cutover /var/lib/cutover && : >/var/lib/cutover/claim"
    assert_says(said, "✗", "yakko", line)
    assert line in op1.refused()
    yakko.run(["sh", "-c", line])
    op1.cutover("preflight", FILE)
    op1.runs().ends("done", code=0)


@pytest.mark.slow
def test_a_link_that_is_cut_and_healed(op1: Operator, fresh_lab: Lab, yakko: LabHost) -> None:
    op1.writes(work(3, timeout=60))
    run = op1.runs()
    begun(run, yakko)
    fresh_lab.cut("ops", "basement")
    time.sleep(12)
    fresh_lab.heal("ops", "basement")
    run.ends("done", code=0)
    assert_ran_once(yakko)
