"""One tree of exceptions. The docstring is the first half of the message; each class has one exit code.

The table of exit codes (the only one): 0 as hoped, 1 failed, 2 usage or invalid runbook, 3 waits for a person,
4 rolled back, 5 stuck, 6 in doubt, 7 violation found, 8 over budget, 70 bug, 130 interrupted.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """What the process says to a script when it ends."""

    OK = 0
    FAILED = 1
    USAGE = 2
    WAITS = 3
    ROLLED_BACK = 4
    STUCK = 5
    IN_DOUBT = 6
    VIOLATION = 7
    OVER_BUDGET = 8
    BUG = 70
    INTERRUPTED = 130


class CutoverError(Exception):
    """The run cannot go on."""

    exit_code = ExitCode.FAILED

    def __init__(self, message: str | None = None) -> None:
        """Say what happened and the way out; the class's docstring serves where nothing is given."""
        super().__init__(message or (type(self).__doc__ or "").strip())


class UsageError(CutoverError):
    """The command was called with words it does not take."""

    exit_code = ExitCode.USAGE


class RunbookInvalid(CutoverError):
    """The runbook does not load or does not pass review."""

    exit_code = ExitCode.USAGE


class PlanChanged(CutoverError):
    """The plan is not the one that the run was started with."""

    exit_code = ExitCode.USAGE


class RunNotFound(CutoverError):
    """There is no such run under the state directory."""

    exit_code = ExitCode.USAGE


class PinningFailed(CutoverError):
    """Not every host could be pinned."""


class PreflightFailed(CutoverError):
    """A precondition is not met."""


class ClaimRefused(CutoverError):
    """Another engine holds a host that this plan acts upon."""

    exit_code = ExitCode.FAILED


class EngineRunning(CutoverError):
    """An engine already drives this run."""

    exit_code = ExitCode.FAILED


class EngineGone(CutoverError):
    """No engine answers for this run."""

    exit_code = ExitCode.FAILED


class JournalError(CutoverError):
    """The journal cannot be written or read."""

    exit_code = ExitCode.STUCK


class JournalFull(JournalError):
    """There is no room left for the journal."""


class JournalCorrupt(JournalError):
    """The journal's chain is broken."""

    exit_code = ExitCode.VIOLATION


class IllegalMove(CutoverError):
    """The table of states has no such move: this is a bug in cutover."""

    exit_code = ExitCode.BUG


class NoRule(CutoverError):
    """The simulated world has no answer for this."""

    exit_code = ExitCode.USAGE


class SecretUnavailable(CutoverError):
    """A secret could not be read."""
