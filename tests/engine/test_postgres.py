"""A Postgres primary is moved and taken back, through crashes and faults; two primaries are never seen."""

from __future__ import annotations

import json

import pytest

from cutover.checks import postgres
from cutover.planning.review import review
from cutover.simulator.faults import At, Crash, CutReplication, DieWhileStopping, FailCommand, FreezeHost, StallReplay
from cutover.simulator.fleet import Fleet
from cutover.steps import postgres_in, postgres_out
from tests.engine.harness import RUN, at, go, says
from tests.engine.postgres_move import as_before, cluster, lost, move, watched


def test_the_move_passes_review() -> None:
    assert not review(move().plan).errors


def test_forward() -> None:
    with watched() as watch:
        trial = move()
        state = trial.start()
    assert state.status == "done", (state.why, state.questions)
    assert watch.promotions == ["new"]
    assert watch.looks > 50
    old, new = cluster(trial.fleet, "old"), cluster(trial.fleet, "new")
    assert (new.role, new.timeline, new.writable) == ("primary", 2, True)
    assert (old.role, old.running, old.streaming, old.timeline) == ("standby", True, True, 2)
    assert lost(trial.fleet) == 0


def back_at(step: str):
    """Says go until a question of this step, or any after it; there back."""

    def operator(question: dict) -> str | None:
        return "back" if question["id"].startswith(step) else go(question)

    return operator


WHOLE = move()
with watched():
    assert WHOLE.start().status == "done"
BACK = move(operator=back_at("look"))
with watched():
    assert BACK.start().status == "rolled_back", BACK.state.questions


def test_a_world_with_clusters_survives_json() -> None:
    fleet = WHOLE.fleet
    assert Fleet.from_json(json.loads(json.dumps(fleet.to_json()))).digest() == fleet.digest() == fleet.copy().digest()


def test_back_after_everything() -> None:
    with watched() as watch:
        trial = move(operator=back_at("look"))
        state = trial.start()
    assert state.status == "rolled_back", (state.why, state.questions)
    assert watch.promotions == ["new", "old"]
    as_before(trial.fleet)
    assert cluster(trial.fleet, "old").timeline == 3


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_crash_at_every_journal_write(moment: str) -> None:
    for commit in range(1, WHOLE.commits + 1):
        with watched() as watch:
            trial = move()
            trial.start(**{f"crash_{moment}": commit})
            state = trial.start()
        assert state.status == "done", (commit, state.status, state.why, state.questions)
        assert watch.promotions == ["new"], commit
        assert cluster(trial.fleet, "old").streaming
        assert sum("/promote.promote." in done.receipt for done in trial.fleet.history) == 1, commit


@pytest.mark.parametrize("moment", ["before", "after"])
def test_an_abort_at_every_journal_write_brings_the_old_side_back(moment: str) -> None:
    """The engine dies at every write; the next one is told to go back."""
    for commit in range(1, WHOLE.commits):
        with watched():
            trial = move()
            dead = trial.start(**{f"crash_{moment}": commit})
            if dead.status != "running" or not dead.steps:
                continue
            trial.commands = [at(trial.loop_time + 0.5, "abort"), at(trial.loop_time + 1, "release")]
            trial.hold = "looking"
            state = trial.start()
        assert state.status == "rolled_back", (commit, state.status, state.why, state.questions)
        trial.fleet.advance(trial.fleet.now + 60)
        as_before(trial.fleet)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_crash_at_every_write_of_the_way_back(moment: str) -> None:
    for commit in range(WHOLE.commits - 2, BACK.commits + 1):
        with watched() as watch:
            trial = move(operator=back_at("look"))
            trial.start(**{f"crash_{moment}": commit})
            state = trial.start()
        assert state.status == "rolled_back", (commit, state.status, state.why, state.questions)
        assert watch.promotions == ["new", "old"], commit
        as_before(trial.fleet)


# --- faults: each ends in a sentence, none in a promotion


