"""What the commander says, and what the engine does then; also when it dies between the two."""

import pytest

from cutover.simulator.faults import At, FailCommand, HttpAnswers, KillSupervisor, LoseReply
from tests.engine.harness import RUN, Trial, at, first_move, plan_of, says, silent
from tests.engine.harness import go as says_go
from tests.engine.runbooks import ASK, SLOW, broken, command, probed, steps, trial, world

# --- hold and release


def test_a_held_run_begins_nothing_and_ends_what_is_under_way() -> None:
    run = trial(SLOW, command("next"), commands=[at(2, "hold", reason="tea"), at(500, "release")])
    assert run.start().status == "done"
    assert run.when("step.moved", "slow", to="done") < 20
    assert run.when("step.moved", "next", to="checking") >= 500
    assert [event.body["why"] for event in run.of("run.moved")][1:3] == ["tea", "released by the commander"]


def test_a_hold_survives_the_engine() -> None:
    run = trial(SLOW, command("next"), commands=[at(2, "hold")], patience=100)
    assert run.start().status == "held"
    run.commands = [at(run.loop_time + 50, "release")]
    assert run.start().status == "done"
    assert run.count("touch /tmp/next") == run.count("sleep 10") == 1


def test_a_reason_to_hold_at_the_start_is_said_and_waits_for_release() -> None:
    run = trial(SLOW, command("next"), patience=5)
    run.start()
    run.hold, run.patience = "the runbook changed", 100
    assert (run.start().status, run.state.why) == ("held", "the runbook changed")
    run.hold, run.commands = None, [at(run.loop_time + 50, "release")]
    assert run.start().status == "done"


def test_a_hold_on_the_way_back_stops_it_between_two_steps() -> None:
    lines = (command("one"), command("two"), ASK)
    plan = plan_of(steps(*lines).replace("undo: [rm, -f, /tmp/two]", "undo: [sleep, '10']"))
    run = Trial(plan, operator=silent, commands=[at(10, "abort"), at(15, "hold"), at(300, "release")])
    assert run.start().status == "rolled_back"
    assert run.when("step.moved", "two", to="undone") < 25
    assert run.when("step.moved", "one", to="undoing") >= 300


# --- what went wrong: retry, skip, done, not-done


def test_retry_probes_first_and_does_not_act_on_what_is_done() -> None:
    run = trial(command("one", more=probed("one")), operator=says("retry"))
    run.with_faults(FailCommand(At(argv="touch /tmp/one"), acts=True), FailCommand(At(argv="test -e*"), exit=9))
    assert run.start().status == "done"
    assert run.count("touch /tmp/one") == 1
    assert [event.body["done"] for event in run.of("act.probed")] == ["unknown", "done"]


def test_retries_of_the_runbook_count_what_the_probe_calls_not_done() -> None:
    line = command("one", more=probed("one"), retries=2)
    run = trial(line, operator=silent, patience=100).with_faults(broken("one", times=2))
    assert run.start().status == "done"
    assert run.count("touch /tmp/one") == 3
    run = trial(line, operator=silent, patience=100).with_faults(broken("one", times=9))
    state = run.start()
    assert run.count("touch /tmp/one") == 3
    assert "no luck" in state.questions["one.failed.1"]["what"]


def test_an_attempt_of_which_nobody_knows_takes_no_retry() -> None:
    run = trial(command("one", more=probed("one"), retries=2), operator=silent, patience=200)
    run.with_faults(LoseReply(At(act="one.*")), FailCommand(At(argv="touch /tmp/one", times=3)))
    assert run.start().questions == {}
    assert run.state.status == "done"
    assert run.state.steps["one"].retries == 2


