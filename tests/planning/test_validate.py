"""Validating a tree: what comes out, and what is said, where, when it does not fit."""

import enum
import json
import time
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, Tag, field_validator
from pydantic_core import PydanticCustomError

from cutover.planning.diagnostics import Diagnostic, did_you_mean, nearest, render_all, source_lines
from cutover.planning.tree import Map, Node, Path, Seq
from cutover.planning.validate import MAX_DIAGNOSTICS, validate
from cutover.planning.yaml_tree import parse


def _seconds(value: object) -> object:
    if isinstance(value, str) and value.endswith("s") and value[:-1].isdigit():
        return int(value[:-1])
    raise PydanticCustomError("duration", "expected a duration such as 30s, 5m, 1h30m")


Duration = Annotated[int, BeforeValidator(_seconds)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Services(Strict):
    kind: Literal["services"]
    units: tuple[str, ...] = ()
    services: int | None = None  # a parameter with the name of a branch
    wait: Duration | None = None


class Command(Strict):
    kind: Literal["command"]
    do: list[str] = Field(min_length=1)
    on: str | tuple[str, ...] | Services = "a"
    until: Literal["done"] | Duration = "done"


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"


class Big(Strict):
    b: int


class Small(Strict):
    s: int


class Runbook(Strict):
    title: str
    count: int = Field(default=0, ge=0)
    share: float = 0.0
    loud: bool = False
    colour: Colour = Colour.RED
    mode: Literal["fast", "slow"] = "fast"
    source: str = Field(default="", alias="from")
    steps: tuple[Annotated[Services | Command, Field(discriminator="kind")], ...] = ()
    vars: dict[Annotated[str, StringConstraints(pattern="^[a-z]+$")], str | int] = {}
    names: frozenset[str] = frozenset()
    pair: tuple[int, str] = (1, "x")
    size: Annotated[Big, Tag("big")] | Annotated[Small, Tag("small")] | None = None

    @field_validator("title")
    @classmethod
    def _not_shouted(cls, title: str) -> str:
        if title.isupper() and len(title) > 3:
            raise ValueError("do not shout")
        return title


def check(text: str, **options: Any) -> tuple[Runbook | None, list[Diagnostic]]:
    node, found = parse(text, "f.yaml")
    assert not found
    assert node is not None
    return validate(Runbook, node, "f.yaml", **options)


def problems(text: str) -> list[Diagnostic]:
    loaded, found = check(text)
    assert loaded is None
    lines = source_lines(text)
    for each in found:
        assert 1 <= each.line <= len(lines)
        assert 1 <= each.column <= len(lines[each.line - 1]) + 1
    return found


def test_a_tree_becomes_its_class() -> None:
    loaded, found = check(
        "title: x\ncount: 3\nshare: 1\ncolour: green\nfrom: here\nnames: [a, b]\npair: [1, z]\nsize: {s: 1}\n"
        "steps:\n- {kind: services, units: [a], wait: 30s}\n- {kind: command, do: [ls], on: [x]}\nvars: {a: 1, b: c}"
    )
    assert found == []
    assert loaded is not None
    assert loaded.steps == (
        Services(kind="services", units=("a",), wait="30s"),  # type: ignore[arg-type]
        Command(kind="command", do=["ls"], on=("x",)),
    )
    assert loaded.names == {"a", "b"}
    assert loaded.colour is Colour.GREEN
    assert loaded.pair == (1, "z")


@pytest.mark.parametrize(
    ("text", "column", "says"),
    [
        ("title: 1.10", 8, 'title: expected text, found the number 1.10. Quote it if it is text: "1.10".'),
        ("title: true", 8, 'title: expected text, found true. Quote it if it is text: "true".'),
        ("title:", 7, "title: expected text, found nothing."),
        ("title: [a]", 8, "title: expected text, found a list."),
        ("title: LOUD", 8, "title: do not shout."),
        ("{title: x, count: '1'}", 19, "count: expected a whole number, found the text '1'. Write it without quotes."),
        (
            "{title: x, count: 012}",
            19,
            "count: expected a whole number, found the text '012'. Write it without leading zeros, '+' and '_'.",
        ),
        ("{title: x, count: 1.5}", 19, "count: expected a whole number, found the number 1.5."),
        ("{title: x, count: -1}", 19, "count: expected a number of at least 0, found the number -1."),
        ("{title: x, loud: yes}", 18, "loud: expected true or false, found the text 'yes'. Write true."),
        ("{title: x, loud: Off}", 18, "loud: expected true or false, found the text 'Off'. Write false."),
        ("{title: x, loud: 1}", 18, "loud: expected true or false, found the number 1."),
        ("{title: x, share: a}", 19, "share: expected a number, found the text 'a'."),
        ("{title: x, colour: gren}", 20, "colour: expected red or green, found the text 'gren'. Did you mean 'green'?"),
        ("{title: x, mode: Fast}", 18, "mode: expected fast or slow, found the text 'Fast'. Did you mean 'fast'?"),
        ("{title: x, form: y}", 12, "the file has no parameter 'form'. Did you mean 'from'?"),
        ("{title: x, source: y}", 12, "the file has no parameter 'source'."),
        ("{title: x, mode:fast}", 12, "the file has no parameter 'mode:fast'. A space is needed after 'mode:'."),
        ("{titel: x}", 2, "the file has no parameter 'titel'. Did you mean 'title'?"),
        ("{count: 1}", 1, "the file needs 'title'."),
        ("[]", 1, "the file: expected a mapping, found an empty list."),
        ("{title: x, names: a}", 19, "names: expected a list, found the text 'a'."),
        ("{title: x, pair: [a, b]}", 19, "pair[0]: expected a whole number, found the text 'a'."),
        ("{title: x, vars: {A: b}}", 19, "vars.A: expected text that matches ^[a-z]+$, found the text 'A'."),
        ("{title: x, vars: {a: [b]}}", 22, "vars.a: expected text or a whole number, found a list."),
        ("{title: x, size: {b: x}}", 22, "size.b: expected a whole number, found the text 'x'."),
        ("{title: x, steps: [{}]}", 20, "steps[0] needs 'kind'."),
        ("{title: x, steps: [{kind: 1}]}", 27, "steps[0]: there is no kind '1'; expected services or command."),
        (
            "{title: x, steps: [{kind: comand}]}",
            27,
            "steps[0]: there is no kind 'comand'; expected services or command. Did you mean 'command'?",
        ),
        (
            "{title: x, steps: [{kind: services, unit: [a]}]}",
            37,
            "steps[0] has no parameter 'unit'. Did you mean 'units'?",
        ),
        (
            "{title: x, steps: [{kind: services, services: a}]}",
            47,
            "steps[0].services: expected a whole number, found the text 'a'.",
        ),
        (
            "{title: x, steps: [{kind: services, wait: soon}]}",
            43,
            "steps[0].wait: expected a duration such as 30s, 5m, 1h30m.",
        ),
        (
            "{title: x, steps: [{kind: command, do: []}]}",
            40,
            "steps[0].do: expected a list of 1 or more, found an empty list.",
        ),
        (
            "{title: x, steps: [{kind: command, do: [a], on: 3}]}",
            49,
            'steps[0].on: expected text, a list or a mapping, found the number 3. Quote it if it is text: "3".',
        ),
        (
            "{title: x, steps: [{kind: command, do: [a], on: [b, 3]}]}",
            53,
            'steps[0].on[1]: expected text, found the number 3. Quote it if it is text: "3".',
        ),
        (
            "{title: x, steps: [{kind: command, do: [a], on: {kind: services, unit: 1}}]}",
            66,
            "steps[0].on has no parameter 'unit'. Did you mean 'units'?",
        ),
        (
            "{title: x, steps: [{kind: command, do: [a], until: dne}]}",
            52,
            "steps[0].until: expected done or a duration such as 30s, 5m, 1h30m, found the text 'dne'."
            " Did you mean 'done'?",
        ),
    ],
)
def test_what_is_said(text: str, column: int, says: str) -> None:
    (found,) = problems(text)
    assert f"{found.message} {found.hint}".rstrip() == says
    assert (found.line, found.column) == (1, column)


def test_all_problems_in_the_order_of_the_text() -> None:
    found = problems("mode: x\ncount: a\nsteps:\n  - {kind: x}\n  - 3\n  - {kind: services, unit: a, units: b}\nz: 1\n")
    assert [(each.line, each.column) for each in found] == [
        (1, 1),  # no title
        (1, 7),
        (2, 8),
        (4, 12),
        (5, 5),
        (6, 22),
        (6, 38),
        (7, 1),
    ]


def test_the_caller_names_the_places_of_a_rewritten_tree() -> None:
    text = "title: x\nsteps:\n  - quiet-workers:\n      services: {unit: [sidekiq]}\n"
    node, _ = parse(text, "basement.yaml")
    assert isinstance(node, Map)
    steps = node.entries["steps"].value
    assert isinstance(steps, Seq)
    made: list[Node] = []
    for step in steps.items:
        assert isinstance(step, Map)
        ((_, body),) = step.entries.values()
        assert isinstance(body, Map)
        ((kind, params),) = body.entries.values()
        assert isinstance(params, Map)
        made.append(Map.of({"kind": kind, **params.entries}, at=params))
    rewritten = Map.of({**node.entries, "steps": Seq.of(made, at=steps)}, at=node)

    def describe(path: Path) -> str:
        assert path == ("steps", 0)
        return "quiet-workers: services"

    loaded, found = validate(Runbook, rewritten, "basement.yaml", describe=describe)
    assert loaded is None
    assert render_all(found, text) == (
        "basement.yaml:4:18  quiet-workers: services has no parameter 'unit'. Did you mean 'units'?\n"
        "                    4 |       services: {unit: [sidekiq]}\n"
        "                      |                  ^^^^"
    )
    assert found[0].to_json() == {
        "file": "basement.yaml",
        "line": 4,
        "column": 18,
        "end_column": 22,
        "where": "quiet-workers: services",
        "message": "quiet-workers: services has no parameter 'unit'.",
        "hint": "Did you mean 'units'?",
        "related_line": None,
    }


def test_the_number_of_problems_is_bounded() -> None:
    start = time.monotonic()
    found = problems("title: x\n" + "".join(f"titl{i}: 1\n" for i in range(20_000)))
    assert len(found) == MAX_DIAGNOSTICS
    assert found[-1].message == f"{20_000 - MAX_DIAGNOSTICS + 1} more problems are not shown."
    assert time.monotonic() - start < 30


def test_did_you_mean() -> None:
    assert did_you_mean("unit", ["units", "on"]) == "Did you mean 'units'?"
    assert did_you_mean("Not-Before", ["not_before"]) == "Did you mean 'not_before'?"
    assert did_you_mean("x", ["units"]) == ""
    assert nearest("u" * 100_000, ["u" * 99_999]) is None


_WORDS = st.sampled_from(["title", "steps", "kind", "services", "command", "do", "on", "units", "vars", "size", "b"])
_SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(0, 2) | _WORDS | st.text(max_size=3)
_DATA = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=5), max_leaves=20
)


def _tree(data: object, at: Node) -> Node:
    if isinstance(data, dict):
        return Map.of({key: _tree(value, at) for key, value in data.items()}, at=at)
    if isinstance(data, list):
        return Seq.of([_tree(item, at) for item in data], at=at)
    node, found = parse(repr(data) if isinstance(data, float) else _json(data), "f")
    assert node is not None, found
    return node


def _json(data: object) -> str:
    return '"x"' if isinstance(data, str) and not data.isprintable() else json.dumps(data, ensure_ascii=False)


@given(st.dictionaries(st.sampled_from(list(Runbook.model_fields)), _DATA))
def test_no_data_is_too_strange(data: dict[str, object]) -> None:
    at, _ = parse("x", "f")
    assert at is not None
    loaded, found = validate(Runbook, _tree(data, at), "f")
    assert (loaded is None) == bool(found)
    for each in found:
        assert each.message
        assert "Input should" not in each.message
