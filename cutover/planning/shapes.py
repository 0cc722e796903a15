"""Follows a pydantic location through the classes and the tree at once.

A location names keys and indices, but also the branches of unions, which are nowhere in the document. Only the
classes tell which is which: a parameter may well have the name of a branch.
"""

import enum
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pydantic

from cutover.planning.tree import Map, Node, Path, Scalar


@dataclass(frozen=True, slots=True)
class Place:
    """Where a location leads: the path and node in the tree, the branches of unions passed, the types there.

    `labels` holds each union's own path and the branch. `key` is set when the location means the key itself.
    """

    path: Path
    node: Node
    labels: tuple[tuple[Path, str], ...]
    types: tuple[Any, ...]
    key: Scalar | None = None


def locate(model: type[pydantic.BaseModel], root: Node, loc: Path) -> Place:
    """Follow `loc` as far as the tree goes."""
    here, labels = [_bare(model)], list[tuple[Path, str]]()
    path: Path = ()
    parent = node = root
    for element in loc:
        if element == "[key]" and isinstance(parent, Map) and path:
            return Place(path, node, tuple(labels), tuple(here), parent.entries[str(path[-1])].key)
        unions = [shape for shape in here if _is_union(shape)]
        child = node.child(element)
        if unions or child is None:  # without a child it is a label that the types do not explain
            labels.append((path, str(element)))
            here = [branch for shape in unions for branch in _branches(shape, str(element))] or here
            continue
        here = [part for shape in here for part in _parts(shape, element)]
        path, parent, node = (*path, element), node, child
    return Place(path, node, tuple(labels), tuple(here))


def parameters_of(place: Place) -> list[str]:
    """Return the names that the mapping at this place may have."""
    return [name for shape in place.types if _is_model(shape) for name in _fields(shape)]


def choices_of(place: Place) -> list[str]:
    """Return the values that a literal or an enum at this place may have."""
    choices: list[Any] = []
    for shape in place.types:
        if get_origin(shape) is Literal:
            choices += get_args(shape)
        elif isinstance(shape, type) and issubclass(shape, enum.Enum):
            choices += [member.value for member in shape]
    return [str(choice) for choice in choices]


def _bare(shape: Any) -> Any:
    """Take off what has no part in a location: metadata, alias names, `| None`, a root model."""
    while True:
        origin = get_origin(shape)
        if origin is Annotated and not _tag(shape):
            shape = get_args(shape)[0]
        elif hasattr(shape, "__value__"):
            shape = shape.__value__
        elif origin in (Union, types.UnionType):
            some = [part for part in get_args(shape) if part is not types.NoneType]
            if len(some) != 1:
                return shape
            shape = some[0]
        elif _is_model(shape) and issubclass(shape, pydantic.RootModel):
            shape = shape.model_fields["root"].annotation
        else:
            return shape


def _is_union(shape: Any) -> bool:
    return get_origin(shape) in (Union, types.UnionType)


def _is_model(shape: Any) -> bool:
    return isinstance(shape, type) and issubclass(shape, pydantic.BaseModel)


def _tag(shape: Any) -> str | None:
    """Return the `Tag` that a branch of a union is annotated with."""
    metadata = get_args(shape)[1:] if get_origin(shape) is Annotated else ()
    return next((each.tag for each in metadata if isinstance(each, pydantic.Tag)), None)


def _branches(union: Any, label: str) -> list[Any]:
    """Return the branches of a union that pydantic may call `label`; all, if it is none that we know."""
    branches = [branch for branch in get_args(union) if branch is not types.NoneType]
    named = [branch for branch in branches if _is_called(branch, label)]
    return [_untagged(branch) for branch in named or branches]


def _untagged(shape: Any) -> Any:
    return _bare(get_args(shape)[0] if _tag(shape) else shape)


def _is_called(branch: Any, label: str) -> bool:
    shape = _untagged(branch)
    if _tag(branch) == label or getattr(shape, "__name__", None) == label:
        return True
    if not _is_model(shape):
        return False
    literals = (field.annotation for field in shape.model_fields.values())
    return any(get_origin(each) is Literal and label in get_args(each) for each in literals)


def _fields(model: type[pydantic.BaseModel]) -> Iterator[str]:
    """Return the names a model reads: aliases where it has them, and fields where it reads those."""
    by_name = model.model_config.get("populate_by_name") or model.model_config.get("validate_by_name")
    for name, field in model.model_fields.items():
        alias = field.validation_alias
        choices = alias.choices if isinstance(alias, pydantic.AliasChoices) else [alias]
        aliases = [choice for choice in choices if isinstance(choice, str)]
        yield from aliases
        if by_name or not aliases:
            yield name


def _parts(shape: Any, element: str | int) -> Iterator[Any]:
    """Return what lies one step down from a type."""
    if _is_model(shape):
        for name, field in shape.model_fields.items():
            if element in (name, field.alias, field.validation_alias):
                yield _bare(field.annotation)
        return
    match get_args(shape):
        case (_, value) if isinstance(element, str):
            yield _bare(value)
        case (item,) | (item, types.EllipsisType()):
            yield _bare(item)
        case items if isinstance(element, int) and element < len(items):
            yield _bare(items[element])
