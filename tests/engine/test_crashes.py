"""The engine dies at every journal write, once and twice: the run ends the same, nothing happens twice or never."""

from collections import Counter

import pytest

from tests.engine.harness import Trial, first_move, plan_of

SMALL = plan_of("""
title: small
sites: {a: {web: [alice]}, b: {web: [bob, carol]}}
announcement: {waived: a test}
steps:
  - one:
      command:
        on: alice
        do: [touch, /tmp/one]
        probe: {run: [test, -e, /tmp/one], done: {exit: 0}, not_done: {exit: 1}}
        undo: [rm, -f, /tmp/one]
  - ready: {ask: {question: "go?", arms: [soft]}}
  - two: {command: {on: [alice, bob], do: [touch, /tmp/two], undo: [rm, -f, /tmp/two]}}
  - soft: {point: {is: soft}}
  - three: {command: {on: bob, do: [touch, /tmp/three], undo: [rm, -f, /tmp/three]}, needs: [two]}
  - seen: {http_check: {get: "http://bob:3000/", within: 30s, every: 1s}, needs: [three, soft]}
""")


def _whole(plan=SMALL) -> Trial:
    trial = Trial(plan)
    assert trial.start().status == "done"
    return trial


WHOLE = _whole()
EXPECTED = Counter(WHOLE.effects())


def _ends_well(trial: Trial) -> None:
    state = trial.start()
    assert state.status == "done", (state.status, state.why, state.questions)
    assert Counter(trial.effects()) == EXPECTED


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("commit", range(1, WHOLE.commits + 1))
def test_a_crash_at_every_journal_write(moment: str, commit: int) -> None:
    trial = Trial(SMALL)
    trial.start(**{f"crash_{moment}": commit})
    _ends_well(trial)


@pytest.mark.parametrize("commit", range(1, WHOLE.commits + 1))
def test_a_crash_during_every_recovery(commit: int) -> None:
    for moment in ("before", "after"):
        for second in range(1, 40):
            trial = Trial(SMALL)
            trial.start(**{f"crash_{moment}": commit})
            dead = trial.start(crash_before=second)
            ended = dead.status == "done" and not dead.engine_up
            if not ended:
                _ends_well(trial)
            if trial.commits < second:
                break  # the recovery ended before this write came: every place of it has been crashed at


@pytest.mark.parametrize("moment", ["before", "after"])
def test_an_abort_survives_a_crash_at_every_write(moment: str) -> None:
    def abort_at_ready(question: dict) -> str | None:
        return "back" if question["about"] == "ask" else None

    whole = Trial(first_move(), operator=abort_at_ready)
    assert whole.start().status == "rolled_back"
    healthy = Trial(first_move()).fleet
    for commit in range(1, whole.commits + 1):
        trial = Trial(first_move(), operator=abort_at_ready)
        trial.start(**{f"crash_{moment}": commit})
        state = trial.start()
        assert state.status == "rolled_back", (commit, state.status, state.why, state.questions)
        for name, host in healthy.hosts.items():
            there = trial.fleet.hosts[name]
            assert {u: unit.active for u, unit in there.units.items()} == {
                u: unit.active for u, unit in host.units.items()
            }


def test_a_chain_of_acts_costs_one_commit_more_than_it_has_acts() -> None:
    for count in (1, 5, 20):
        steps = "\n".join(
            f"  - s{number}: {{command: {{on: alice, do: [touch, /tmp/{number}], undo: [rm, /tmp/{number}]}}}}"
            for number in range(count)
        )
        plan = plan_of(
            f"title: chain\nsites: {{a: {{web: [alice]}}}}\nannouncement: {{waived: test}}\nsteps:\n{steps}\n"
        )
        trial = Trial(plan)
        assert trial.start().status == "done"
        before = next(event.seq for event in trial.events if event.type == "act.intent")
        last = max(event.seq for event in trial.events if event.type == "act.outcome")
        commits = _commits_between(trial, before, last)
        assert commits == count + 1


def _commits_between(trial: Trial, first: int, last: int) -> int:
    """How many transactions wrote the events from `first` to `last`."""
    return sum(1 for group in trial.groups if any(first <= event.seq <= last for event in group))
