"""The JSON Schema of a runbook, made from the very classes that load it, for editors.

It describes what is written: a step is `- name: {kind: {…}, …}`, a role names one host or several, and wherever a
number or a choice of words is expected, a text with a `${variable}` may stand in its place. What a schema cannot say
(that a step that is needed exists, that two hosts differ) is for `cutover check`.
"""

from collections.abc import Mapping
from inspect import getdoc
from typing import Any

from pydantic import TypeAdapter

from cutover.model.kind import Kind
from cutover.model.runbook import NAME_PATTERN, Head, StepWords
from cutover.model.units import Duration, show_duration

Schema = dict[str, Any]

DRAFT = "http://json-schema.org/draft-07/schema#"
ID = "urn:cutover:runbook"

_VARIABLE: Schema = {"$ref": "#/definitions/variable"}
_DURATION = TypeAdapter(Duration).json_schema()["pattern"]
_DEFINITIONS = "#/definitions/{model}"


def schema(kinds: Mapping[str, type[Kind]]) -> Schema:
    """Return the schema of a runbook with steps of these kinds."""
    definitions: Schema = {}
    head = _of(Head, definitions)
    names = {"type": "string", "pattern": NAME_PATTERN}
    head["properties"]["sites"] = _sites(head["properties"]["sites"], names)
    head["properties"]["steps"] = {
        "description": "What is done, in this order unless a step says what it needs.",
        "type": "array",
        "minItems": 1,
        "items": {
            "type": "object",
            "minProperties": 1,
            "maxProperties": 1,
            "propertyNames": names,
            "additionalProperties": {"$ref": "#/definitions/step"},
        },
    }
    definitions["step"] = _step(kinds, definitions)
    adapted = {name: _adapted(each) for name, each in sorted(definitions.items())}
    variable = {"description": "A text with a ${variable} in it.", "type": "string", "pattern": r"\$\{[^{}]+\}"}
    return {
        "$schema": DRAFT,
        "$id": ID,
        **_adapted(head),
        "title": "A cutover runbook",
        "description": "What is moved, in which steps, and how each is taken back.",
        "required": [*head["required"], "steps"],
        "definitions": {**adapted, "variable": variable},
    }


def _step(kinds: Mapping[str, type[Kind]], definitions: Schema) -> Schema:
    """Return what stands below a step's name: exactly one kind, and the words that every step may say."""
    words = _of(StepWords, definitions)
    words["properties"]["needs"] = _one_or_many(words["properties"]["needs"])
    for name, kind in kinds.items():
        definitions[f"kind.{name}"] = {**_of(kind, definitions), "title": name}
    return {
        "description": "One kind of step, with what every step may say.",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            **{name: _kind(name, kind) for name, kind in kinds.items()},
            **words["properties"],
        },
        "oneOf": [{"required": [name]} for name in kinds],
    }


def _kind(name: str, kind: type[Kind]) -> Schema:
    summary = (getdoc(kind) or "").split("\n\n")[0].replace("\n", " ")
    return {"description": summary, "$ref": f"#/definitions/kind.{name}"}


def _of(model: type[Any], definitions: Schema) -> Schema:
    """Return the schema of one class; the classes that it is made of go to the definitions."""
    made: Schema = model.model_json_schema(by_alias=True, ref_template=_DEFINITIONS)
    for name, each in made.pop("$defs", {}).items():
        known = definitions.setdefault(name, _without_titles(each))
        assert known == _without_titles(each), f"two classes of parameters are called {name}"
    return _without_titles(made)  # type: ignore[no-any-return]


def _sites(written: Schema, names: Schema) -> Schema:
    hosts = {"anyOf": [names, {"type": "array", "items": names, "minItems": 1}]}
    roles = {"type": "object", "minProperties": 1, "propertyNames": names, "additionalProperties": hosts}
    return {
        "description": written["description"],
        "type": "object",
        "minProperties": 1,
        "propertyNames": names,
        "additionalProperties": roles,
    }


def _one_or_many(many: Schema) -> Schema:
    branches = [branch for branch in many["anyOf"] if branch.get("type") == "array"]
    return {"description": many["description"], "anyOf": [*(branch["items"] for branch in branches), *branches]}


def _without_titles(node: Any) -> Any:
    """Leave out the titles that pydantic makes of names: editors show them in place of the description."""
    if isinstance(node, list):
        return [_without_titles(each) for each in node]
    if not isinstance(node, dict):
        return node
    return {
        name: {word: _without_titles(each) for word, each in value.items()}
        if name == "properties"
        else _without_titles(value)
        for name, value in node.items()
        if name != "title" or not isinstance(value, str)
    }


def _adapted(node: Any) -> Any:
    """Let a `${variable}` stand wherever a single value is expected, and say what pydantic leaves to be understood."""
    inner = _inside(node)
    if not isinstance(inner, dict) or not _is_narrow(inner):
        return inner
    about = {name: inner.pop(name) for name in ("description", "default") if name in inner}
    return {**about, "anyOf": [inner, _VARIABLE]}


def _inside(node: Any) -> Any:
    """Adapt all that is below a schema."""
    if isinstance(node, list):
        return [_adapted(each) for each in node]
    if not isinstance(node, dict):
        return node
    inner = {name: _below(name, value) for name, value in node.items() if name != "default"}
    if "default" in node and (default := _default(node)) is not None:
        inner["default"] = default
    if "patternProperties" in inner:
        inner["additionalProperties"] = False
    if "$ref" in inner and len(inner) > 1:  # in draft 7 whatever stands beside a $ref is ignored
        inner["allOf"] = [{"$ref": inner.pop("$ref")}]
    return inner


def _below(word: str, value: Any) -> Any:
    match word:
        case "properties" | "patternProperties":
            return {name: _adapted(each) for name, each in value.items()}
        case "anyOf":
            branches = [_inside(each) for each in value]
            narrow = any(map(_is_narrow, branches)) and {"type": "string"} not in branches
            return [*branches, _VARIABLE] if narrow else branches
        case "items" | "additionalProperties":
            return _adapted(value)
        case _:
            return value


def _default(node: Schema) -> Any:
    """Return a default as a person would write it; that there is none goes without saying."""
    value = node["default"]
    return show_duration(value) if node.get("pattern") == _DURATION and isinstance(value, float) else value


def _is_narrow(node: Schema) -> bool:
    """Whether a schema is of single values, and not of just any text."""
    kind = node.get("type")
    if kind in ("integer", "number", "boolean") or "enum" in node or "const" in node:
        return True
    return kind == "string" and bool(node.keys() & {"pattern", "minLength", "maxLength", "format"})
