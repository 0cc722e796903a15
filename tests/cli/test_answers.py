"""Answers given ahead: by step, by question, and every slip with its place."""

from pathlib import Path

import pytest

from cutover.cli.answers import read_answers
from cutover.errors import RunbookInvalid, UsageError
from cutover.model.plan import Plan, Source
from cutover.planning import planner
from cutover.steps import KINDS

RUNBOOK = """
title: A move
announcement: {waived: nobody is there}
sites: {old: {web: alice}}
steps:
  - ready: {ask: {question: "Now?"}}
  - stop-web: {services: {stop: [app-web], on: alice, stays_down: for good}}
"""


@pytest.fixture(scope="module")
def plan() -> Plan:
    return planner.plan(Source(file="a.yaml", runbook=RUNBOOK), KINDS)


def test_steps_and_questions_can_be_named(plan: Plan, tmp_path: Path) -> None:
    file = tmp_path / "answers.yaml"
    file.write_text("ready: go\nstop-web.failed: back\npoint.soft: go\nbudget: on\n")
    answers = {"ready.ask": "go", "stop-web.failed": "back", "point.soft": "go", "budget": "on"}
    assert read_answers(file, plan) == answers


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("raedy: go\n", "answers.yaml:1:1  Nothing in this plan asks 'raedy'. Did you mean 'ready'?"),
        ("stop-web: go\n", "answers.yaml:1:1  Nothing in this plan asks 'stop-web'."),
        ("ready: [go]\n", "answers.yaml:1:8  The answer to 'ready' is one word."),
        ("- go\n", "Answers are a mapping"),
        ("ready: go\nready: back\n", "answers.yaml:2:1"),
    ],
)
def test_a_slip_is_shown_at_its_place(text: str, sentence: str, plan: Plan, tmp_path: Path) -> None:
    file = tmp_path / "answers.yaml"
    file.write_text(text)
    with pytest.raises(RunbookInvalid) as refused:
        read_answers(file, plan)
    assert sentence in str(refused.value)


def test_a_file_that_is_not_there_is_a_sentence(plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_answers(tmp_path / "none.yaml", plan)