def test_without_a_probe_only_a_person_has_a_failure_tried_again() -> None:
    run = trial(command("one"), command("next"), operator=silent, patience=50).with_faults(broken("one"))
    assert run.start().questions.keys() == {"one.failed.1"}
    for _ in range(2):  # resuming is no retry
        run.start()
    assert run.count("touch /tmp/one") == 1
    run.operator = says("retry")
    assert run.start().status == "done"
    assert run.count("touch /tmp/one") == 2


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("word", ["retry", "skip", "back"])
def test_an_answer_survives_a_crash_at_every_write(word: str, moment: str) -> None:
    ends = {"retry": "done", "skip": "done", "back": "rolled_back"}
    lines = (command("zero"), command("one"), command("next"))
    whole = trial(*lines, operator=says(word)).with_faults(broken("one"))
    assert whole.start().status == ends[word]
    for commit in range(1, whole.commits + 1):
        run = trial(*lines, operator=says(word)).with_faults(broken("one"))
        run.start(**{f"crash_{moment}": commit})
        answered = bool(run.of("question.answered"))
        if answered:
            run.operator = says("retry" if word != "retry" else "skip")  # asked again, the run would end otherwise
        run.start()
        assert run.state.status == ends[word], commit
        assert run.statuses() == whole.statuses(), commit
        assert sorted(run.effects()) == sorted(whole.effects()), commit


def test_skip_needs_a_reason_and_takes_the_step_off_the_way() -> None:
    run = trial(command("one"), command("next"), operator=silent, patience=300).with_faults(broken("one"))
    run.commands = [
        at(50, "skip", id="a", step="one"),
        at(51, "skip", id="c", step="nope", reason="x"),
        at(60, "skip", id="b", step="one", reason="by hand"),
    ]
    assert run.start().status == "done"
    assert run.statuses() == {"one": "skipped", "next": "done"}
    assert run.state.steps["one"].why == "by hand"
    assert run.replies["a"] == {"refused": "skip needs a reason"}
    assert run.replies["b"] == {"accepted": True}
    assert "no step 'nope'" in run.replies["c"]["refused"]


def test_a_step_can_be_skipped_before_it_begins() -> None:
    run = trial(SLOW, command("next"), commands=[at(2, "skip", step="next", reason="not today")])
    assert run.start().status == "done"
    assert run.statuses()["next"] == "skipped"
    assert run.count("touch /tmp/next") == 0


@pytest.mark.parametrize(("word", "times"), [("done", 1), ("not-done", 2)])
def test_in_doubt_a_person_says_whether_it_was_done(word: str, times: int) -> None:
    run = trial(command("one", do="[[touch, /tmp/zero], [touch, /tmp/one]]"), command("next"), operator=silent)
    run.with_faults(KillSupervisor(At(act="one.*"), after=0.003)).patience = 100
    asked = run.start().questions["one.in_doubt.1"]
    assert "its receipt on alice says that it began and nothing more" in asked["what"]
    assert run.statuses() == {"one": "in_doubt", "next": "pending"}
    run.operator = says(word)
    assert run.start().status == "done"
    assert run.count("touch /tmp/zero") == times


# --- abort


ABORTED = (command("one"), "  - two: {services: {stop: [app-web], on: b.web, stays_down: a test}}\n", ASK,
           command("three", more=probed("three")))  # fmt: skip


def test_abort_at_any_moment_brings_everything_back() -> None:
    whole = trial(*ABORTED)
    whole.start()
    healthy = trial(*ABORTED).fleet
    for tenth in range(0, int(whole.loop_time * 10)):
        run = trial(*ABORTED, commands=[at(tenth / 10, "abort", reason="enough")])
        state = run.start()
        if run.replies.get("abort", {}).get("accepted"):
            assert (state.status, state.outstanding, state.questions) == ("rolled_back", [], {}), tenth
            assert world(run.fleet) == world(healthy), tenth
        else:
            assert state.status == "done"


@pytest.mark.parametrize("state", ["failed", "in_doubt", "held", "asked"])
@pytest.mark.parametrize("resumed", [False, True])
def test_abort_from_every_state(state: str, resumed: bool) -> None:
    lines = (command("zero"), command("one"), ASK)
    run = trial(*lines, operator=silent, patience=100)
    if state == "failed":
        run.with_faults(broken("one"))
    elif state == "in_doubt":
        run.with_faults(KillSupervisor(At(act="one.*")))
    elif state == "held":
        run.commands = [at(5, "hold", id="hold")]
    if resumed:
        run.start()
    run.commands = [*run.commands, at(run.loop_time + 50, "abort")]
    assert run.start().status == "rolled_back"
    assert run.replies["abort"] == {"accepted": True}
    assert run.state.questions == {}
    assert not any(path.startswith("/tmp/") for path in run.fleet.hosts["alice"].files)
    assert run.state.claims == {}


