"""Golden cases: parameters in, stages and commands out; replies in, sentences out. One file for each kind.

`CUTOVER_GOLDEN=write` writes what the kinds give now; the diff is then to be read.
"""

import os
from pathlib import Path
from typing import Any

import pytest

from cutover.model.kind import Act, Kind
from cutover.planning.yaml_tree import parse
from tests.steps.rendering import SCOPE, acts, kind, polled, render, reply

CASES = Path(__file__).parent / "cases"


def _load() -> list[Any]:
    found = []
    for file in sorted(CASES.glob("*.yaml")):
        tree, problems = parse(file.read_text(), file.name)  # our own reader: `on` is a word for it
        assert not problems, problems
        assert tree
        for case in tree.plain():
            found.append(pytest.param(file.stem, case, id=f"{file.stem}-{case['it'].replace(' ', '-')}"))
    return found


@pytest.mark.parametrize(("name", "case"), _load())
def test_unfolds_and_judges_as_written(name: str, case: dict[str, Any]) -> None:
    step = kind(name, **case["params"])
    golden = CASES / f"{name}-{case['it'].replace(' ', '-')}.txt"
    if case.get("golden", True):
        if os.environ.get("CUTOVER_GOLDEN") == "write":
            golden.write_text(render(step.unfold(SCOPE)))
        assert render(step.unfold(SCOPE)) == golden.read_text()
    for answer in case.get("answers", []):
        assert _says(step, answer) == answer["says"]


def _says(step: Kind, answer: dict[str, Any]) -> str:
    """What the kind makes of an answer: `of` is `check KEY`, `poll KEY`, `act KEY`, `probe KEY` or `back KEY`."""
    verb, _, key = answer["of"].partition(" ")
    stages = step.unfold(SCOPE)
    before = reply(answer["before"]) if "before" in answer else None
    if verb in ("check", "poll"):
        checks = step.checks(SCOPE) if verb == "check" else polled(stages)
        replies = [reply(answer[which]) for which in ("reply", "against") if which in answer]
        verdict = {check.key: check for check in checks}[key].judge(*replies)
        return f"{verdict.finding}: {verdict.because}"
    act: Act | None = {act.key: act for act in acts(stages)}[key]
    assert act is not None
    if verb == "back":
        act = act.undo(before) if act.undo else None
        return act.title if act else "nothing"
    if verb == "act":
        assert act.judge is not None
        verdict = act.judge(reply(answer["reply"]))
        return f"{verdict.finding}: {verdict.because}"
    assert act.probe is not None
    probed = act.probe.judge(reply(answer["reply"]), before)
    return f"{probed.done}: {probed.because}"
