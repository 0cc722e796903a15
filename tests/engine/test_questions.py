"""What the engine asks: answers and their words, points of no return, silence, red checks, the budget."""

import pytest

from cutover.simulator import systemd
from cutover.simulator.faults import At, HttpAnswers, KillSupervisor
from cutover.simulator.host import Unit
from tests.engine.harness import RUN, Operator, Trial, at, go, plan_of, says, silent
from tests.engine.runbooks import ASK, SLOW, command, steps, trial

# --- answers


def test_an_answer_must_be_a_word_of_an_open_question() -> None:
    run = trial(ASK, command("one"), operator=silent, patience=200)
    run.commands = [
        at(10, "answer", id="1", question="ready.ask.1", choice="yes"),
        at(11, "answer", id="2", question="nothing.1", choice="go"),
        at(12, "answer", id="3", question="ready.ask.1", choice="go", plan="0" * 64),
        at(13, "answer", id="4", question="ready.ask.1", choice="go", expect_seq=2),
        at(14, "retry", id="5", step="ready"),
        at(15, "frobnicate", id="6"),
        at(20, "answer", id="7", question="ready.ask.1", choice="go", expect_seq=9_999),
        at(20.01, "answer", id="8", question="ready.ask.1", choice="go"),
    ]
    assert run.start().status == "done"
    assert "the answers are: go, back" in run.replies["1"]["refused"]
    assert "open: ready.ask.1" in run.replies["2"]["refused"]
    assert "meant for 000000" in run.replies["3"]["refused"]
    assert "the picture has changed" in run.replies["4"]["refused"]
    assert "'retry' is no answer" in run.replies["5"]["refused"]
    assert "there is no command 'frobnicate'" in run.replies["6"]["refused"]
    assert run.replies["7"] == {"accepted": True}
    assert run.replies["8"].keys() == {"refused"}


def test_a_command_acts_once_however_often_it_is_given() -> None:
    run = trial(SLOW, command("next"), ASK, operator=silent, patience=100)
    hold = at(2, "hold", id="same")
    run.commands = [hold, at(20, "release"), (30, hold[1]), at(40, "note", text="seen"), at(41, "note", text="seen")]
    run.start()
    assert run.replies["same"] == {"accepted": True, "again": True}
    assert run.state.status == "running"
    assert len(run.of("run.noted")) == 1
    run.commands = [(run.loop_time + 10, hold[1])]  # an engine later too
    assert run.start().status == "running"


@pytest.mark.parametrize(("word", "end"), [("go", "done"), (f"go-{RUN}", "done"), ("GO", "running")])
def test_a_typed_go_is_a_word_of_this_run_alone(word: str, end: str) -> None:
    typed = "true" if word != "go" else "false"
    run = trial(f"  - ready: {{ask: {{question: Sure?, typed: {typed}}}}}\n", operator=silent, patience=60)
    run.commands = [at(10, "answer", question="ready.ask.1", choice=word)]
    assert run.start().status == end


def test_answers_given_ahead_are_used_once_and_wrong_ones_leave_the_question_open() -> None:
    run = trial(ASK, "  - more: {ask: {question: Really?}}\n", operator=silent, patience=60,
                answers=(("more.ask", "maybe"), ("ready.ask", "go")))  # fmt: skip
    assert run.start().questions.keys() == {"more.ask.1"}
    run.operator = go
    assert run.start().status == "done"


# --- points


POINT = "  - soft: {point: {is: soft}}\n"


def test_an_armed_point_is_passed_without_asking_when_nothing_is_red() -> None:
    run = trial("  - ready: {ask: {question: ok?, arms: [soft]}}\n", command("one"), POINT)
    assert run.start().status == "done"
    assert [event.body["about"] for event in run.of("question.asked")] == ["ask"]
    assert "given ahead" in run.of("point.crossed")[0].body["why"]


def test_an_armed_point_asks_while_something_else_is_open() -> None:
    run = trial("  - ready: {ask: {question: ok?, arms: [soft]}}\n",
                "  - beside: {ask: {question: and this?}, needs: [ready]}\n",
                "  - soft: {point: {is: soft}, needs: [ready]}\n",
                operator=silent, patience=100, answers=(("ready.ask", "go"),))  # fmt: skip
    state = run.start()
    assert state.questions.keys() == {"beside.ask.1", "point.soft.1"}
    assert "beside.ask.1" in state.questions["point.soft.1"]["known"][0]
    assert state.crossed == set()


def test_a_point_that_is_not_armed_takes_a_typed_word() -> None:
    run = trial(POINT, operator=says("go"), patience=100)
    assert run.start().questions.keys() == {"point.soft.1"}
    run.operator = go
    assert run.start().status == "done"


def test_a_go_over_a_point_survives_a_crash_at_every_write() -> None:
    whole = trial(command("one"), POINT, command("two"))
    whole.start()
    for commit in range(1, whole.commits + 1):
        run = trial(command("one"), POINT, command("two"))
        run.start(crash_after=commit)
        if run.of("question.answered"):
            run.operator = silent
        assert run.start().status == "done", commit


# --- silence


SILENT = "  - ready: {ask: {question: ok?, silence: {back: 60s}}}\n"


