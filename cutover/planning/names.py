"""Names in steps that must be names of something: hosts in selectors, steps in `needs`."""

from collections.abc import Collection, Iterable
from dataclasses import replace

from cutover.model.kind import Scope, ScopeError
from cutover.planning.diagnostics import did_you_mean
from cutover.planning.problems import Problems
from cutover.planning.step_syntax import Written


def note_unknown_place(step: Written, problem: ScopeError, problems: Problems) -> None:
    """Point at a selector that names no host, role or site."""
    hint = did_you_mean(problem.name, problem.known)
    problems.at(step.span_of(problem.name), f"{step.name}: {problem}.", hint)


def note_unknown_need(step: Written, need: str, known: Collection[str], problems: Problems) -> None:
    """Point at a need that names no step."""
    span = step.span_of_need(need)
    problems.at(span, f"{step.name} needs '{need}', and there is no such step.", did_you_mean(need, known))


def note_all(steps: Iterable[Written], named: Collection[str], scope: Scope, problems: Problems) -> None:
    """Beside other problems, so that a person sees all of them at once: what planning would find of these steps."""
    for step in steps:
        for need in step.words.needs or ():
            if need not in named and need != step.name:
                note_unknown_need(step, need, named, problems)
        here = replace(scope, step=step.name, timeout=step.words.timeout)
        try:
            step.kind.unfold(here)
            step.kind.checks(here)
        except ScopeError as problem:
            note_unknown_place(step, problem, problems)
