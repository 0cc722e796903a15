"""From the files a person names to a plan."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from cutover.errors import UsageError
from cutover.model.plan import Plan, Source
from cutover.model.text import visible_line
from cutover.planning import planner
from cutover.planning.inventory import text_of
from cutover.steps import KINDS

_ENVIRONMENT = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}")


def read_source(file: Path, *, inventory: Path | None = None, overrides: Sequence[str] = ()) -> Source:
    """Everything that a plan of this runbook is made from. Raises UsageError for a file that cannot be read."""
    text = _read(file)
    pins = file.with_suffix(".pins")
    inventory_text = text_of(inventory) if inventory else None
    named = sorted(set(_ENVIRONMENT.findall(text + (inventory_text or ""))))
    return Source(
        file=str(file),
        runbook=text,
        pins=_read(pins) if pins.exists() else None,
        inventory=inventory_text,
        inventory_file=str(inventory) if inventory else None,
        vars=tuple(_override(word) for word in overrides),
        environment=tuple((name, os.environ[name]) for name in named if name in os.environ),
    )


def load_plan(file: Path, *, inventory: Path | None = None, overrides: Sequence[str] = ()) -> Plan:
    """Load and plan a runbook. Raises RunbookInvalid with every problem at once."""
    return planner.plan(read_source(file, inventory=inventory, overrides=overrides), KINDS)


def shipped(name: str) -> Path:
    """A runbook that comes with cutover: inside the installed package, or in the checkout."""
    package = Path(__file__).parents[1]
    inside = package / "runbooks" / name
    return inside if inside.exists() else package.parent / "runbooks" / name


def _read(file: Path) -> str:
    try:
        return file.read_bytes().decode()
    except UnicodeDecodeError as problem:
        raise UsageError(f"{visible_line(str(file))} is not UTF-8 text: byte {problem.start}") from None
    except OSError as problem:
        raise UsageError(f"{visible_line(str(file))} cannot be read: {problem.strerror}") from None


def _override(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals:
        raise UsageError(f"--var takes NAME=VALUE, not {visible_line(word)!r}")
    return name, value