def ends(trial, *expected: str) -> list[str]:
    """Runs; returns the texts of what is asked."""
    with watched() as watch:
        state = trial.start()
    assert watch.promotions == []
    assert state.status in ("running", "held"), state.why
    texts = [question["what"] for question in state.questions.values()]
    for words in expected:
        assert any(words in text for text in texts), texts
    return texts


@pytest.mark.parametrize("fault", [CutReplication, StallReplay])
def test_a_standby_that_has_not_got_everything(fault) -> None:
    trial = move(operator=says("go"), patience=600).with_faults(fault("nixie", At(act="fence.close"), 9_000.0))
    ends(trial, "last-byte failed", "bytes short, and it has to be beyond")


def test_a_standby_that_catches_up_later_goes_on() -> None:
    """With the old primary stopped, only one that had received everything can."""
    trial = move(patience=900).with_faults(StallReplay("nixie", At(act="fence.close"), 20.0))
    with watched() as watch:
        assert trial.start().status == "done"
    assert watch.promotions == ["new"]


def test_the_old_primary_dies_while_it_stops() -> None:
    trial = move(operator=says("go"), patience=600).with_faults(DieWhileStopping("alice", "postgresql@15-main"))
    ends(trial, "was not stopped cleanly: pg_controldata says 'in production'", "nothing is promoted")


def test_its_death_is_not_skipped_over_and_the_most_that_is_lost_is_said() -> None:
    faults = [CutReplication("nixie", At(act="fence.close"), 9_000.0), DieWhileStopping("alice", "postgresql@15-main")]
    trial = move(operator=says("go", "skip"), patience=600).with_faults(*faults)
    with watched() as watch:
        state = trial.start()
    assert watch.promotions == []
    assert {state.steps[step].status for step in ("fence", "last-byte", "promote")} == {"skipped"}
    told = [event.body["because"] for event in trial.of("check.verdict", "last-byte")]
    said = next(because for because in told if "has died" in because)
    assert "at most " in said
    assert " bytes of what users wrote can be lost" in said
    assert "The engine does not promote it" in said


def test_the_old_primary_dies_before_the_fence() -> None:
    trial = move(operator=says("retry"), patience=600).with_faults(Crash("alice", "postgresql@15-main", 1.0))
    ends(trial)


def test_a_frozen_standby() -> None:
    trial = move(operator=says("go"), patience=600).with_faults(FreezeHost("nixie", At(act="fence.close"), 9_000.0))
    ends(trial)


# --- the watch can fail: with one guard taken away, it finds what that guard kept away


def caught(trial, says_what: str) -> None:
    trial.operator = says("go", f"go-{RUN}", "skip")
    with watched(), pytest.raises(AssertionError, match=says_what):
        trial.start()


def test_without_the_comparison_a_standby_that_lacks_something_would_be_promoted(monkeypatch) -> None:
    monkeypatch.setattr(postgres, "caught_up", lambda *_: ())
    caught(move().with_faults(CutReplication("nixie", At(act="fence.close"), 9_000.0)), "S2: .* not beyond")


def test_without_the_proof_of_the_stop_a_dead_primary_would_be_left_behind(monkeypatch) -> None:
    monkeypatch.setattr(postgres.Stopped, "fenced", True)
    caught(move().with_faults(DieWhileStopping("alice", "postgresql@15-main")), "S2: it was not stopped")


def test_without_the_look_at_the_other_side_there_would_be_two(monkeypatch) -> None:
    """Going back after the promotion, with the new primary left up."""
    monkeypatch.setattr(postgres_out, "not_writable", lambda other, scope: None)
    monkeypatch.setattr(postgres_in, "take_out", lambda *_: None)
    monkeypatch.setattr(postgres_out, "take_out", lambda *_: None)
    trial = move(operator=lambda question: "back" if question["id"].startswith("way-back") else go(question))
    trial.with_faults(FailCommand(At(argv="sudo -n install -m 0640*", times=99), stderr="no luck"))
    with watched(), pytest.raises(AssertionError, match="S1"):
        trial.start()
