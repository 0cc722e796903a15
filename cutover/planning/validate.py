"""A tree becomes an instance of a pydantic class, or all that keeps it from being one, each at its place.

Validation follows JSON: a list may become a tuple or a set, a text an enum's member or a date, but `"1"` never
becomes a number where the class is strict (which is the class's to say: `ConfigDict(strict=True)`). What pydantic
finds is said again in plain words, as a whole sentence: `<where> needs 'on'`, `<where> has no parameter 'unit'`,
`<where>: expected a list, found the text 'x'`. Where a class raises `PydanticCustomError`, its message stands as
it is; one that begins with "expected" can be joined with others.
"""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

import pydantic
from pydantic_core import ErrorDetails
from pydantic_core.core_schema import ErrorType

from cutover.planning.diagnostics import Diagnostic, Span, did_you_mean, nearest
from cutover.planning.shapes import Place, choices_of, locate, parameters_of
from cutover.planning.tree import Map, Node, Path, Scalar, kind_of, shorten

T = TypeVar("T", bound=pydantic.BaseModel)
Describe = Callable[[Path], str]

MAX_DIAGNOSTICS = 100

_OURS = re.compile(r"^(?:Input|Value|String|Number|List|Tuple|Set) should (?:be |have )?(?:a valid )?")
_RAISED = ("value_error", "assertion_error")
_KNOWN = frozenset(get_args(ErrorType)) - frozenset(_RAISED)
_EXPECTED: dict[str, str] = {
    "string_type": "text",
    **dict.fromkeys(("int_type", "int_from_float", "int_parsing"), "a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    **dict.fromkeys(("list_type", "tuple_type", "set_type", "frozen_set_type"), "a list"),
    **dict.fromkeys(("dict_type", "mapping_type", "model_type", "model_attributes_type"), "a mapping"),
    "none_required": "nothing",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number below {lt}",
    "less_than_equal": "a number of at most {le}",
    "multiple_of": "a multiple of {multiple_of}",
    "string_too_short": "text of {min_length} or more characters",
    "string_too_long": "text of no more than {max_length} characters",
    "string_pattern_mismatch": "text that matches {pattern}",
    "too_short": "a list of {min_length} or more",
    "too_long": "a list of no more than {max_length}",
}
# What can be wrong with a mapping or list that has the right shape.
_RIGHT_SHAPE = frozenset(
    ("missing", "extra_forbidden", "union_tag_invalid", "union_tag_not_found", "too_short", "too_long")
)


def dotted(path: Path) -> str:
    """Name a place by its path: `steps[2].stop-web`; the whole is `the file`."""
    name = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return name.removeprefix(".") or "the file"


def validate(
    model: type[T], node: Node, file: str, *, describe: Describe = dotted, context: Any = None
) -> tuple[T | None, list[Diagnostic]]:
    """Build a `model` from the tree, or return all that is wrong, in the order of the text.

    `describe` names the thing at a path of the tree for a person; a sentence about a parameter that is missing or
    unknown begins with what has it, any other with what has the wrong value. `context` is for the model's own
    validators.
    """
    try:
        return model.model_validate_json(json.dumps(node.plain()), context=context), []
    except pydantic.ValidationError as error:
        details = error.errors(include_url=False)
    problems = [_Problem(detail, locate(model, node, _owner(detail))) for detail in details]
    chosen = sorted(_choose(problems, 0), key=lambda problem: _start(_span(problem)))
    shown = chosen if len(chosen) <= MAX_DIAGNOSTICS else chosen[: MAX_DIAGNOSTICS - 1]
    found = [_diagnostic(problem, file, describe(problem.place.path)) for problem in _without_echoes(shown)]
    if len(shown) < len(chosen):
        span = _span(chosen[len(shown)])
        found.append(Diagnostic.at(span, file, f"{len(chosen) - len(shown)} more problems are not shown."))
    return None, found


@dataclass(frozen=True, slots=True)
class _Problem:
    """One of pydantic's errors at its place; or several branches of a union, none of which fits."""

    detail: ErrorDetails
    place: Place
    others: tuple["_Problem", ...] = ()

    @property
    def kind(self) -> str:
        return self.detail["type"]

    @property
    def name(self) -> str:
        """Return the parameter that is missing or unknown."""
        return str(self.detail["loc"][-1]) if self.detail["loc"] else ""

    @property
    def context(self) -> dict[str, str]:
        """Return pydantic's own words about the error."""
        return {key: str(value) for key, value in self.detail.get("ctx", {}).items()}

    @property
    def discriminator(self) -> str:
        """Return the parameter that chooses a branch."""
        return self.context["discriminator"].strip("'")


def _owner(detail: ErrorDetails) -> Path:
    """Return the location that an error speaks of: for a parameter that is not there, the one of its owner."""
    loc = detail["loc"]
    return loc[:-1] if detail["type"] in ("missing", "extra_forbidden") else loc


def _choose(problems: Iterable[_Problem], level: int) -> list[_Problem]:
    """Where each branch of a union has its say about one value, keep the branch that was meant."""
    chosen: list[_Problem] = []
    unions: dict[Path, dict[str, list[_Problem]]] = {}
    for problem in problems:
        if len(problem.place.labels) <= level:
            chosen.append(problem)
        else:
            path, label = problem.place.labels[level]
            unions.setdefault(path, {}).setdefault(label, []).append(problem)
    for path, branches in unions.items():
        fitting = [branch for branch in branches.values() if not _is_wrong_shape(branch, path)]
        if fitting or len(branches) == 1:
            chosen += _choose(min(fitting or branches.values(), key=lambda branch: len(branch)), level + 1)
        else:
            first, *rest = (_choose(branch, level + 1)[0] for branch in branches.values())
            others = [each for problem in rest for each in (problem, *problem.others)]
            chosen.append(_Problem(first.detail, first.place, (*first.others, *others)))
    return chosen


def _is_wrong_shape(branch: list[_Problem], path: Path) -> bool:
    """Return whether a branch refused the value as a whole, not something in it."""
    return any(problem.place.path == path and problem.kind not in _RIGHT_SHAPE for problem in branch)


def _without_echoes(problems: list[_Problem]) -> list[_Problem]:
    """Leave out a missing parameter whose misspelling is reported: one slip, one sentence."""
    misspelt = {
        (problem.place.path, nearest(problem.name, parameters_of(problem.place)))
        for problem in problems
        if problem.kind == "extra_forbidden"
    }
    return [p for p in problems if not (p.kind == "missing" and (p.place.path, p.name) in misspelt)]


def _start(span: Span) -> tuple[int, int]:
    return span.line, span.column


def _span(problem: _Problem) -> Span:
    """Return the place to point at: a key that is unknown or unfit, a value, or what lacks something."""
    node = problem.place.node
    if problem.kind == "extra_forbidden" and isinstance(node, Map) and problem.name in node.entries:
        return node.entries[problem.name].key.span
    if problem.kind == "union_tag_invalid":
        return (node.child(problem.discriminator) or node).span
    return (problem.place.key or node).span


def _diagnostic(problem: _Problem, file: str, where: str) -> Diagnostic:
    """Say one problem in plain words."""
    place, name = problem.place, problem.name
    match problem.kind:
        case "missing":
            message, hint = f"{where} needs '{name}'.", _glued(place.node, name)
        case "union_tag_not_found":
            name = problem.discriminator
            message, hint = f"{where} needs '{name}'.", _glued(place.node, name)
        case "extra_forbidden":
            message = f"{where} has no parameter '{shorten(name)}'."
            hint = _glued(place.node, name.partition(":")[0]) or did_you_mean(name, parameters_of(place))
        case "union_tag_invalid":
            tag, choices = problem.context["tag"], _quoted_words(problem.context["expected_tags"])
            expected = f"expected {_one_of(choices)}"
            message = f"{where}: there is no {problem.discriminator} '{shorten(tag)}'; {expected}."
            hint = did_you_mean(tag, choices)
        case _:
            said, hint = _unfit(problem)
            message = f"{where}: {said}"
    return Diagnostic.at(_span(problem), file, message, hint=hint, where=where)


def _glued(owner: Node, name: str) -> str:
    """Return the hint for `{wait:5m}`, which YAML reads as the key `wait:5m` without a value."""
    entries = owner.entries.values() if isinstance(owner, Map) else ()
    glued = any(key.text.startswith(f"{name}:") and not key.quoted and value.plain() is None for key, value in entries)
    return f"A space is needed after '{shorten(name)}:'." if glued else ""


def _unfit(problem: _Problem) -> tuple[str, str]:
    """Say what was expected in place of a value, and what helps."""
    node: Node = problem.place.key or problem.place.node
    expectations = dict.fromkeys(_expectation(each) for each in (problem, *problem.others))
    choices = [choice for each in (problem, *problem.others) for choice in _choices(each)]
    if all(said.startswith("expected ") for said in expectations):
        said = "expected " + _one_of([said.removeprefix("expected ") for said in expectations])
    else:
        said = "; ".join(expectations)
    if any(each.kind in _KNOWN for each in (problem, *problem.others)):
        said = f"{said}, found {kind_of(node)}"
    hint = _scalar_hint(node, said.partition(", found ")[0], choices) if isinstance(node, Scalar) else ""
    return f"{said}." if not said.endswith((".", "!", "?")) else said, hint


def _scalar_hint(node: Scalar, said: str, choices: list[str]) -> str:
    wants_text = re.search(r"\btext\b", said) is not None or node.text in choices
    if wants_text and not node.quoted and isinstance(node.value, bool | int | float):
        return f'Quote it if it is text: "{shorten(node.text)}".'
    if not isinstance(node.value, str):
        return ""
    if "number" in said and re.fullmatch(r"[-+]?[0-9][0-9_]*(\.[0-9]+)?", node.text):
        return "Write it without quotes." if node.quoted else "Write it without leading zeros, '+' and '_'."
    if "true or false" in said and node.text.casefold() in ("yes", "no", "on", "off", "true", "false", "y", "n"):
        return f"Write {'true' if node.text.casefold() in ('yes', 'on', 'true', 'y') else 'false'}."
    return did_you_mean(node.text, choices)


def _expectation(problem: _Problem) -> str:
    """Return `expected …`, or the words of whoever raised the error."""
    kind, context = problem.kind, problem.context
    if kind in _RAISED:
        return context.get("error", problem.detail["msg"])
    if kind not in _KNOWN:
        return problem.detail["msg"]
    if kind in ("literal_error", "enum"):
        return f"expected {_one_of(_choices(problem))}"
    if kind in _EXPECTED:
        return "expected " + _EXPECTED[kind].format_map(context)
    return "expected " + _OURS.sub("", problem.detail["msg"])


def _choices(problem: _Problem) -> list[str]:
    if problem.kind not in ("literal_error", "enum"):
        return []
    return choices_of(problem.place) or _quoted_words(problem.context.get("expected", ""))


def _one_of(choices: list[str]) -> str:
    return " or ".join(filter(None, (", ".join(choices[:-1]), choices[-1]))) if choices else "something else"


def _quoted_words(text: str) -> list[str]:
    """Return the words from pydantic's lists: `'a', 'b' or 'c'`."""
    return re.findall(r"'([^']*)'", text) or [text]
