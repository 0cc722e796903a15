"""Verdicts: what a check, a guard, a probe or a poll found, always with the sentence that says why."""

from dataclasses import dataclass
from typing import Any, Literal

Finding = Literal["passed", "failed", "unknown"]
Done = Literal["done", "not_done", "partly", "unknown"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A check's or a poll's answer. `unknown` is never green: a missing, stale or vacuous reading is unknown.

    because: one sentence with the numbers compared. observed: those numbers, JSON-ready. nothing_done: of an act that
    failed: it certainly changed nothing. again_in: and whoever refused it asked to be left alone for so many seconds.
    """

    finding: Finding
    because: str
    observed: dict[str, Any] | None = None
    nothing_done: bool = False
    again_in: float | None = None

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


def refused(because: str, again_in: float | None = None) -> Verdict:
    """A red verdict on an act that certainly changed nothing; again_in: seconds after which it may be tried again."""
    return Verdict("failed", because, nothing_done=True, again_in=again_in)
