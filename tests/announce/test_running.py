"""Announcements in whole runs, in virtual time: crashes, faults, the way back, and what goes on beside the run."""

from collections import Counter
from itertools import pairwise

import pytest

from cutover.simulator.faults import At, FailCommand, HttpAnswers, LoseReply, LoseRequest
from tests.engine.harness import RUN, Trial, at, go, plan_of, says, silent

CHANNELS = """
channels:
  toots: {kind: mastodon, server: "https://social.example", token: "${secret:t}", lives_on: old}
  page: {kind: statuspage, page: abc, token: "${secret:t}", lives_on: elsewhere}
  room: {kind: matrix, server: "https://matrix.example", room: "!r:matrix.example", token: "${secret:t}",
         lives_on: elsewhere}
  team: {kind: slack, channel: C1, token: "${secret:t}", lives_on: elsewhere}
  hook: {kind: slack_webhook, url: "${secret:s}", lives_on: elsewhere}
  chat: {kind: discord, url: "${secret:d}", lives_on: elsewhere}
  mine: {kind: webhook, url: "${secret:w}", lives_on: elsewhere}
"""
HEAD = f"""
title: announced
sites: {{old: {{web: [alice]}}, new: {{web: [bob]}}}}
secrets: {{t: {{env: T}}, s: {{env: S}}, d: {{env: D}}, w: {{env: W}}}}
{CHANNELS}
steps:
"""
BASES = {
    "toots": "https://social.example/api/v1/",
    "page": "https://api.statuspage.io/v1/pages/abc",
    "room": "https://matrix.example/_matrix/client/v3/",
    "team": "https://slack.com/api/",
    "hook": "${secret:s}",
    "chat": "${secret:d}",
    "mine": "${secret:w}",
}
CAN_SAY = ("toots", "page", "room")
CANNOT_SAY = ("team", "hook", "chat", "mine")
STOP = "  - stop: {services: {stop: [app], on: alice, stays_down: it is old}}\n"
CALLED_OFF = "Called off: everything stays where it was."


def plan(channel: str, confirm: str = "any", more: str = STOP):
    site = "old" if channel == "toots" else "elsewhere"
    head = HEAD.replace(f"lives_on: {site}", "lives_on: elsewhere") if channel == "toots" else HEAD
    tell = f"  - tell: {{announce: {{channels: [{channel}], text: 'We move.', confirm: {confirm}}}}}\n"
    end = f"  - told: {{announce: {{channels: [{channel}], text: 'We are home.'}}}}\n"
    return plan_of(head + tell + more + end)


def texts(trial: Trial, channel: str) -> list[str]:
    """What people read on the channel, without the tag."""
    return [text.partition("\n\nrun ")[0] for text in trial.fleet.boards[BASES[channel]].readable()]


def said(trial: Trial, channel: str) -> list[str]:
    """Every message of the run in its time: an incident that is resolved says what it says last."""
    return ["We are home."] if channel == "page" else ["We move.", "We are home."]


@pytest.mark.parametrize("channel", BASES)
def test_a_run_says_where_it_begins_and_where_it_ends(channel: str) -> None:
    trial = Trial(plan(channel))
    state = trial.start()
    assert (state.status, state.outstanding) == ("done", [])
    assert texts(trial, channel) == said(trial, channel)
    published = trial.when("act.outcome", "tell")
    assert published < trial.when("act.intent", "stop")


@pytest.mark.parametrize("channel", CAN_SAY)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_crash_at_every_write_says_it_once_where_the_service_can_tell(channel: str, moment: str) -> None:
    whole = Trial(plan(channel))
    whole.start()
    for commit in range(1, whole.commits + 1):
        trial = Trial(plan(channel))
        trial.start(**{f"crash_{moment}": commit})
        state = trial.start()
        assert (state.status, state.outstanding) == ("done", []), (commit, state.why, state.questions)
        assert texts(trial, channel) == said(trial, channel), commit