def test_silence_goes_back_after_its_time() -> None:
    run = trial(command("one"), SILENT, operator=silent)
    assert run.start().status == "rolled_back"
    assert run.of("question.answered")[0].actor == "silence"
    assert 60 <= run.loop_time < 70


def test_silence_keeps_its_deadline_over_a_crash() -> None:
    run = trial(command("one"), SILENT, operator=silent, patience=40)
    run.start()
    run.patience = 300
    assert run.start().status == "rolled_back"
    assert 60 <= run.loop_time < 75


def test_silence_holds_by_default() -> None:
    run = trial(command("one"), "  - ready: {ask: {question: ok?, until: 60s}}\n", operator=silent, patience=500)
    assert run.start().status == "running"
    assert run.state.questions.keys() == {"ready.ask.1"}


def test_silence_holds_from_the_moment_at_which_going_back_loses_something() -> None:
    run = trial("  - ready: {ask: {question: ok?, silence: {back: 60s}}, needs: []}\n",
                "  - hard: {point: {is: hard}, needs: []}\n", operator=silent, patience=200)  # fmt: skip
    run.operator = lambda question: f"go-{RUN}" if question["about"] == "point" else None
    state = run.start()
    assert state.status == "running"
    assert state.questions["ready.ask.1"]["silence"] == "hold"
    amended = run.of("question.amended")[0]
    assert amended.mono < 10
    assert "silence holds" in amended.body["known"][-1]


def test_silence_holds_once_something_is_in_doubt() -> None:
    run = trial("  - ready: {ask: {question: ok?, silence: {back: 60s}}, needs: []}\n",
                command("one", needs="[]"), operator=silent, patience=200)  # fmt: skip
    run.with_faults(KillSupervisor(At(act="one.*")))
    state = run.start()
    assert state.status == "running"
    assert {name: asked["silence"] for name, asked in state.questions.items()} == {
        "ready.ask.1": "hold",
        "one.in_doubt.1": "hold",
    }


# --- checks that ask


def test_a_red_check_that_asks_can_be_read_again_or_passed_over() -> None:
    stop = "  - stop: {services: {stop: [app-web], on: alice, stays_down: a test}}\n"

    def make(operator: Operator) -> Trial:
        run = trial(stop, operator=operator, patience=300)
        host = run.fleet.hosts["alice"]
        unit = host.units["other.service"] = Unit(name="other.service")
        host.files[unit.fragment] = "[Unit]\n"
        host.units["app-web.service"].required_by = "other.service"
        systemd.bring_up(host, unit)
        return run

    run = make(says("go"))
    assert run.start().status == "done"
    asked = []

    def twice(question: dict) -> str:
        asked.append(question["id"])
        return "retry" if len(asked) < 3 else "go"

    run = make(twice)
    assert run.start().status == "done"
    assert asked == [f"stop.check.alone.alice.app-web.service.{number}" for number in (1, 2, 3)]
    run = make(says("back"))
    assert run.start().status == "rolled_back"
    assert run.effects() == []


# --- the budget


BUDGET = "downtime: {announced: 10m, budget: 1m}\n"
MEASURE = "measures: {writes: {get: 'http://app/', every: 1s, means: writable}}\n"
LONG = command("long", do="[sleep, '200']", timeout="10m")


def test_at_the_end_of_the_budget_a_person_is_asked_and_nothing_new_begins() -> None:
    run = trial(LONG, command("next"), head=BUDGET, operator=silent, patience=400)
    state = run.start()
    assert state.questions.keys() == {"budget.1"}
    assert state.budget_asked
    assert run.statuses() == {"long": "done", "next": "pending"}
    run.operator = says("on")
    assert run.start().status == "done"


@pytest.mark.parametrize("resumed", [False, True])
def test_over_the_budget_back_goes_back(resumed: bool) -> None:
    run = trial(LONG, command("next"), head=BUDGET, operator=says("back"), patience=1000)
    if resumed:
        run.operator, run.patience = silent, 400
        run.start()
        run.operator = says("back")
    assert run.start().status == "rolled_back"
    assert run.count("touch /tmp/next") == 0


def test_the_budget_amends_an_open_question() -> None:
    run = trial(command("one"), ASK, head=BUDGET, operator=silent, patience=400)
    state = run.start()
    assert state.questions.keys() == {"ready.ask.1"}
    assert "budget of 1m is used up" in state.questions["ready.ask.1"]["known"][-1]
    assert len(run.of("budget.reached")) == 1


def test_the_budget_may_end_on_the_way_back() -> None:
    lines = (command("one", do="[touch, /tmp/one]"), ASK)
    undo = steps(*lines, head=BUDGET).replace("undo: [rm, -f, /tmp/one]", "undo: [sleep, '50']")
    run = Trial(plan_of(undo), operator=silent, commands=[at(40, "abort")])
    assert run.start().status == "rolled_back"


def test_a_measured_window_opens_at_the_first_write_that_fails_and_closes_with_the_first_that_works() -> None:
    run = trial(LONG, head=BUDGET + MEASURE, operator=silent, patience=400)
    run.with_faults(HttpAnswers("http://app/", 503, times=30, after=20.0))
    assert run.start().status == "done"
    (window,) = run.state.windows
    assert window["measured"] is True
    assert 29 <= window["seconds"] <= 32
    assert run.of("budget.reached") == []
