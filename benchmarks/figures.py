"""A figure is one line: `name value unit goal verdict`. A goal is `<=2` or `>=10`; nothing ever fails by it."""

import operator
import statistics
from collections.abc import Iterable

_COMPARE = {"<=": operator.le, ">=": operator.ge}


def figure(name: str, value: float, unit: str, goal: str = "") -> None:
    """Print one figure, and whether it meets its goal."""
    print(f"{name:<58} {value:>10.3f} {unit:<9} {goal or '-':<8} {verdict(value, goal)}".rstrip(), flush=True)


def verdict(value: float, goal: str) -> str:
    """`met` or `missed`; nothing where there is no goal."""
    if not goal:
        return ""
    return "met" if _COMPARE[goal[:2]](value, float(goal[2:])) else "missed"


def remark(text: str) -> None:
    """What a reader must know beside the figures: a part that was skipped, say."""
    print(f"# {text}", flush=True)


def ratio(values: Iterable[float], others: Iterable[float]) -> float:
    """How many times as much, by medians."""
    return statistics.median(values) / statistics.median(others)
