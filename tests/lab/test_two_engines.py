"""Two engines at the same hosts: the second is refused by name, and one that was taken over acts no more."""

from __future__ import annotations

import sys

import pytest

from tests.lab.client import LabHost
from tests.lab.cutover_on import FILE, Operator, Run, receipts
from tests.lab.lab import Lab

pytestmark = pytest.mark.lab

RAN, AFTER = "/var/tmp/ran", "/var/tmp/after"


def step(name: str, seconds: int, file: str) -> str:
    do = f'[sh, -c, "sleep {seconds}; hostname >>{file}; echo $SSH_CONNECTION >>{file}.from"]'
    return f"\n  - {name}: {{timeout: 30s, command: {{on: yakko, do: {do}, undo: [rm, -f, {file}]}}}}"


ASK = '\n  - ready: {ask: {question: "Go on?"}}'
TWO_STEPS = step("work", 5, RAN) + step("after", 0, AFTER)


@pytest.fixture
def op1(fresh_lab: Lab) -> Operator:
    return Operator(fresh_lab, "op1")


@pytest.fixture
def op2(fresh_lab: Lab) -> Operator:
    return Operator(fresh_lab, "op2")


@pytest.fixture
def yakko(fresh_lab: Lab) -> LabHost:
    return fresh_lab.host("yakko")


def begun(run: Run, host: LabHost) -> None:
    """Wait until the act has left its receipt on the host."""
    script = f"until cat /var/lib/cutover/runs/{run.id}/work.* 2>/dev/null | grep -q ^pid; do sleep 0.05; done"
    host.run(["timeout", "30", "sh", "-c", script])


def carried(run: Run, other: Operator) -> Run:
    """Copy a run's directory to another machine, as a person would whose own machine hangs."""
    there = run.operator.path()
    packed = run.operator.host.run(["sh", "-c", f"tar -C {there} -cz {run.id} | base64"]).stdout
    script = f"mkdir -p -m 700 {there} && base64 -d | tar -C {there} -xz"
    other.host.run(["sh", "-c", script], user="deploy", input=packed)
    return Run(other, run.id)


def assert_done_once(host: LabHost, *files: str) -> None:
    for file in files:
        assert host.read(file) == f"{host.name}\n"


def test_on_one_machine(op1: Operator, yakko: LabHost) -> None:
    op1.writes(ASK + step("work", 0, RAN))
    run = op1.runs()
    run.asks("ready.ask")
    owner = f"deploy@op1.{run.id}.1"
    assert f"An engine ({owner}) drives run {run.id} already" in run.resume()
    refused = op1.host.run([sys.executable, "-m", "cutover", "engine", run.id], user="deploy", check=False)
    assert refused.returncode == 1
    assert f"An engine of deploy@op1, pid {run.engine()}" in refused.stderr

    second = op1.cutover("run", FILE, "--yes", code=1)
    assert f"yakko is claimed by {owner}" in second.stdout, second
    assert op1.cutover("preflight", FILE, code=1).stdout.count(f"yakko is claimed by {owner}") == 1
    assert run.state()["engine"]

    run.signal("STOP")
    assert "already drives this run" in run.resume(code=1)
    run.signal("CONT")
    run.answer("ready.ask", "go")
    run.ends("done", code=0)
    assert len(run.events("engine.started")) == 1
    assert_done_once(yakko, RAN)


def test_on_two_machines(op1: Operator, op2: Operator, yakko: LabHost) -> None:
    op1.writes(ASK + step("work", 0, RAN))
    op2.writes(ASK + step("work", 0, RAN))
    run = op1.runs()
    run.asks("ready.ask")
    refused = op2.cutover("run", FILE, "--yes", code=1)
    assert f"yakko is claimed by deploy@op1.{run.id}.1" in refused.stdout, refused
    assert op2.latest().intents() == []
    run.answer("ready.ask", "go")
    run.ends("done", code=0)
    assert_done_once(yakko, RAN)
    second = op2.runs()
    second.asks("ready.ask")  # the hosts were given back: now it may
    second.ctl("abort")
    second.ends("rolled_back", code=4)


