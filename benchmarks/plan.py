"""How planning grows with the number of steps: load, unfold, order and hash a runbook of 10 to 2,000 steps."""

import gc
import statistics
import time

from benchmarks.figures import figure
from cutover.model.plan import Source
from cutover.planning import planner
from cutover.planning.review import review
from cutover.steps import KINDS

SIZES = (10, 100, 200, 1000, 2000)
ROUNDS = 5

HEAD = """\
title: A long move
announcement: {waived: a measurement}
sites:
  old: {web: [yakko, wakko, dot]}
  new: {web: [freud, fritz, hans]}
steps:
"""


def runbook(steps: int) -> Source:
    """A runbook of so many steps in a row, of three kinds."""
    kinds = (
        "command: {{on: new.web, do: [touch, /tmp/{n}], undo: [rm, -f, /tmp/{n}]}}",
        "services: {{stop: [app-{n}], stays_down: it moved, on: old.web}}",
        'ask: {{question: "Step {n} is done. Go on?"}}',
    )
    lines = (f"  - step-{n}: {{{kinds[n % 3].format(n=n)}}}\n" for n in range(steps))
    return Source(file="long.yaml", runbook=HEAD + "".join(lines))


def run() -> None:
    """Measure in turns, so that every size meets the same machine."""
    sources = {size: runbook(size) for size in SIZES}
    planning: dict[int, list[float]] = {size: [] for size in SIZES}
    reviewing: dict[int, list[float]] = {size: [] for size in SIZES}
    planner.plan(sources[SIZES[0]], KINDS)
    for _ in range(ROUNDS):
        for size, source in sources.items():
            gc.collect()
            started = time.process_time()
            made = planner.plan(source, KINDS)
            planning[size].append(time.process_time() - started)
            gc.collect()
            started = time.process_time()
            review(made)
            reviewing[size].append(time.process_time() - started)
    for size in SIZES:
        figure(f"plan: {size} steps", statistics.median(planning[size]) * 1000, "ms CPU")
    figure("plan: per step at 2,000 / at 200", _growth(planning), "times", "<=1.3")
    figure("plan: review of 2,000 steps", statistics.median(reviewing[2000]) * 1000, "ms CPU")
    figure("plan: review per step at 2,000 / at 200", _growth(reviewing), "times", "<=1.3")


def _growth(taken: dict[int, list[float]]) -> float:
    return statistics.median(taken[2000]) / 2000 / (statistics.median(taken[200]) / 200)
