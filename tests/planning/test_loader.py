"""From text to a runbook, or to all that is wrong with it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cutover.errors import ExitCode, RunbookInvalid
from cutover.model.plan import Source
from cutover.planning import loader, planner, render
from cutover.planning.problems import Refused
from cutover.planning.review import review
from cutover.steps import KINDS as STEPS
from tests.planning.toys import FILE, HEAD, KINDS, source

EXAMPLES = Path(__file__).parent / "examples"


def refused(text: str, **fields: object) -> Refused:
    with pytest.raises(Refused) as caught:
        loader.load(Source(FILE, text, **fields), KINDS)  # type: ignore[arg-type]
    return caught.value


def messages(text: str, **fields: object) -> list[str]:
    return [f"{each.message} {each.hint}".strip() for each in refused(text, **fields).diagnostics]


def of_steps(steps: str) -> list[str]:
    return messages(f"{HEAD}steps:\n{steps}")


def test_a_runbook_is_loaded() -> None:
    runbook = loader.load(
        source("""
  - go: {question: {text: Ready?}}
  - stop-web: {units: {on: old.web, stop: [web]}, timeout: 90s, retries: 2, owner: web team, needs: go}
"""),
        KINDS,
    )
    assert runbook.title == "A small move"
    assert runbook.sites["old"] == {"db": ("alice",), "web": ("yakko", "wakko")}
    go, stop = runbook.steps
    assert (go.name, go.needs, go.timeout) == ("go", None, 60.0)
    assert (stop.needs, stop.timeout, stop.retries, stop.owner) == (("go",), 90.0, 2, "web team")
    assert (stop.place.line, stop.place.column) == (12, 5)


def test_all_errors_come_at_once_each_in_its_place() -> None:
    caught = refused(f"""{HEAD}steps:
  - go: {{question: {{texts: Ready?}}}}
  - stop: {{unit: {{on: old.web}}, timeout: 90}}
  - do: {{do: {{on: alice}}, retrys: 2}}
