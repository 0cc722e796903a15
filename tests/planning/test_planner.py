"""From source to plan: order, waits, hosts, and the hash."""

import gc
import os
import subprocess
import sys
from pathlib import Path
from time import process_time

import pytest

from cutover.model.plan import Source
from cutover.planning import planner
from cutover.planning.problems import Refused
from cutover.planning.review import review
from tests.planning.toys import HEAD, KINDS, planned, source

EXAMPLE = Path(__file__).parent / "examples" / "rehearsal.yaml"
STEPS = """
  - go: {question: {text: "Go?"}}
  - stop: {units: {on: old.web, stop: ["${unit}"]}}
  - start: {units: {on: new.web, start: ["${unit}"]}}
"""


def message(steps: str, **fields: object) -> str:
    with pytest.raises(Refused) as caught:
        planned(steps, **fields)
    (found,) = caught.value.diagnostics
    return f"{found.line}:{found.column} {found.message} {found.hint}".strip()


def test_a_step_needs_the_one_before_unless_it_says_otherwise() -> None:
    plan = planned("""
  - a: {question: {text: "?"}}
  - b: {question: {text: "?"}}
  - c: {question: {text: "?"}, needs: []}
  - d: {question: {text: "?"}, needs: [b, c]}
""")
    assert [(step.name, step.needs) for step in plan.steps] == [
        ("a", ()),
        ("b", ("a",)),
        ("c", ()),
        ("d", ("b", "c")),
    ]
    assert plan.step("b").why_waits == ("a is the step before it, and it names no other.",)
    assert plan.step("d").why_waits == ("b is in its 'needs'.", "c is in its 'needs'.")


def test_steps_come_after_what_they_need_and_otherwise_as_written() -> None:
    plan = planned("""
  - late: {question: {text: "?"}, needs: [c]}
  - a: {question: {text: "?"}, needs: []}
  - b: {question: {text: "?"}, needs: []}
  - c: {question: {text: "?"}}
""")
    assert [step.name for step in plan.steps] == ["a", "b", "c", "late"]


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (
            '  - a: {question: {text: "?"}, needs: [b]}\n  - b: {question: {text: "?"}}\n',
            "11:5 These steps wait for each other, so none can begin: a (line 10), b (line 11). Take one of the",
        ),
        ('  - a: {question: {text: "?"}, needs: [a]}\n', "10:40 a needs itself. Take it out of its 'needs'."),
        (
            '  - aa: {question: {text: "?"}}\n  - b: {question: {text: "?"}, needs: [ab]}\n',
            "11:40 b needs 'ab', and there is no such step.",
        ),
        ("  - a: {units: {on: [old.web, old.bd], stop: [x]}}\n", "10:31 a: there is no host, role or site 'old.bd'"),
        ("  - a: {do: {on: olt}}\n", "10:18 a: there is no host, role or site 'olt'. Did you mean 'old'?"),
    ],
)
def test_what_keeps_steps_from_being_a_plan(steps: str, said: str) -> None:
    assert message(steps).startswith(said)


def test_hosts_that_are_acted_upon() -> None:
    plan = planned("  - a: {do: {on: alice}}\n  - b: {units: {on: new.web, start: [x]}}\n")
    assert {host.name for host in plan.hosts.values() if host.acted_upon} == {"alice", "freud", "fritz"}
    assert plan.step("a").disruptive


def hash_of(text: str, **fields: object) -> str:
    return planner.plan(Source("x.yaml", text, **fields), KINDS).hash  # type: ignore[arg-type]


TEXT = f"{HEAD}steps:{STEPS}"


@pytest.mark.parametrize(
    ("change", "to"),
    [
        ("Go?", "Go!"),
        ("30m", "31m"),
        ("a rehearsal", "another rehearsal"),
        ("A small move", "A large move"),
        ("port: 8080", "port: 8081"),
        ("PG_PASSWORD", "PG_PASS"),
        ("yakko, wakko", "wakko, yakko"),
        ("- stop:", "- halt:"),
        ("stop: [", "start: ["),
    ],
)
def test_the_hash_is_over_everything_that_a_runbook_says(change: str, to: str) -> None:
    assert hash_of(TEXT) != hash_of(TEXT.replace(change, to))


def test_the_hash_is_over_what_is_given_from_outside() -> None:
    hashes = [
        hash_of(TEXT),
        hash_of(TEXT, vars=(("unit", "other"),)),
        hash_of(TEXT, inventory="hosts: {yakko: {ssh: lab}}"),
        hash_of(TEXT.replace("Go?", "${env:WHO}?"), environment=(("WHO", "a"),)),
        hash_of(TEXT.replace("Go?", "${env:WHO}?"), environment=(("WHO", "b"),)),
    ]
    assert len(set(hashes)) == len(hashes)


def test_the_hash_is_not_over_looks() -> None:
    looks = "# a comment\n" + TEXT.replace("[web]", "[ web ]")
    assert hash_of(TEXT) == hash_of(looks)
    assert hash_of(TEXT) == planner.plan(Source("elsewhere/y.yaml", TEXT), KINDS).hash
    assert hash_of(TEXT) == hash_of(TEXT, vars=(("unit", "web"),)), "the same, only said twice"


def test_the_hash_is_the_same_in_every_process() -> None:
    script = (
        "import sys; from cutover.model.plan import Source; from cutover.planning import planner;"
        "from cutover.steps import KINDS;"
        "print(planner.plan(Source('x', open(sys.argv[1]).read()), KINDS).hash)"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", script, str(EXAMPLE)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "4242")
    }
    assert len(hashes) == 1


def long_runbook(steps: int) -> Source:
    moves = "".join(
        f"  - stop-{n}: {{units: {{on: old.web, stop: [app-{n}]}}, timeout: 90s}}\n"
        f"  - start-{n}: {{units: {{on: new.web, start: [app-{n}]}}}}\n"
        for n in range(steps // 2)
    )
    return source(moves)


def seconds_to_plan(steps: int) -> float:
    made = long_runbook(steps)
    gc.collect()
    gc.disable()  # for the review too: what it costs depends on what the other tests have left
    start = process_time()
    errors, _ = review(planner.plan(made, KINDS))
    spent = process_time() - start
    gc.enable()
    assert not errors
    return spent


@pytest.mark.slow
def test_planning_is_linear() -> None:
    """Ten times the steps take about ten times as long; what is quadratic would take a hundred."""
    seconds_to_plan(10)
    short, long = (min(seconds_to_plan(steps) for _ in range(3)) for steps in (200, 2000))
    assert long < short * 16
