"""Where runs live: the state directory of this user, and one directory per run in it."""

import os
import re
import stat
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from random import Random

from platformdirs import user_state_path

from cutover.errors import JournalError, RunNotFound
from cutover.model.text import visible_line

VARIABLE = "CUTOVER_STATE_DIR"
"""Environment variable that names the state directory instead of the platform's own place."""

LAST = "last"
"""Stands for the run that was started or resumed last; what people mean by it is `wiring.find_run`."""

_ID = re.compile(r"[0-9a-f]{6}")


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """The directory of one run and the names in it."""

    path: Path

    @property
    def id(self) -> str:
        """The run's id: six lowercase hexadecimal digits."""
        return self.path.name

    @property
    def journal(self) -> Path:
        """The journal; SQLite and the head keep their companions beside it."""
        return self.path / "journal.db"

    @property
    def lock(self) -> Path:
        """Held by the engine that drives the run."""
        return self.path / "lock"

    @property
    def reserve(self) -> Path:
        """Room kept for a full disk."""
        return self.path / "reserve"

    @property
    def socket(self) -> Path:
        """Where the engine answers its clients."""
        return self.path / "engine.sock"

    @property
    def log(self) -> Path:
        """What the engine's process says to nobody else."""
        return self.path / "engine.log"


def state_directory() -> Path:
    """The state directory, made with mode 0700 if need be.

    A mode that lets others in is narrowed when the directory is empty or holds runs. Raises JournalError when it
    belongs to another user, is open to others and holds something else, or cannot be made.
    """
    named = os.environ.get(VARIABLE)
    path = Path(named).expanduser().absolute() if named else user_state_path("cutover")
    where = visible_line(str(path))
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.stat()
    except OSError as problem:
        raise JournalError(f"The state directory {where} cannot be made: {problem.strerror}.") from problem
    if found.st_uid != os.geteuid():
        raise JournalError(
            f"The state directory {where} belongs to another user (uid {found.st_uid}): runs are not kept there. "
            f"Name one of your own in {VARIABLE}."
        )
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        if not _ours(path):
            raise JournalError(
                f"The state directory {where} is open to others (mode {mode:o}) and holds other things than runs. "
                f"Name one of your own in {VARIABLE}; it is made if it does not exist."
            )
        path.chmod(0o700)
    return path


def run_directory(run: str) -> RunDirectory:
    """The directory of the run with this id, which need not exist. Raises RunNotFound for what cannot be an id."""
    if not _ID.fullmatch(run):
        raise RunNotFound(f"'{visible_line(run)}' is no run's id: an id has six hexadecimal digits, like 7f3a9c.")
    return RunDirectory(_runs() / run)


def new_run_id(random: Random) -> str:
    """An id like `7f3a9c` that no run under the state directory has, and its directory, made: the id is taken."""
    runs = _runs()
    while True:
        run = f"{random.getrandbits(24):06x}"
        try:
            (runs / run).mkdir(mode=0o700)
        except FileExistsError:
            continue
        return run


def list_runs() -> list[RunDirectory]:
    """The runs that have a journal, the one started or resumed last first."""
    found = [RunDirectory(path) for path in _runs().iterdir() if _ID.fullmatch(path.name)]
    return sorted((run for run in found if run.journal.exists()), key=_started, reverse=True)


def resolve_run(name: str) -> RunDirectory:
    """The run whose id is or begins with `name`, or for "last" the latest one.

    Raises RunNotFound, with what may have been meant.
    """
    runs = list_runs()
    if not runs:
        raise RunNotFound(f"There are no runs yet under {visible_line(str(_runs().parent))}.")
    if name == LAST:
        return runs[0]
    matching = [run for run in runs if name and run.id.startswith(name.lower())]
    if len(matching) == 1:
        return matching[0]
    shown = f"'{visible_line(name)}'"
    if matching:
        raise RunNotFound(f"{shown} could be any of {', '.join(sorted(run.id for run in matching))}.")
    near = get_close_matches(name.lower(), [*(run.id for run in runs), LAST], n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"the latest is {runs[0].id}; `cutover runs` lists them all."
    raise RunNotFound(f"There is no run {shown}: {hint}")


def _runs() -> Path:
    runs = state_directory() / "runs"
    runs.mkdir(mode=0o700, exist_ok=True)
    return runs


def _ours(path: Path) -> bool:
    """Whether narrowing its mode shuts nobody out. /tmp, say, or a home directory must stay as they are."""
    names = {entry.name for entry in path.iterdir()}
    return not names or ("runs" in names and not path.stat().st_mode & stat.S_ISVTX)


def _started(run: RunDirectory) -> tuple[int, str]:
    """The lock is rewritten by each engine that starts."""
    file = run.lock if run.lock.exists() else run.journal
    return file.stat().st_mtime_ns, run.id
