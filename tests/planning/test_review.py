"""What review refuses, and remarks on. Each case is a small plan, and the sentence about it."""

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cutover.model.plan import Plan
from cutover.planning.graph import Before
from cutover.planning.problems import Refused
from cutover.planning.review import review, reviewed_plan
from tests.planning.toys import HEAD, KINDS, planned, source

GOOD = """
  - go: {question: {text: "Go?", arms: [hard]}}
  - stop: {units: {on: old.web, stop: [web]}}
  - start: {units: {on: new.web, start: [web]}}
  - users: {over: {point: hard}}
  - clean: {do: {on: alice}}
"""


def errors(steps: str, **fields: object) -> list[str]:
    return [f"{each.line} {each.message} {each.hint}".strip() for each in review(planned(steps, **fields)).errors]


def warnings(steps: str, **fields: object) -> list[str]:
    return [f"{each.message} {each.hint}".strip() for each in review(planned(steps, **fields)).warnings]


def test_a_good_plan_passes() -> None:
    assert errors(GOOD) == []
    plan, remarks = reviewed_plan(source(GOOD), KINDS)
    assert len(plan.steps) == 5
    assert remarks


def test_a_plan_that_is_refused_shows_where() -> None:
    with pytest.raises(Refused) as caught:
        reviewed_plan(source("  - do: {do: {on: alice}}\n"), KINDS)
    assert "move.yaml:10:5  do has no way back and does not say why: do it on alice." in str(caught.value)


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (
            "  - up: {until: {url: http://x/}}\n",
            "10 up waits without a deadline: it answers. Say how long it may take.",
        ),
        (
            "  - up: {until: {url: http://x/, deadline: 5s, steady: 5s}}\n",
            "10 up can never pass: it has to hold for 5s within 5s. Give it a longer deadline.",
        ),
        (
            "  - up: {until: {url: http://x/, deadline: 5s, interval: 0s}}\n",
            "10 up would ask without a pause. Give it an interval, such as 1s.",
        ),
        (
            "  - do: {do: {on: alice, harmless: true}}\n",
            "10 do has no way back and does not say why: do it on alice. Say `undo: nothing`",
        ),
        (
            "  - users: {over: {point: hard, first: alice}}\n",
            "10 users has no way back and does not say why: do it on alice.",
        ),
        (
            "  - s: {units: {on: old.web, start: [web]}, undo: nothing}\n",
            "10 s says `undo: nothing`, but it has a way back, which would be walked. Remove `undo: nothing`.",
        ),
        (
            "  - s: {units: {on: old.web, start: [web]}, no_way_back: none}\n",
            "10 s says `no_way_back`, but it has a way back, which would be walked. Remove `no_way_back`.",
        ),
        ("  - s: {units: {on: old.web}}\n", "10 s does nothing on any host. Name hosts and what to do, or remove it."),
        (
            "  - s: {units: {on: old.web, stop: [web]}}\n",
            "10 s: web is stopped here and started nowhere. Start it in a later step, or say why not: `stays_down: …`.",
        ),
        (
            "  - go: {question: {text: a, arms: [hard]}}\n",
            "10 go arms the hard point of no return, and no step after it goes over one.",
        ),
        (
            "  - go: {question: {text: a, silence: back}}\n",
            "10 go: silence goes back, after no time. Say after how long.",
        ),
        (
            "  - u: {over: {point: hard}}\n  - go: {question: {text: a, silence: back, until: 1m}}\n",
            "11 go: silence cannot go back here: u may have crossed the hard point of no return.",
        ),
        (
            "  - u: {over: {point: hard}}\n  - d: {over: {point: soft}}\n",
            "11 d hands data over after u has crossed the hard point of no return. The soft point comes first.",
        ),
        (
            "  - a.b: {units: {on: alice, start: [x]}}\n  - a: {same: {on: alice, key: b.start.alice.x}}\n",
            "11 a and a.b would write the same receipt, 'a.b.start.alice.x'. Give one of them another name.",
        ),
    ],
)
def test_what_is_refused(steps: str, said: str) -> None:
    (message,) = errors(steps)
    assert message.startswith(said)