def test_abort_survives_a_crash_at_every_write_while_a_failure_is_asked_about() -> None:
    lines = (command("zero"), command("one"))

    def make() -> Trial:
        return trial(*lines, operator=silent, patience=200, commands=[at(50, "abort")]).with_faults(broken("one"))

    whole = make()
    assert whole.start().status == "rolled_back"
    for commit in range(1, whole.commits + 1):
        run = make()
        run.start(crash_after=commit)
        run.commands = [at(run.loop_time + 50, "abort", id="again")]
        state = run.start()
        assert (state.status, state.questions) == ("rolled_back", {}), commit


def test_after_the_hard_point_there_is_no_way_back() -> None:
    run = trial(command("one"), "  - hard: {point: {is: hard}}\n", ASK,
                operator=silent, patience=400)  # fmt: skip
    run.operator = lambda question: f"go-{RUN}" if question["about"] == "point" else None
    run.commands = [at(50, "abort"), at(51, "answer", question="ready.ask.1", choice="back")]
    state = run.start()
    assert "second, planned cutover" in run.replies["abort"]["refused"]
    assert run.replies["answer"].keys() == {"refused"}
    assert state.status == "running"
    assert [choice["word"] for choice in state.questions["ready.ask.1"]["choices"]] == ["go"]


def test_a_question_asked_before_the_hard_point_does_not_lead_back_after_it() -> None:
    run = trial("  - beside: {ask: {question: ok?}, needs: []}\n", "  - hard: {point: {is: hard}, needs: []}\n",
                operator=silent, patience=100)  # fmt: skip
    run.commands = [at(5, "answer", id="point", question="point.hard.1", choice=f"go-{RUN}"),
                    at(9, "answer", id="late", question="beside.ask.1", choice="back")]  # fmt: skip
    state = run.start()
    assert state.crossed == {"hard"}
    assert "no lossless way back" in run.replies["late"]["refused"]
    assert state.status == "running"


# --- undo


def unlucky(name: str, times: int = 1) -> FailCommand:
    return FailCommand(At(argv=f"rm -f /tmp/{name}", times=times), stderr="stuck")


def test_an_undo_that_fails_is_asked_about_and_retried() -> None:
    run = trial(command("zero"), command("one"), ASK, operator=says("back", "retry")).with_faults(unlucky("one"))
    assert run.start().status == "rolled_back"
    assert run.state.outstanding == []
    assert [event.body["about"] for event in run.of("question.asked")] == ["ask", "undo"]


def test_an_undo_that_is_left_is_outstanding_and_the_rest_goes_on() -> None:
    run = trial(command("zero"), command("one"), ASK, operator=says("back", "leave")).with_faults(unlucky("one", 9))
    assert run.start().status == "rolled_back"
    assert run.state.outstanding == ["one: test"]
    assert run.fleet.hosts["alice"].files.keys() & {"/tmp/zero", "/tmp/one"} == {"/tmp/one"}


@pytest.mark.parametrize("moment", ["before", "after"])
def test_leaving_an_undo_survives_a_crash_at_every_write(moment: str) -> None:
    lines = (command("zero"), command("one"), ASK)
    whole = trial(*lines, operator=says("back", "leave")).with_faults(unlucky("one", 99))
    whole.start()
    for commit in range(1, whole.commits + 1):
        run = trial(*lines, operator=says("back", "leave")).with_faults(unlucky("one", 99))
        run.start(**{f"crash_{moment}": commit})
        tried = run.count("rm -f /tmp/one")
        left = any(event.body["choice"] == "leave" for event in run.of("question.answered"))
        state = run.start()
        assert (state.status, state.outstanding) == ("rolled_back", ["one: test"]), commit
        if left:
            assert run.count("rm -f /tmp/one") == tried, commit