@pytest.mark.parametrize("channel", CANNOT_SAY)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_crash_at_every_write_asks_where_the_service_cannot_tell(channel: str, moment: str) -> None:
    whole = Trial(plan(channel))
    whole.start()
    outcomes = Counter()
    for commit in range(1, whole.commits + 1):
        trial = Trial(plan(channel), operator=says("go", "done"))
        trial.start(**{f"crash_{moment}": commit})
        in_doubt = [step for step in ("tell", "told") if _open(trial, step)]
        state = trial.start()
        assert state.status == "done", (commit, state.why, state.questions)
        assert max(Counter(texts(trial, channel)).values()) == 1, commit
        asked = [event.step for event in trial.of("question.asked") if event.body["about"] == "in_doubt"]
        left = [event.step for event in trial.of("act.outstanding")]
        assert asked == [step for step in in_doubt if step == "tell"], commit
        assert left == [step for step in in_doubt if step == "told"], commit
        outcomes.update(in_doubt)
    assert set(outcomes) == {"tell", "told"}


def _open(trial: Trial, step: str) -> bool:
    return any(act.status == "begun" for act in trial.state.step(step).acts.values())


@pytest.mark.parametrize("channel", CAN_SAY)
@pytest.mark.parametrize("fault", [LoseReply, LoseRequest])
def test_a_lost_answer_is_looked_for_and_nothing_is_said_twice(channel: str, fault: type) -> None:
    trial = Trial(plan(channel)).with_faults(fault(At(argv=f"{BASES[channel]}*", times=1)))
    state = trial.start()
    assert (state.status, state.outstanding, trial.of("question.asked")) == ("done", [], [])
    assert texts(trial, channel) == said(trial, channel)


@pytest.mark.parametrize("channel", CANNOT_SAY)
@pytest.mark.parametrize("fault", [LoseReply, LoseRequest])
def test_a_lost_answer_to_the_start_is_in_doubt(channel: str, fault: type) -> None:
    lost = At(argv=BASES[channel].replace("[", "[[]") + "*", times=1)
    trial = Trial(plan(channel), operator=silent, patience=600).with_faults(fault(lost))
    state = trial.start()
    assert state.step("tell").status == "in_doubt"
    (question,) = state.questions.values()
    assert [choice["word"] for choice in question["choices"]] == ["retry", "done", "not-done", "skip", "back"]
    assert state.step("stop").status == "pending"


def test_too_many_requests_are_not_done_and_tried_again_when_allowed() -> None:
    trial = Trial(plan("chat")).with_faults(HttpAnswers("${secret:d}*", 429, times=2))
    assert trial.start().status == "done"
    assert texts(trial, "chat") == ["We move.", "We are home."]
    intents = [event.mono for event in trial.of("act.intent", "tell")]
    assert [round(later - earlier) for earlier, later in pairwise(intents)] == [30, 30]


def test_a_service_that_refuses_the_start_holds_the_run_until_a_retry() -> None:
    trial = Trial(plan("chat"), operator=says("retry"), patience=600).with_faults(
        HttpAnswers("${secret:d}*", 403, times=1)
    )
    assert trial.start().status == "done"
    (asked,) = trial.of("question.asked")
    assert asked.body["what"] == "tell failed: chat answered 403"


def test_a_token_that_is_not_taken_is_found_before_the_run() -> None:
    trial = Trial(plan("room")).with_faults(HttpAnswers("*/whoami", 401, times=9))
    state = trial.start()
    assert (state.status, state.why) == ("refused", "tell: room does not take the token: it answered 401")


# --- any of several


SEVERAL = plan_of(HEAD + "  - tell: {announce: {channels: [toots, page, chat], text: We move.}}\n" + STOP)


def test_one_channel_elsewhere_is_enough_and_the_others_follow() -> None:
    trial = Trial(SEVERAL).with_faults(
        HttpAnswers("${secret:d}*", 403, times=3), HttpAnswers("*/api/v1/*", 502, times=3)
    )
    state = trial.start()
    assert (state.status, state.outstanding, trial.of("question.asked")) == ("done", [], [])
    assert trial.when("act.intent", "stop") < 2.0
    assert all(texts(trial, channel) == ["We move."] for channel in ("toots", "page", "chat"))