@pytest.mark.parametrize(
    "steps",
    [
        "  - do: {do: {on: alice}, undo: nothing}\n",
        "  - do: {do: {on: alice}, no_way_back: it is a log}\n",
        "  - u: {over: {point: hard}}\n  - do: {do: {on: alice}}\n",
        "  - s: {units: {on: old.web, stop: [web], stays_down: it is not needed there}}\n",
        "  - s: {units: {on: old.web, stop: [web]}}\n  - t: {units: {on: old.web, start: [web]}}\n",
        "  - go: {question: {text: a, silence: back, until: 1m}}\n  - u: {over: {point: hard}}\n",
    ],
)
def test_what_is_fine(steps: str) -> None:
    assert errors(steps) == []


def test_disruption_needs_an_announcement_or_its_waiver() -> None:
    silent = HEAD.replace("announcement: {waived: a rehearsal}\n", "")
    (said,) = errors(GOOD, head=silent)
    assert said == (
        "11 stop disrupts, and no announcement comes before it. "
        "Announce it, or add the line `announcement: {waived: why nobody needs to be told}`."
    )
    assert errors("  - do: {do: {on: alice, harmless: true}, undo: nothing}\n", head=silent) == []


def test_steps_that_nothing_connects_with_the_first() -> None:
    (said,) = errors("""
  - a: {question: {text: "?"}}
  - b: {question: {text: "?"}}
  - c: {question: {text: "?"}, needs: []}
  - d: {question: {text: "?"}}
""")
    assert said.startswith("13 c is not connected with the other steps: it begins at once, and nothing waits for it.")
    parallel = """
  - a: {question: {text: "?"}}
  - c: {question: {text: "?"}, needs: []}
  - d: {question: {text: "?"}, needs: [a, c]}
"""
    assert errors(parallel) == [], "a second beginning that something waits for is preparation"


# One-site-only units.


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (
            """
  - go: {question: {text: "?"}}
  - stop: {units: {on: old.web, stop: [web]}, needs: go}
  - start: {units: {on: new.web, start: [web]}, needs: go}
""",
            "13 start: web may start on freud while it is still up on yakko: stop may come later. "
            "Let 'start' need 'stop', or say `one_site_only: false` if it may be up on both.",
        ),
        (
            """
  - start: {units: {on: new.web, start: [web]}}
  - stop: {units: {on: old.web, stop: [web]}}
""",
            "11 start: web may start on freud while it is still up on yakko: stop may come later.",
        ),
        (
            """
  - one: {units: {on: old.web, start: [web]}}
  - two: {units: {on: new.web, start: [web]}}
""",
            "12 two: web may start on freud while one has it up on yakko, at another site. "
            "Stop it on yakko in a step between the two,",
        ),
        (
            """
  - go: {question: {text: "?"}}
  - half: {units: {on: yakko, stop: [web]}, needs: go}
  - rest: {units: {on: wakko, stop: [web]}, needs: go}
  - start: {units: {on: new.web, start: [web]}, needs: half}
  - end: {question: {text: "?"}, needs: [rest, start]}
""",
            "14 start: web may start on freud while it is still up on wakko: rest may come later.",
        ),
        (
            """
  - stop: {units: {on: old.web, stop: [web]}}
  - start: {final: {on: freud, start: web}, no_way_back: nobody knows how}
""",
            "12 start: going back would start web on yakko again while it stays up on freud, "
            "which this step does not take back.",
        ),
        (
            """
  - stop: {units: {on: old.web, stop: [web]}}
  - start: {units: {on: old.web, start: [web]}, needs: []}
  - end: {question: {text: "?"}, needs: [stop, start]}
""",
            "12 start starts web on yakko and stop stops it there, and either may come first. Let 'start' need 'stop'",
        ),
        ("  - both: {units: {on: [old.web, new.web], start: [web]}}\n", "10 both: web may start on"),
    ],
)
def test_a_unit_that_may_be_up_on_two_sites(steps: str, said: str) -> None:
    (message,) = errors(steps)
    assert message.startswith(said)