# --- exclude


def test_an_excluded_host_is_left_out_and_the_others_go_on() -> None:
    run = trial(command("one", "b.web"), command("two", "b.web"), operator=silent, patience=300)
    run.with_faults(FailCommand(At(host="bob", argv="touch*", times=9)))
    run.commands = [at(50, "exclude", id="no", host="bob"), at(51, "exclude", host="bob", reason="broken"),
                    at(52, "exclude", id="who", host="mallory", reason="x"), at(60, "retry", step="one")]  # fmt: skip
    assert run.start().status == "done"
    assert run.replies["no"] == {"refused": "exclude needs a reason"}
    assert "no host 'mallory'" in run.replies["who"]["refused"]
    acted = [(host, line) for host, line in run.effects() if host == "bob"]
    assert acted == [("bob", "touch /tmp/one")]
    assert run.fleet.hosts["carol"].files.keys() >= {"/tmp/one", "/tmp/two"}


def test_a_wait_for_nobody_is_not_green() -> None:
    stop = "  - stop: {services: {stop: [app-web], on: alice, stays_down: a test}}\n"
    run = trial(stop, operator=silent, patience=500, commands=[at(0.1, "exclude", host="alice", reason="gone")])
    asked = run.start().questions["stop.failed.1"]
    assert "0 of 0 is no proof" in asked["what"]


def test_what_was_done_on_a_host_excluded_later_is_outstanding_after_the_way_back() -> None:
    run = trial(command("one", "b.web"), ASK, operator=silent, patience=500)
    run.commands = [at(50, "exclude", host="bob", reason="broken"), at(60, "abort")]
    assert run.start().status == "rolled_back"
    assert run.state.outstanding == ["one: not taken back on bob, which is excluded"]
    assert "/tmp/one" not in run.fleet.hosts["carol"].files


# --- the graph


def test_parallel_branches_run_at_once() -> None:
    run = trial(command("left", do="[sleep, '10']", needs="[]"),
                command("right", "bob", do="[sleep, '9']", needs="[]"),
                command("last", needs="[left, right]"))  # fmt: skip
    assert run.start().status == "done"
    assert run.loop_time < 15


def test_nothing_new_begins_while_a_failure_is_asked_about() -> None:
    run = trial(command("bad", needs="[]"), command("long", "bob", do="[sleep, '10']", needs="[]"),
                command("after", "bob", needs="[long]"), operator=silent, patience=100)  # fmt: skip
    run.with_faults(broken("bad"))
    run.start()
    assert run.statuses() == {"bad": "failed", "long": "done", "after": "pending"}
    run.start()
    assert run.statuses()["after"] == "pending"
    run.operator = says("retry")
    assert run.start().status == "done"


def test_the_last_sentence_says_what_a_person_left_out() -> None:
    def skip_the_proof(question: dict) -> str | None:
        return "skip" if question["about"] == "failed" else says_go(question)

    fault = HttpAnswers("http://freud:3000/*", status=502, times=1_000)
    state = Trial(first_move(), operator=skip_the_proof).with_faults(fault).start()
    assert (state.status, state.why) == ("done", "every step is done, but: proved skipped")


def test_the_way_back_names_what_it_takes_back() -> None:
    seen: list[dict] = []

    def look(question: dict) -> str | None:
        seen.append(question)
        return says_go(question)

    assert Trial(first_move(), operator=look).start().status == "done"
    back = next(choice for choice in seen[0]["choices"] if choice["word"] == "back")
    assert back["takes"] == "takes back stop-old"


def test_a_step_whose_only_host_is_left_out_is_skipped_not_done() -> None:
    run = trial(command("one"), operator=silent, patience=300)
    run.with_faults(FailCommand(At(argv="touch*", times=1_000), exit=1))
    run.commands = [at(50, "exclude", host="alice", reason="broken"), at(60, "retry", step="one")]
    state = run.start()
    assert state.steps["one"].status == "skipped"
    assert state.why == "every step is done, but: one skipped, alice left out"