def test_no_channel_elsewhere_is_a_question() -> None:
    faults = (HttpAnswers("${secret:d}*", 403, times=1), HttpAnswers("*/pages/*", 403, times=1))
    trial = Trial(SEVERAL, operator=says("retry")).with_faults(*faults)
    assert trial.start().status == "done"
    (asked,) = trial.of("question.asked")
    assert asked.body["about"] == "failed"
    assert all(texts(trial, channel) == ["We move."] for channel in ("toots", "page", "chat"))


def test_any_of_several_survives_a_crash_at_every_write() -> None:
    whole = Trial(SEVERAL)
    whole.start()
    for moment in ("before", "after"):
        for commit in range(1, whole.commits + 1):
            trial = Trial(SEVERAL)
            trial.start(**{f"crash_{moment}": commit})
            state = trial.start()
            assert state.status == "done", (commit, state.questions)
            assert texts(trial, "toots") == texts(trial, "page") == ["We move."]
            assert len(texts(trial, "chat")) == 1 or state.outstanding


# --- beside the run


def test_an_end_that_cannot_be_said_holds_nothing_and_is_outstanding() -> None:
    slow = plan("room", more=STOP + "  - later: {ask: {question: go?}}\n")
    trial = Trial(slow).with_faults(HttpAnswers("*/send/*", 502, times=999, after=1.0))
    state = trial.start()
    assert state.status == "done"
    (left,) = state.outstanding
    assert left.startswith("told: announce the end on room: ")
    assert trial.of("question.asked", "told") == []
    done = trial.when("step.moved", "told", to="done")
    assert 59 < trial.when("act.outstanding", "told") - done < 62
    assert len(trial.of("act.intent", "told")) > 3


def test_an_update_is_tried_again_until_it_is_out() -> None:
    slow = plan("room", more=STOP + "  - later: {ask: {question: go?}}\n")
    trial = Trial(slow).with_faults(HttpAnswers("*/send/*", 502, times=3, after=1.0))
    state = trial.start()
    assert (state.status, state.outstanding) == ("done", [])
    assert texts(trial, "room") == ["We move.", "We are home."]


def test_a_hold_does_not_concern_what_goes_on_beside_the_run() -> None:
    middle = "  - moving: {announce: {what: update, channels: [room], text: Now.}}\n"
    faults = HttpAnswers("*/send/*", 502, times=2, after=1.0)
    trial = Trial(
        plan("room", more=STOP + "  - first: {ask: {question: go?}}\n" + middle + "  - wait: {ask: {question: go?}}\n"),
        operator=lambda question: go(question) if question["step"] == "first" else None,
        commands=[at(3.0, "hold")], patience=120,
    ).with_faults(faults)  # fmt: skip
    trial.start()
    assert trial.state.status == "held"
    assert texts(trial, "room") == ["We move.", "Now."]


# --- back


LATE = "  - late: {ask: {question: go?}}\n"


def aborting(question: dict) -> str | None:
    return "back" if question["step"] == "late" else None


@pytest.mark.parametrize("channel", BASES)
def test_the_way_back_retracts_what_was_said(channel: str) -> None:
    trial = Trial(plan(channel, more=STOP + LATE), operator=aborting)
    state = trial.start()
    assert (state.status, state.outstanding) == ("rolled_back", [])
    second = channel in ("hook", "mine")
    assert texts(trial, channel) == (["We move.", CALLED_OFF] if second else [CALLED_OFF])
    assert trial.fleet.unit("alice", "app").active == "active"


@pytest.mark.parametrize("channel", ["toots", "room", "team", "chat"])
def test_a_retraction_may_delete(channel: str) -> None:
    text = plan(channel, more=STOP + LATE).source.runbook.replace(
        f"  {channel}: {{", f"  {channel}: {{retract: delete, "
    )
    trial = Trial(plan_of(text), operator=aborting)
    assert trial.start().status == "rolled_back"
    assert texts(trial, channel) == []