@pytest.mark.parametrize(
    "steps",
    [
        # There and back again, each time down before it is up elsewhere.
        """
  - a: {units: {on: old.web, stop: [web]}}
  - b: {units: {on: new.web, start: [web]}}
  - c: {units: {on: new.web, stop: [web]}}
  - d: {units: {on: old.web, start: [web]}}
""",
        # Not only here.
        """
  - start: {units: {on: new.web, start: [web], one_site_only: false}}
  - stop: {units: {on: old.web, stop: [web], one_site_only: false}}
""",
        # Another unit.
        """
  - start: {units: {on: new.web, start: [web-new]}}
  - stop: {units: {on: old.web, stop: [web-old], stays_down: its host goes away}}
""",
        # Two hosts of one site.
        """
  - start: {units: {on: yakko, start: [web]}}
  - stop: {units: {on: wakko, stop: [web]}}
""",
        # What is past the hard point is not taken back.
        """
  - stop: {units: {on: old.web, stop: [web]}}
  - users: {over: {point: hard}}
  - start: {final: {on: freud, start: web}}
""",
        # Stopped there to be sure, before it is stopped here and started there.
        """
  - sure: {units: {on: new.web, stop: [web]}}
  - stop: {units: {on: old.web, stop: [web]}}
  - start: {units: {on: new.web, start: [web]}}
""",
    ],
)
def test_a_unit_that_is_up_on_one_site_at_a_time(steps: str) -> None:
    assert errors(steps) == []


MOVES = [("old.web", "stop"), ("old.web", "start"), ("new.web", "stop"), ("new.web", "start")]


@st.composite
def moves(draw: st.DrawFn) -> list[tuple[str, str, list[int]]]:
    steps = []
    for number in range(draw(st.integers(2, 5))):
        on, verb = draw(st.sampled_from(MOVES))
        needs = draw(st.lists(st.integers(0, number - 1), max_size=2, unique=True)) if number else []
        steps.append((on, verb, needs))
    return steps


@settings(max_examples=200, deadline=None)
@given(moves())
def test_it_finds_what_trying_every_order_finds(steps: list[tuple[str, str, list[int]]]) -> None:
    """The rule, beside the plainest thing that could be right: all orders that the plan allows, one after the other."""
    lines = "".join(
        f"  - s{number}: {{units: {{on: {on}, {verb}: [web]}}, needs: [{', '.join(f's{need}' for need in needs)}]}}\n"
        for number, (on, verb, needs) in enumerate(steps)
    )
    plan = planned(lines)
    found = any("may start on" in each.message for each in review(plan).errors)
    assert found == some_order_has_it_up_twice(plan, steps)


def some_order_has_it_up_twice(plan: Plan, steps: list[tuple[str, str, list[int]]]) -> bool:
    before = Before({step.name: step.needs for step in plan.steps})
    names = range(len(steps))
    # Up in the beginning where it may be the first thing to stop it.
    at_first = {
        on
        for number, (on, verb, _) in enumerate(steps)
        if verb == "stop"
        and not any(steps[other][:2] == (on, "start") and before.before(f"s{other}", f"s{number}") for other in names)
    }
    for order in permutations(names):
        place = {number: index for index, number in enumerate(order)}
        if any(place[need] > place[number] for number in names for need in steps[number][2]):
            continue
        up = set(at_first)
        for number in order:
            on, verb, _ = steps[number]
            if verb == "start" and up - {on}:
                return True
            up = up | {on} if verb == "start" else up - {on}
    return False


# Remarks.


def test_remarks() -> None:
    said = warnings(GOOD.replace("stop: {units: {on: old.web, stop: [web]}}", "stop: {do: {on: old.web}, needs: []}"))
    assert said == [
        "Nothing proves that alice, yakko, wakko, freud and 1 more will be the right machines. "
        "Run `cutover pin` and commit the pins.",
        "No step reads or changes nixie. Remove what is not needed.",
        "The secret 'pg' is used nowhere. Remove it.",
        "stop disrupts, and begins before anyone is asked. Let it need an ask.",
    ]
    assert (
        "stop disrupts, and there is no budget at which the commander would be asked. "
        "Add `downtime: {announced: 30m, budget: 5m}`."
    ) in warnings(GOOD, head=HEAD.replace("downtime: {announced: 30m, budget: 5m}\n", ""))
    assert "Users are told 30m, and the commander is asked only at 1h. Let the budget be the shorter one." in warnings(
        GOOD, head=HEAD.replace("budget: 5m", "budget: 1h")
    )