""")
    assert [(each.line, each.column) for each in caught.diagnostics] == [(10, 21), (11, 12), (11, 42), (12, 27)]
    assert "Did you mean 'text'?" in str(caught)
    assert "Did you mean 'units'?" in str(caught)
    assert "Did you mean 'retries'?" in str(caught)
    assert f"{FILE}:10:21  go: question has no parameter 'texts'." in str(caught)
    assert isinstance(caught, RunbookInvalid)
    assert caught.exit_code == ExitCode.USAGE


@pytest.mark.parametrize("word", ["databases", "redis", "checks"])
def test_sections_of_a_later_version_are_refused_not_ignored(word: str) -> None:
    (message,) = messages(f"{HEAD}{word}: {{}}\nsteps:\n  - go: {{question: {{text: Go?}}}}\n")
    assert message.startswith(f"'{word}' comes with a later version; this one cannot run it.")


@pytest.mark.parametrize("word", ["drain_workers", "fence_postgres", "promote_postgres", "soak"])
def test_kinds_of_a_later_version_are_refused(word: str) -> None:
    (message,) = of_steps(f"  - x: {{{word}: {{}}}}\n")
    assert message.startswith(f"x: '{word}' comes with a later version; this one cannot run it.")


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ("  - x: {}\n", "x does not say what kind of step it is."),
        ("  - x: {owner: me}\n", "x does not say what kind of step it is."),
        ("  - x: {do: {on: alice}, question: {text: a}}\n", "x is a 'do' already; a step is of one kind."),
        ("  - x: go\n", "x: expected a kind of step, found the text 'go'."),
        ("  - x:\n", "x: expected a kind of step, found nothing."),
        ("  - go\n", "Expected a step, found the text 'go'."),
        ("  - {}\n", "There is no step in this."),
        ("  - x:\n    do: {on: alice}\n", "This is beside the step's name 'x'. Indent 'do' below 'x', by two more."),
        ("  - a: {do: {on: alice}}\n    b: {do: {on: alice}}\n", "A second step begins here"),
        ("  - x: {do: {on: alice}}\n  - x: {do: {on: alice}}\n", "There is a step 'x' on line 10 already."),
        ("  - a b: {do: {on: alice}}\n", "'a b' is no name for a step."),
        ("  - x: {do: {on: alice}, timeout: 0s}\n", "x.timeout must be more than nothing."),
        ("  - x: {do: {on: alice}, timeout: 1.5}\n", "x.timeout: '1.5' is not a duration"),
        ("  - x: {do: {on: alice}, undo: nothing, no_way_back: because}\n", "x says that there is nothing to undo,"),
        ("  []\n", "steps: expected a list of 1 or more"),
    ],
)
def test_what_is_wrong_with_a_step(steps: str, said: str) -> None:
    (message,) = of_steps(steps)
    assert message.startswith(said)


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (HEAD.replace("old: {db: alice", "old: {db: nixie"), "'nixie' is at the site 'old' already"),
        (HEAD.replace("[yakko, wakko]", "[yakko, yakko]"), "'yakko' is named twice in 'old.web'."),
        (HEAD.replace("[yakko, wakko]", "[]"), "The role 'old.web' has no host."),
        (HEAD.replace("old: {db: alice, web: [yakko, wakko]}", "old: {}"), "The site 'old' has no role."),
        (HEAD.replace("db: alice", "db: new"), "'new' is a site and a host."),
        (HEAD.replace("{env: PG_PASSWORD}", "{env: A, file: b}"), "secrets.pg takes exactly one of env, file and"),
        (HEAD.replace("{env: PG_PASSWORD}", "{}"), "secrets.pg takes exactly one of env, file and command; found none"),
        (HEAD + "measures: {w: {means: writable}}\n", "measures.w takes exactly one of get and post; found none."),
        (HEAD + "measures: {w: {get: x, means: readable}}\n", "measures.w.get is no URL"),
        (HEAD + "titel: x\n", "The runbook has no parameter 'titel'. Did you mean 'title'?"),
        (HEAD.replace("title: A small move\n", ""), "The runbook needs 'title'."),
        (HEAD.replace("announced: 30m", "announced: soon"), "downtime.announced: 'soon' is not a duration"),
        (HEAD.replace("a rehearsal", '"${secret:pg}"'), "announcement.waived cannot hold a secret"),
    ],
)
def test_what_is_wrong_with_the_head(head: str, said: str) -> None:
    (message,) = messages(f"{head}steps:\n  - go: {{question: {{text: Go?}}}}\n")
    assert message.startswith(said)


def test_one_host_may_have_several_roles_at_one_site() -> None:
    head = HEAD.replace("db: alice, web: [yakko, wakko]", "db: alice, web: alice")
    plan = planner.plan(source("  - x: {do: {on: old}}\n", head=head), KINDS)
    assert plan.hosts["alice"].role == "db, web"


def test_a_file_without_steps_or_without_anything() -> None:
    assert messages(HEAD) == ["The runbook needs 'steps'."]
    assert messages("") == ["There is nothing in this file."]
    assert messages("[]") == ["A runbook is a mapping; it begins with 'title: …'."]


def test_a_secret_stays_where_it_is_sealed() -> None:
    (message,) = of_steps('  - x: {do: {on: alice, argv: [login, "${secret:pg}"]}}\n')
    assert message.startswith("x: do.argv[1] cannot hold a secret")
    loader.load(source('  - x: {do: {on: alice, stdin: "a${secret:pg}"}}\n'), KINDS)
    (message,) = of_steps('  - x: {do: {on: alice, stdin: "${secret:pgg}"}}\n')
    assert message == "There is no secret 'pgg'. Did you mean 'pg'?"


def test_errors_in_every_file_are_shown_together() -> None:
    caught = refused(
        f"{HEAD}steps:\n  - go: {{question: {{txt: a}}}}\n",
        vars=(("unti", "x"),),
        inventory="hosts: {alise: {ssh: lab}}",
        inventory_file="lab.yaml",
    )
    assert [each.file for each in caught.diagnostics] == [FILE, "lab.yaml", "--var"]
    assert "1 | unti=x" in str(caught)
    assert "1 | hosts: {alise: {ssh: lab}}" in str(caught)


@pytest.mark.parametrize("file", sorted((EXAMPLES / "bad").glob("*.yaml")), ids=lambda file: file.stem)
def test_bad_examples_are_refused_as_they_say(file: Path) -> None:
    """The first line of each says which words the message must hold."""
    from cutover.steps import KINDS as REAL

    text = file.read_text()
    words = text.splitlines()[0].removeprefix("# ")
    with pytest.raises(Refused) as caught:
        planner_and_review(Source(file.name, text), REAL)
    assert words in str(caught.value)


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yaml")), ids=lambda file: file.stem)
def test_good_examples_pass_review(file: Path) -> None:
    from cutover.steps import KINDS as REAL

    planner_and_review(Source(file.name, file.read_text()), REAL)


def planner_and_review(made: Source, kinds: dict[str, type]) -> None:  # type: ignore[type-arg]
    from cutover.planning.review import reviewed_plan

    reviewed_plan(made, kinds)


# No runbook makes a traceback.

GOOD = (EXAMPLES / "small.yaml").read_text()
MESS = """
    ${ ${unit} ${secret:pg} ${env:HOME} $${ null [] {} - & &a *a 1e999 -1e999 0s 999999999999999999999 é " ' # << !!x
    needs on services ask point old.web steps hold_down until silence {back:1s} true 1.5 timeout undo
"""
WORDS = [*MESS.split(), ": ", "\n", "  ", "\t", "\u202e", "\n  - "]


@st.composite
def mutated(draw: st.DrawFn) -> str:
    text = GOOD
    for _ in range(draw(st.integers(1, 5))):
        start = draw(st.integers(0, len(text)))
        length = draw(st.integers(0, 12))
        text = text[:start] + draw(st.sampled_from(WORDS) | st.text(max_size=5)) + text[start + length :]
    return text


def outcome(text: str) -> Iterator[str]:
    from cutover.steps import KINDS as REAL

    for kinds in (REAL, KINDS):
        try:
            plan = planner.plan(Source(FILE, text, environment=(("HOME", "/root"),)), kinds)
        except Refused as refusal:
            yield str(refusal)
        else:
            render.text(plan)
            render.mermaid(plan)
            yield from (each.message for found in review(plan) for each in found)


@settings(max_examples=300, deadline=None)
@given(mutated())
def test_no_mutated_runbook_makes_a_traceback(text: str) -> None:
    list(outcome(text))


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.characters(), max_size=200))
def test_no_text_makes_a_traceback(text: str) -> None:
    assert list(outcome(text))


def test_what_planning_would_find_is_said_beside_a_wrong_parameter() -> None:
    text = (
        "title: t\nannouncement: {waived: test}\nsites: {a: {web: [x]}}\nsteps:\n"
        "  - one: {command: {on: x, doo: [touch, f]}}\n"
        "  - two: {command: {on: y, do: [touch, f]}, needs: [won]}\n"
        "  - three: {command: {on: x, do: [touch, f]}, needs: [one]}\n"
    )
    with pytest.raises(Refused) as refusal:
        loader.load(Source(file="t.yaml", runbook=text), STEPS)
    said = str(refusal.value)
    assert "no parameter 'doo'" in said
    assert "no host, role or site 'y'" in said
    assert "needs 'won'" in said
    assert len(refusal.value.diagnostics) == 3