def test_taken_over_and_woken(op1: Operator, op2: Operator, yakko: LabHost) -> None:
    op1.writes(TWO_STEPS)
    run = op1.runs()
    begun(run, yakko)
    run.signal("STOP")
    taken = carried(run, op2)
    refused = op2.cutover("resume", run.id, code=5)  # only a person says that an engine is dead
    assert f"yakko is claimed by deploy@op1.{run.id}.1" in refused.stdout + refused.stderr, refused
    yakko.run(["timeout", "20", "sh", "-c", f"until [ -s {RAN} ]; do sleep 0.1; done"])
    taken.resume("--take-over")
    taken.ends("done", code=0)
    assert_done_once(yakko, RAN, AFTER)
    taken.is_whole()

    run.signal("CONT")
    state = run.until(lambda state: not state["engine"])
    assert not state["ended"]
    said = op1.cutover("attach", run.id, code=5)
    assert "stopped acting" in said.stderr, said
    assert "yakko: another engine has taken it over" in run.shown()
    again = op1.cutover("resume", run.id, code=5)  # where nobody knows that the run was brought to its end elsewhere
    assert "yakko was claimed by another engine, and given back" in again.stdout + again.stderr
    assert_done_once(yakko, RAN, AFTER)
    run.is_whole()


def freeze_wrapper_in(host: LabHost, program: str) -> None:
    """Let the next wrapper on this host be stopped as it runs `program`: after its check, before its act."""
    host.write(
        f"/usr/local/bin/{program}",
        f"#!/bin/sh\nrm /tmp/freeze 2>/dev/null && echo $PPID >/tmp/frozen && kill -STOP $PPID\n"
        f'exec /usr/bin/{program} "$@"\n',
        mode="755",
    )
    host.run(["touch", "/tmp/freeze"], user="deploy")


def frozen(host: LabHost) -> str:
    """The pid of the wrapper that was stopped."""
    host.run(["timeout", "20", "sh", "-c", "until [ -s /tmp/frozen ]; do sleep 0.05; done"])
    return host.read("/tmp/frozen").strip()


@pytest.mark.parametrize("program", ["mkdir", pytest.param("mkfifo", marks=pytest.mark.slow)])
@pytest.mark.parametrize("then", ["KILL", pytest.param("CONT", marks=pytest.mark.slow)])
def test_a_wrapper_frozen_between_its_check_and_its_act(
    op1: Operator, op2: Operator, yakko: LabHost, program: str, then: str
) -> None:
    freeze_wrapper_in(yakko, program)
    op1.writes(step("work", 0, RAN) + step("after", 0, AFTER))
    run = op1.runs()
    wrapper = frozen(yakko)
    run.signal("STOP")
    taken = carried(run, op2)
    taken.resume("--take-over")
    said = taken.held()
    print(said)
    assert "yakko could not be claimed" in said
    assert "lock of yakko is held" in said
    assert not yakko.exists(RAN)

    yakko.run(["kill", f"-{then}", wrapper])
    if then == "CONT":  # it was not taken over, so it still may
        yakko.run(["timeout", "20", "sh", "-c", f"until [ -s {RAN} ]; do sleep 0.1; done"])
    taken.ctl("release")
    if (program, then) == ("mkfifo", "KILL"):  # the receipt is there, and nothing more
        assert "began and nothing more" in taken.asks("work.in_doubt")
        taken.answer("work.in_doubt", "not-done", "nothing is there")
    taken.ends("done", code=0)
    assert_done_once(yakko, RAN, AFTER)
    run.signal("CONT")
    run.until(lambda state: not state["engine"])
    assert_done_once(yakko, RAN, AFTER)


def test_a_command_whose_supervisor_was_killed(op1: Operator, op2: Operator, yakko: LabHost) -> None:
    op1.writes(step("work", 12, RAN) + step("after", 0, AFTER))
    run = op1.runs()
    begun(run, yakko)
    run.signal("STOP")
    receipt = [line.split() for line in receipts(yakko).splitlines()]
    yakko.run(["kill", "-9", next(words[4] for words in receipt if words[0] == "started")])
    taken = carried(run, op2)
    taken.resume("--take-over")
    said = taken.held()
    print(said)
    command = next(words[2] for words in receipt if words[0] == "pid")
    assert f"begun before is still running there: process {command} on yakko" in said
    assert not yakko.exists(RAN)
    yakko.run(["timeout", "20", "sh", "-c", f"until [ -s {RAN} ]; do sleep 0.1; done"])
    taken.ctl("release")
    assert "began and nothing more" in taken.asks("work.in_doubt")
    taken.answer("work.in_doubt", "done", "its line is there")
    taken.ends("done", code=0)
    assert_done_once(yakko, RAN, AFTER)
