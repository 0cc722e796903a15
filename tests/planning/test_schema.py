"""The JSON Schema for editors: it takes what the loader takes, and marks what the loader refuses."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from cutover.planning import loader
from cutover.planning.problems import Refused
from cutover.planning.schema import DRAFT, schema
from cutover.planning.yaml_tree import parse
from cutover.steps import KINDS
from tests.planning.toys import source

SCHEMA = schema(KINDS)
EXAMPLES = sorted((Path(__file__).parent / "examples").glob("*.yaml"))
SHIPPED = sorted((Path(__file__).parents[2] / "runbooks").glob("*.yaml"))
HEAD = """\
title: Small
announcement: {waived: a rehearsal}
secrets: {pg: {env: PG}}
sites: {old: {web: [yakko, wakko]}, new: {web: freud}}
"""


def complaints(text: str) -> list[str]:
    tree, found = parse(text, "x.yaml")
    assert tree is not None
    assert not found
    return [error.message for error in jsonschema.Draft7Validator(SCHEMA).iter_errors(tree.plain())]


def test_it_is_a_draft_7_schema_that_stands_alone() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == DRAFT
    assert SCHEMA["$id"]
    assert all(name.removeprefix("#/definitions/") in SCHEMA["definitions"] for name in references(SCHEMA))


def test_it_is_the_same_every_time() -> None:
    assert schema(KINDS) == SCHEMA


def test_every_parameter_is_explained_on_hover() -> None:
    for kind in KINDS:
        for name, each in SCHEMA["definitions"][f"kind.{kind}"]["properties"].items():
            assert each.get("description"), f"{kind}.{name}"


@pytest.mark.parametrize("file", [*EXAMPLES, *SHIPPED], ids=lambda file: file.stem)
def test_runbooks_that_load_are_valid(file: Path) -> None:
    assert complaints(file.read_text()) == []


@pytest.mark.parametrize(
    "step",
    [
        "go: {ask: {question: Go?}}",
        "go: {ask: {question: Go?, silence: {back: 4m}, arms: [soft, hard], typed: true}}",
        "go: {services: {stop: [web], on: old.web}, needs: [], timeout: 1m30s, retries: 3}",
        "go: {services: {stop: [web], on: [yakko, wakko]}, needs: before}",
        'go: {services: {stop: ["${unit}"], on: "${where}", hold_down: "${hold}"}, timeout: "${t}", retries: "${n}"}',
        'go: {command: {on: old, do: [login], stdin: "${secret:pg}"}, undo: nothing}',
        "go: {point: {is: hard}}",
        "go: {http_check: {get: http://x/, within: 200ms}}",
    ],
)
def test_what_it_takes(step: str) -> None:
    assert complaints(f"{HEAD}steps:\n  - {step}\n") == []


@pytest.mark.parametrize(
    "step",
    [
        "go",
        "go: {}",
        "go: {needs: [a]}",
        "go: {ask: {question: Go?}, services: {stop: [web], on: old}}",
        "go: {ask: {questoin: Go?}}",
        "go: {ask: {question: 1}}",
        "go: {ask: {question: Go?, typed: sure}}",
        "go: {ask: {question: Go?, arms: [medium]}}",
        "go: {drain_workers: {on: old}}",
        "go: {services: {stop: web, on: old}}",
        "go: {services: {stop: [web]}}",
        "go: {ask: {question: Go?}, timeout: 90}",
        "go: {ask: {question: Go?}, timeout: soon}",
        "go: {ask: {question: Go?}, retries: -1}",
        "go: {ask: {question: Go?}, undo: something}",
        "go: {ask: {question: Go?}, retry: 1}",
        "go there: {ask: {question: Go?}}",
        "{go: {ask: {question: Go?}}, now: {ask: {question: Go?}}}",
    ],
)
def test_what_it_marks_the_loader_refuses_too(step: str) -> None:
    steps = f"  - {step}\n"
    assert complaints(f"{HEAD}steps:\n{steps}")
    with pytest.raises(Refused):
        loader.load(source(steps, head=HEAD), KINDS)


@pytest.mark.parametrize(
    "head",
    [
        HEAD.replace("title: Small\n", ""),
        HEAD.replace("title", "titel"),
        HEAD.replace("{env: PG}", "{enf: PG}"),
        HEAD.replace("a rehearsal", "true"),
        HEAD.replace("sites", "site"),
        HEAD.replace("{web: [yakko, wakko]}", "[yakko, wakko]"),
        HEAD + "redis: {}\n",
        HEAD + "downtime: {announced: 30m}\n",
        HEAD + "measures: {w: {get: http://x/, means: fine}}\n",
    ],
)
def test_what_it_marks_in_the_head(head: str) -> None:
    steps = "  - go: {ask: {question: Go?}}\n"
    assert complaints(f"{head}steps:\n{steps}")
    with pytest.raises(Refused):
        loader.load(source(steps, head=head), KINDS)


def references(node: Any) -> list[str]:
    if isinstance(node, list):
        return [name for each in node for name in references(each)]
    if not isinstance(node, dict):
        return []
    own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
    return [*own, *(name for each in node.values() for name in references(each))]
