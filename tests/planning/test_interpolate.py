"""Variables: what they become, and what is said about those that stand for nothing."""

import pytest

from cutover.model.effects import SecretRef
from cutover.model.plan import Source
from cutover.planning import loader
from cutover.planning.interpolate import environment_names
from cutover.planning.problems import Refused
from tests.planning.toys import HEAD, KINDS, Do, Question, source


def text_of(written: str, head: str = HEAD, **fields: object) -> str:
    runbook = loader.load(source(f"  - go: {{question: {{text: {written}}}}}\n", head=head, **fields), KINDS)
    kind = runbook.steps[0].kind
    assert isinstance(kind, Question)
    return kind.text


def problem_of(written: str, head: str = HEAD, **fields: object) -> str:
    with pytest.raises(Refused) as caught:
        text_of(written, head, **fields)
    (found,) = caught.value.diagnostics
    return f"{found.message} {found.hint}".strip()


@pytest.mark.parametrize(
    ("written", "becomes"),
    [
        ('"${unit}"', "web"),
        ('"a ${unit} b ${unit}"', "a web b web"),
        ('"${ unit }"', "web"),
        ('"at ${port}"', "at 8080"),
        ('"${url}"', "https://social.example/health"),
        ('"in ${downtime.announced}"', "in 30m"),
        ('"$${unit}"', "${unit}"),
        ('"$$${unit}"', "$${unit}"),
        ('"$unit {unit} $"', "$unit {unit} $"),
        ('"${env:STAGE}"', "prod"),
    ],
)
def test_what_references_become(written: str, becomes: str) -> None:
    assert text_of(written, environment=(("STAGE", "prod"),)) == becomes


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ('"${unti}"', "There is no variable 'unti'. Did you mean 'unit'?"),
        ('"${downtime.anounced}"', "There is no variable 'downtime.anounced'. Did you mean 'downtime.announced'?"),
        ('"${run.window}"', "'${run.window}' is known only in the text of an announcement."),
        ('"${env:NOPE}"', "The environment variable NOPE is not set."),
        ('"${evn:HOME}"', "'${evn:HOME}' stands for nothing"),
        ('"${unit"', "The '${' here is never closed."),
        ('"${}"', "There is no variable ''."),
        ('"$${secret:pg}"', "The text '${secret:' cannot be written in a runbook."),
        ('"${secret:pgg}"', "There is no secret 'pgg'. Did you mean 'pg'?"),
        ('"${secret:pg}"', "go: question.text cannot hold a secret"),
    ],
)
def test_what_stands_for_nothing(written: str, said: str) -> None:
    assert problem_of(written).startswith(said)


def test_a_number_stays_one_where_it_stands_alone() -> None:
    head = HEAD.replace("port: 8080", "port: 8080, again: 3")
    runbook = loader.load(source('  - x: {do: {on: alice}, retries: "${again}"}\n', head=head), KINDS)
    assert runbook.steps[0].retries == 3


def test_secrets_stay_sealed_within_text() -> None:
    runbook = loader.load(source('  - x: {do: {on: alice, stdin: "${unit}:${secret:pg}"}}\n'), KINDS)
    kind = runbook.steps[0].kind
    assert isinstance(kind, Do)
    assert kind.stdin == ("web:", SecretRef("pg"))


def test_a_slip_is_said_once_and_nothing_that_follows_from_it() -> None:
    with pytest.raises(Refused) as caught:
        loader.load(
            source('  - x: {do: {on: alice}, retries: "${nope}"}\n  - y: {do: {on: alice}, timeout: "${nope}s"}\n'),
            KINDS,
        )
    assert [each.message for each in caught.value.diagnostics] == ["There is no variable 'nope'."] * 2


def test_variables_that_stand_for_each_other() -> None:
    head = HEAD.replace("unit: web", 'unit: "${b}", b: "x${c}", c: "${unit}"')
    said = problem_of("hello", head)
    assert said == "The variable 'b' stands for itself: b → c → unit → b. Break the circle."


def test_doubling_variables_do_not_fill_the_memory() -> None:
    doubling = ", ".join(f'v{n}: "${{v{n - 1}}}${{v{n - 1}}}"' for n in range(1, 38))
    said = problem_of("hello", HEAD.replace("unit: web", f"unit: web, v0: {'x' * 100}, {doubling}"))
    assert "4 MiB" in said


def test_values_from_outside_are_taken_as_they_are() -> None:
    assert text_of('"${unit}"', vars=(("unit", "${port}"),)) == "${port}"
    with pytest.raises(Refused, match="The value given for 'unit' holds"):
        text_of('"${unit}"', vars=(("unit", "${secret:pg}"),))
    assert "only the runbook may name secrets" in problem_of('"${env:X}"', environment=(("X", "${secret:pg}"),))
    assert "not UTF-8" in problem_of('"${env:X}"', environment=(("X", "a\udcff"),))


def test_var_overrides_inventory_overrides_runbook() -> None:
    inventory = "vars: {unit: from-inventory, port: 1}"
    assert text_of('"${unit} ${port}"', inventory=inventory) == "from-inventory 1"
    assert text_of('"${unit} ${port}"', inventory=inventory, vars=(("unit", "x"),)) == "x 1"


def test_an_override_is_read_as_what_it_replaces() -> None:
    head = HEAD.replace("port: 8080", "port: 2")
    steps = '  - x: {do: {on: alice}, retries: "${port}"}\n'
    assert loader.load(source(steps, head=head, vars=(("port", "5"),)), KINDS).steps[0].retries == 5
    assert text_of('"${unit}"', vars=(("unit", "012"),)) == "012"


def test_an_unknown_override_is_refused() -> None:
    assert problem_of("hello", vars=(("unti", "x"),)) == "The runbook has no variable 'unti'. Did you mean 'unit'?"


def test_what_is_overridden_need_not_be_known() -> None:
    head = HEAD.replace("unit: web", 'unit: "${env:UNSET}"')
    assert text_of('"${unit}"', head, vars=(("unit", "x"),)) == "x"


def test_names_of_variables_and_keys() -> None:
    assert problem_of("hello", HEAD.replace("unit: web", "unit: web, a.b: c")).startswith(
        "'a.b' cannot be referred to."
    )
    assert problem_of("hello", HEAD.replace("old: {", '"${unit}": {')).startswith("A key cannot hold a variable.")


def test_the_environment_that_a_runbook_asks_for() -> None:
    assert environment_names('a: "${env:HOME}"\nb: "${env:X_1} ${env:}"') == {"HOME", "X_1"}
    assert Source("f", "").environment == ()
