"""`--answers FILE`: what a person decided beforehand, for a run without one."""

from pathlib import Path

from cutover.errors import RunbookInvalid, UsageError
from cutover.model.kind import Ask
from cutover.model.plan import Plan
from cutover.model.text import visible_line
from cutover.planning.diagnostics import Diagnostic, did_you_mean, render_all
from cutover.planning.tree import Map, Scalar
from cutover.planning.yaml_tree import parse


def read_answers(file: Path, plan: Plan) -> dict[str, str]:
    """Read a mapping from steps or questions to answers. Raises RunbookInvalid with the places of what is wrong.

    A step's name stands for the question that this step asks. Any question can be named as the engine names it,
    without its number: `stop-web.failed`, `point.soft`, `budget`.
    """
    try:
        source = file.read_bytes()
    except OSError as problem:
        raise UsageError(f"{visible_line(str(file))} cannot be read: {problem.strerror}") from None
    tree, found = parse(source, str(file))
    answers: dict[str, str] = {}
    if isinstance(tree, Map):
        bases, known = _asked(plan), _known(plan)
        for name, entry in tree.entries.items():
            base = bases.get(name, name)
            if base not in known:
                message = f"Nothing in this plan asks '{name}'."
                hint = did_you_mean(name, [*bases, *sorted(known)])
                found.append(Diagnostic.at(entry.key.span, str(file), message, hint=hint))
            elif not isinstance(entry.value, Scalar) or not entry.value.text:
                found.append(Diagnostic.at(entry.value.span, str(file), f"The answer to '{name}' is one word."))
            else:
                answers[base] = entry.value.text
    elif tree is not None:
        found.append(Diagnostic.at(tree.span, str(file), "Answers are a mapping from a step or question to a word."))
    if found:
        raise RunbookInvalid(render_all(found, source))
    return answers


def _asked(plan: Plan) -> dict[str, str]:
    """The question that each step, or point of no return, asks."""
    return {
        step.name: f"{step.name}.{stage.key}" for step in plan.steps for stage in step.stages if isinstance(stage, Ask)
    }


def _known(plan: Plan) -> frozenset[str]:
    """Every question that this plan may lead to."""
    troubles = {f"{step.name}.{about}" for step in plan.steps for about in ("failed", "in_doubt", "undo")}
    checks = {f"{step.name}.check.{check.key}" for step in plan.steps for check in step.checks}
    return frozenset({"budget", "point.soft", "point.hard", *_asked(plan).values(), *troubles, *checks})
