"""The real engine process, killed (-9) at every kind of event of every kind of step: the same end, nothing twice."""

import random
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from cutover import wiring
from cutover.journal.reader import JournalReader
from cutover.model.effects import OnHost
from tests.process.kills import BACK, FORTH, PLAN, Journey, Run, Target, targets_of
from tests.process.worlds import Worlds

AT_ONCE = 4
ROUNDS = 4
CHAIN = 8
DELAYS = (0.0, 0.0, 0.01, 0.03)
# Nobody may see these twice. What is idempotent may be done again after a death in the middle of it.
ONCE = {f"{step.name}.{act.key}" for step in PLAN.steps for act in step.acts
        if isinstance(act.effect, OnHost) and not act.effect.idempotent}  # fmt: skip

Effects = Counter[tuple[str, str, tuple[str, ...]]]


@pytest.fixture
def whole(worlds: Worlds) -> dict[Journey, Run]:
    """Each journey with nobody killing anything."""
    runs = {journey: Run(worlds, journey) for journey in (FORTH, BACK)}
    for run in runs.values():
        run.finish()
        assert wiring.run_state(run.run).status == run.journey.end
    return runs


def test_kills_at_every_event(worlds: Worlds, whole: dict[Journey, Run], capsys: pytest.CaptureFixture[str]) -> None:
    hits: Counter[Target] = Counter()
    wanted = {journey: _groups(run) for journey, run in whole.items()}
    for number in range(ROUNDS):
        # The whole journey twice, with several kills in each run; then what was missed, with a run for each.
        left = wanted if number < 2 else {journey: _missed(groups, hits) for journey, groups in wanted.items()}
        jobs = [(journey, chain) for journey in left for chain in _chains(left[journey], number)]
        for run in _together(worlds, whole, jobs, random.Random(number)):
            hits.update(run.hits)
    with capsys.disabled():
        print(f"\n{_table(hits)}\n{hits.total()} kills")
    cells = {(target.row, target.kind) for groups in wanted.values() for group in groups for target in group}
    assert cells <= {(target.row, target.kind) for target in hits}
    assert hits.total() >= 120


@pytest.mark.parametrize("journey", [FORTH, BACK], ids=lambda journey: journey.end)
def test_kills_at_random_moments(worlds: Worlds, whole: dict[Journey, Run], journey: Journey) -> None:
    _random_kills(worlds, whole, journey, range(6))


@pytest.mark.slow
@pytest.mark.parametrize("journey", [FORTH, BACK], ids=lambda journey: journey.end)
def test_many_kills_at_random_moments(worlds: Worlds, whole: dict[Journey, Run], journey: Journey) -> None:
    _random_kills(worlds, whole, journey, range(100, 160))


def _random_kills(worlds: Worlds, whole: dict[Journey, Run], journey: Journey, seeds: Sequence[int]) -> None:
    def trial(seed: int) -> int:
        rng = random.Random(seed)
        run = Run(worlds, journey)
        for _ in range(3):
            run.kill_after(rng.uniform(0.2, 1.2))
        run.finish()
        _same_end(run, whole[journey])
        return run.random_kills

    with ThreadPoolExecutor(AT_ONCE) as pool:
        assert sum(pool.map(trial, seeds)) > len(seeds)


def _groups(run: Run) -> list[list[Target]]:
    """What the journey shows, in order; behind an act's beginning what a death there adds: a death in its recovery."""
    groups = []
    for target in targets_of(run.events()):
        if run.journey is BACK and not target.back:
            continue
        recovery = ("act.recovering", "act.probed") if target.type == "act.intent" else ()
        groups.append([target, *(target._replace(type=name) for name in recovery)])
    return groups


def _missed(groups: list[list[Target]], hits: Counter[Target]) -> list[list[Target]]:
    return [group for group in groups if not all(hits[target] for target in group)]


def _chains(groups: list[list[Target]], number: int) -> list[list[Target]]:
    """The kills of each run, as far apart as can be, since what is one transaction cannot be told apart."""
    count = -(-len(groups) // (CHAIN + number)) if number < 2 else len(groups)
    return [[target for group in groups[place::count] for target in group] for place in range(count)]


def _together(
    worlds: Worlds, whole: dict[Journey, Run], jobs: list[tuple[Journey, list[Target]]], rng: random.Random
) -> list[Run]:
    def trial(job: tuple[Journey, list[Target], float]) -> Run:
        journey, targets, delay = job
        run = Run(worlds, journey)
        while targets and (hit := run.kill_at(targets, delay)):
            targets = targets[targets.index(hit) + 1 :]
        run.finish()
        _same_end(run, whole[journey])
        return run

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(trial, [(*job, rng.choice(DELAYS)) for job in jobs]))


def _same_end(run: Run, whole: Run) -> None:
    state, expected = wiring.run_state(run.run), wiring.run_state(whole.run)
    assert (state.status, state.questions, state.outstanding) == (run.journey.end, {}, []), (run.run, run.hits)
    assert {name: step.status for name, step in state.steps.items()} == {
        name: step.status for name, step in expected.steps.items()
    }
    once, others = _effects(run)
    expected_once, expected_others = _effects(whole)
    assert once == expected_once, run.hits
    assert set(others) == set(expected_others), run.hits
    fleet, expected_fleet = run.fleet(), whole.fleet()
    for name, host in expected_fleet.hosts.items():
        there = fleet.hosts[name]
        assert (there.files, there.facts, there.owner) == (host.files, host.facts, None), run.hits
        assert {u: unit.active for u, unit in there.units.items()} == {u: unit.active for u, unit in host.units.items()}
    with JournalReader(run.run.journal) as reader:
        assert reader.verify(run=run.run.id).ok


def _effects(run: Run) -> tuple[Effects, Effects]:
    """What acted: that which must happen once, and the rest; by host, act and command line."""
    once: Effects = Counter()
    others: Effects = Counter()
    for done in run.fleet().history:
        act = done.receipt.partition("/")[2].rpartition(".")[0]
        (once if act in ONCE else others)[done.host, act, done.argv] += 1
    return once, others


def _table(hits: Counter[Target]) -> str:
    kinds = sorted({target.kind for target in hits})
    rows = sorted({target.row for target in hits})
    cells: Counter[tuple[str, str]] = Counter()
    for target, count in hits.items():
        cells[target.row, target.kind] += count
    lines = [f"{'killed at':<30}" + "".join(f"{kind:>12}" for kind in kinds)]
    lines += [f"{row:<30}" + "".join(f"{cells[row, kind] or '':>12}" for kind in kinds) for row in rows]
    return "\n".join(lines)
