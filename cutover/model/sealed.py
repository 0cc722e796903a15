"""Texts of a runbook that may hold secrets: `Bearer ${secret:NAME}` becomes pieces of text and names of secrets.

Only fields of the type `SealedText` take secrets apart; in any other field the reference would stay plain text and
reach a screen or a command line, so `plain_secrets` finds those for the loader to refuse.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BaseModel, PlainSerializer, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from cutover.model.effects import Sealed, SecretRef, sealed_text

_START = "${secret:"
_REFERENCE = re.compile(r"\$\{secret:([A-Za-z0-9][A-Za-z0-9._@-]{0,62})\}")


def parse_sealed(text: str) -> Sealed:
    """The pieces of a text. Raises ValueError for a reference to a secret that is not well formed, or a NUL."""
    words = _REFERENCE.split(text)
    if any(_START in word for word in words[::2]):
        raise ValueError("expected ${secret:NAME}, with a name of letters, digits and . _ @ -")
    if "\0" in text:
        raise ValueError("expected text without NUL")
    pieces = (SecretRef(word) if number % 2 else word for number, word in enumerate(words))
    return tuple(piece for piece in pieces if piece)


def plain_secrets(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The places below `value` (parameters as loaded) whose plain text refers to a secret, named as in the runbook."""
    if isinstance(value, str):
        if _START in value:
            yield path
    elif isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            yield from plain_secrets(getattr(value, name), (*path, field.alias or name))
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from plain_secrets(part, (*path, key))
    elif isinstance(value, tuple | list | frozenset):
        for index, part in enumerate(value):
            yield from plain_secrets(part, (*path, index))


def _validate(value: Any) -> Sealed:
    if isinstance(value, tuple):  # already parsed
        return value
    if not isinstance(value, str):
        raise PydanticCustomError("sealed", "expected text")
    try:
        return parse_sealed(value)
    except ValueError as problem:
        raise PydanticCustomError("sealed", "{problem}", {"problem": str(problem)}) from None


SealedText = Annotated[
    Sealed,
    PlainValidator(_validate),
    PlainSerializer(sealed_text, return_type=str),
    WithJsonSchema({"type": "string", "description": "Text; ${secret:NAME} stands for a secret."}),
]
"""Text in which `${secret:NAME}` stands for a secret."""
