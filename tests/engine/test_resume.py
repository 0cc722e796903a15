"""An engine that starts on the journal of a dead one, in a world that has gone on meanwhile."""

import pytest

from cutover.simulator.faults import At, CutLink, Delay
from tests.engine.harness import Trial, at, go, plan_of, says, silent

TEXT = """
title: resumed
sites: {a: {web: [alice]}, b: {web: [bob]}}
announcement: {waived: a test}
steps:
  - one: {command: {on: alice, do: [touch, /tmp/one], undo: [rm, -f, /tmp/one]}}
  - ready: {ask: {question: "Go on?"}}
  - two: {command: {on: bob, do: [touch, /tmp/two], undo: [rm, -f, /tmp/two]}}
"""
PLAN = plan_of(TEXT)


def waiting(**options) -> Trial:
    """A run whose engine died while it waited for the answer."""
    run = Trial(PLAN, operator=silent, patience=60, **options)
    run.start()
    assert run.statuses() == {"one": "done", "ready": "acting", "two": "pending"}
    return run


def test_an_act_that_the_journal_lost_is_found_by_its_receipt_and_not_done_again() -> None:
    run = waiting()
    intent = next(event.seq for event in run.events if event.type == "act.intent")
    run.stored = run.stored[: intent - 1]
    run.operator = go
    assert run.start().status == "done"
    assert run.count("touch /tmp/one") == 1
    assert [event.body["reply"].get("code") for event in run.of("act.outcome", "one")] == ["receipt-exists"]


def test_a_host_out_of_reach_holds_the_resumed_run_and_is_claimed_when_it_is_needed() -> None:
    run = waiting()
    run.with_faults(CutLink("bob", run.loop_time, 100.0))
    held = run.start()
    assert held.status == "held"
    assert "bob" in held.why
    assert "bob" not in held.claims
    run.operator, run.patience, run.commands = go, 900, [at(run.loop_time + 200, "release")]
    assert run.start().status == "done"


@pytest.mark.parametrize("lasts", [30.0, 100.0])
def test_a_host_out_of_reach_on_the_way_back_is_claimed_when_it_is_needed(lasts: float) -> None:
    run = waiting()
    run.commands = [at(run.loop_time + 20, "abort")]
    run.start(crash_after=4)
    run.with_faults(CutLink("alice", run.loop_time, lasts))
    run.patience = 400
    again = [at(run.loop_time + 20, "abort", id="again"), at(run.loop_time + 50, "release")]
    run.commands, run.operator = again, says("retry")
    assert run.start().status == "rolled_back"
    assert run.state.outstanding == []
    assert "/tmp/one" not in run.fleet.hosts["alice"].files


def test_an_act_still_at_work_at_the_resume_is_waited_for() -> None:
    run = Trial(PLAN, patience=5).with_faults(Delay(At(act="one.*"), 40.0))
    run.start()
    run.patience = 400
    held = run.start()
    assert held.status == "held"
    assert "still under way" in held.why
    run.commands = [at(run.loop_time + 100, "release")]
    assert run.start().status == "done"
    assert run.count("touch /tmp/one") == 1


@pytest.mark.parametrize("verb", ["hold", "abort"])
def test_told_while_it_prepares(verb: str) -> None:
    run = Trial(PLAN, patience=300, commands=[at(0.05, verb), at(100, "release")])
    state = run.start()
    assert run.replies[verb] == {"accepted": True}
    assert state.status == {"hold": "done", "abort": "rolled_back"}[verb]
    assert len(run.effects()) == {"hold": 2, "abort": 0}[verb]


def test_a_run_that_is_refused_leaves_nothing_behind() -> None:
    run = Trial(PLAN)
    run.fleet.hosts["bob"].owner, run.fleet.hosts["bob"].token = "you@there.abcdef.1", 7
    refused = run.start()
    assert refused.status == "refused"
    assert "bob is claimed by you@there.abcdef.1" in refused.why
    assert run.effects() == []
    assert {name: host.owner for name, host in run.fleet.hosts.items()} == {"alice": None, "bob": "you@there.abcdef.1"}
    assert not refused.engine_up


def test_a_host_that_another_run_took_over_fences_the_resumed_engine() -> None:
    run = waiting()
    run.fleet.hosts["bob"].owner, run.fleet.hosts["bob"].token = "you@there.abcdef.1", 7
    run.operator = go
    state = run.start()
    assert (state.status, state.engine_up) == ("running", False)
    assert "you@there.abcdef.1" in run.of("engine.stopped")[-1].body["why"]
    assert run.count("touch /tmp/two") == 0
    run.take_over = True
    assert run.start().status == "done"


def test_a_takeover_in_the_middle_stops_the_engine_before_its_next_act() -> None:
    run = Trial(PLAN, operator=silent, patience=60)

    def taken_over(_: dict) -> str:
        run.fleet.hosts["bob"].owner, run.fleet.hosts["bob"].token = "you@there.abcdef.1", 7
        return "go"

    run.operator = taken_over
    state = run.start()
    assert not state.engine_up
    stopped = run.of("engine.stopped")[-1].body
    assert stopped["fenced"]
    assert "bob: another engine has taken it over" in stopped["why"]
    assert run.count("touch /tmp/two") == 0
