"""Verdicts: what a check, a guard, a probe or a poll found, always with the sentence that says why."""

from dataclasses import dataclass
from typing import Any, Literal

Finding = Literal["passed", "failed", "unknown"]
Done = Literal["done", "not_done", "partly", "unknown"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A check's or a poll's answer. `unknown` is never green: a missing, stale or vacuous reading is unknown.

    because: one sentence with the numbers compared. observed: those numbers, JSON-ready.
    """

    finding: Finding
    because: str
    observed: dict[str, Any] | None = None

    @property
    def passed(self) -> bool:
        """Whether it is green."""
        return self.finding == "passed"


@dataclass(frozen=True, slots=True)
class Probed:
    """What a probe found of an act: done, not done, partly, or unknown."""

    done: Done
    because: str
    observed: dict[str, Any] | None = None


def passed(because: str, **observed: Any) -> Verdict:
    """A green verdict."""
    return Verdict("passed", because, observed or None)


def failed(because: str, **observed: Any) -> Verdict:
    """A red verdict."""
    return Verdict("failed", because, observed or None)


def unknown(because: str, **observed: Any) -> Verdict:
    """Nobody can tell: treated as red by every gate."""
    return Verdict("unknown", because, observed or None)