@pytest.mark.parametrize("channel", CAN_SAY)
def test_the_way_back_survives_a_crash_at_every_write(channel: str) -> None:
    whole = Trial(plan(channel, more=STOP + LATE), operator=aborting)
    whole.start()
    for moment in ("before", "after"):
        for commit in range(1, whole.commits + 1):
            trial = Trial(plan(channel, more=STOP + LATE), operator=aborting)
            trial.start(**{f"crash_{moment}": commit})
            state = trial.start()
            assert (state.status, state.outstanding) == ("rolled_back", []), (commit, state.questions)
            assert texts(trial, channel) == [CALLED_OFF], (moment, commit)


def test_a_retraction_that_cannot_be_said_does_not_hold_the_way_back() -> None:
    trial = Trial(plan("chat", more=STOP + LATE), operator=aborting)
    trial.with_faults(HttpAnswers("${secret:d}/messages/*", 500, times=999))
    state = trial.start()
    assert state.status == "rolled_back"
    (left,) = state.outstanding
    assert left.startswith("tell: retract what was announced on chat: ")
    assert trial.fleet.unit("alice", "app").active == "active"
    assert trial.when("step.moved", "stop", to="undone") < 10
    assert texts(trial, "chat") == ["We move."]


def test_a_message_nobody_knows_of_is_left_to_a_person_on_the_way_back() -> None:
    trial = Trial(plan("chat"), operator=says("back")).with_faults(LoseReply(At(argv="${secret:d}*", times=1)))
    state = trial.start()
    assert state.status == "rolled_back"
    (left,) = state.outstanding
    assert "whether it is there, nobody knows" in left


def test_what_failed_before_it_was_said_needs_no_retraction() -> None:
    trial = Trial(plan("chat"), operator=says("back")).with_faults(HttpAnswers("${secret:d}*", 403, times=9))
    state = trial.start()
    assert (state.status, state.outstanding, texts(trial, "chat")) == ("rolled_back", [], [])


def test_a_start_that_is_still_tried_is_not_said_after_the_run_turned_back() -> None:
    text = HEAD + "  - tell: {announce: {channels: [page, toots], text: We move.}}\n" + STOP + LATE
    trial = Trial(plan_of(text), operator=aborting).with_faults(HttpAnswers("*/statuses", 429, times=1))
    state = trial.start()
    assert (state.status, state.outstanding) == ("rolled_back", [])
    assert texts(trial, "toots") == []


# --- texts and secrets


def test_a_text_may_speak_of_the_run() -> None:
    text = "Run ${run.id}, plan ${run.plan}, since ${run.began}: paused for ${run.window}."
    head = HEAD.replace("steps:", 'measures: {write: {post: "http://bob:80/", means: writable, every: 1s}}\nsteps:')
    slow = f"  - told: {{announce: {{what: update, channels: [room], text: '{text}'}}}}\n"
    made = plan_of(
        head + "  - tell: {announce: {channels: [room], text: We move.}}\n"
        "  - wait: {command: {on: bob, do: [sleep, '5'], harmless: true}}\n" + slow
    )
    trial = Trial(made)
    assert trial.start().status == "done"
    (_, told) = texts(trial, "room")
    assert told.startswith(f"Run {RUN}, plan {made.short_hash}, since ")
    assert told.endswith(" UTC: paused for a time that was not measured.") or "paused for" in told
    assert "${" not in told


def test_a_person_who_says_that_it_is_out_leaves_a_second_message_for_the_way_back() -> None:
    def operator(question: dict) -> str | None:
        return "done" if question["about"] == "in_doubt" else aborting(question)

    trial = Trial(plan("chat", more=STOP + LATE), operator=operator)
    trial.with_faults(LoseReply(At(argv="${secret:d}*", times=1)))
    assert trial.start().status == "rolled_back"
    assert texts(trial, "chat") == ["We move.", CALLED_OFF]


def test_a_failing_step_beside_a_slow_channel_still_asks() -> None:
    faults = (FailCommand(At(argv="*systemctl stop*"), 1), HttpAnswers("*/statuses", 502, times=3))
    trial = Trial(plan_of(HEAD + "  - tell: {announce: {channels: [page, toots], text: We move.}}\n" + STOP),
                  operator=says("retry")).with_faults(*faults)  # fmt: skip
    assert trial.start().status == "done"
    assert texts(trial, "toots") == ["We move."]
