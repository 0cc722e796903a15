"""The manual pages: up to date, and every example in them loads.

`CUTOVER_GOLDEN=write` writes the pages anew.
"""

import os
import re
from pathlib import Path

import pytest

from cutover.model.channels import CHANNELS
from cutover.model.plan import Source
from cutover.planning.loader import load
from cutover.planning.pages import channels_page, pages
from cutover.steps import KINDS

DOCS = Path(__file__).parents[2] / "docs/kinds"

HEAD = """
title: An example
sites:
  basement: {db: alice, web: [yakko, dot]}
  hetzner: {db: nixie, web: [freud, fritz]}
secrets:
  hub: {env: HUB}
  probe: {env: PROBE}
announcement: {waived: an example}
steps:
"""


def test_the_pages_say_what_the_classes_say() -> None:
    made = pages(KINDS)
    if os.environ.get("CUTOVER_GOLDEN") == "write":
        for name, text in made.items():
            (DOCS / name).write_text(text)
    assert {file.name: file.read_text() for file in DOCS.iterdir()} == made


def test_the_page_of_the_channels_says_what_the_classes_say() -> None:
    made, page = channels_page(CHANNELS), DOCS.parent / "channels.md"
    if os.environ.get("CUTOVER_GOLDEN") == "write":
        page.write_text(made)
    assert page.read_text() == made
    assert made.count("Tried live: no.") == len(CHANNELS)


def test_the_example_of_the_channels_loads() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", channels_page(CHANNELS), re.DOTALL)
    head = HEAD.replace("secrets:\n  hub: {env: HUB}\n  probe: {env: PROBE}\n", example)
    runbook = load(Source(file="example.yaml", runbook=f"{head}  - go: {{ask: {{question: Go?}}}}\n"), KINDS)
    assert set(runbook.channels) == {"status", "mastodon"}


@pytest.mark.parametrize("name", KINDS)
def test_the_examples_load(name: str) -> None:
    examples = re.findall(r"```yaml\n(.*?)```", pages(KINDS)[f"{name}.md"], re.DOTALL)
    assert examples
    for example in examples:
        steps = "".join(f"  {line}\n" for line in example.splitlines())
        runbook = load(Source(file="example.yaml", runbook=HEAD + steps), KINDS)
        assert {step.kind.name for step in runbook.steps} == {name}


@pytest.mark.parametrize("name", KINDS)
def test_every_parameter_is_explained(name: str) -> None:
    for parameter, field in KINDS[name].model_fields.items():
        assert field.description, f"{name}: {parameter} has no docstring"
