"""Acts upon one systemd unit on one host: stop, hold down, release, start, and each one's way back.

Every act leads to a goal (up; down; down and held; down and not held) from wherever the unit is, may be done twice,
and ends with the reading that proves it. What an act replaced is the state read before it; its undo leads there.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

from cutover.checks import host as on_host
from cutover.checks import units
from cutover.checks.units import UnitState, short
from cutover.model.effects import Command, Guard, OnHost, Reply
from cutover.model.kind import Act, Probe, Scope
from cutover.model.verdict import Probed, Verdict, failed, passed, unknown


class Place(NamedTuple):
    """A unit on a host."""

    host: str
    unit: str

    def __str__(self) -> str:
        """For a sentence."""
        return f"{short(self.unit)} on {self.host}"

    def key(self, verb: str) -> str:
        """A key that no other pair has: dots in the host's name are doubled, and no unit begins with one."""
        return f"{verb}.{self.host.replace('.', '..')}.{self.unit}"


Goal = Literal["up", "down", "held", "free"]
"""Where an act brings a unit: up; down; down and held; down and not held."""

Undo = Callable[[Reply | None], Act | None]


def _root(*argv: str, stdin: str = "") -> Command:
    return Command((*on_host.AS_ROOT, *argv), (stdin,) if stdin else ())


def _hold(unit: str) -> Iterator[Command]:
    """Hold it down: the file whole and durable first, then loaded. A unit that runs is not disturbed."""
    path = units.hold_file(unit)
    yield _root("install", "-D", "-m", "0644", "/dev/stdin", path, stdin=units.hold_text(unit))
    yield _root("sync", path, path.rpartition("/")[0], units.UNIT_DIRECTORY)
    yield _root("systemctl", "daemon-reload")


def _release(unit: str) -> Iterator[Command]:
    """Release it, whether it is held or not; the directory goes too, when nothing else is in it.

    mkdir lets rmdir succeed also where there is no directory. (`find` would stumble over what others remove beside it.)
    """
    directory, _, name = units.hold_file(unit).rpartition("/")
    yield _root("rm", "-f", f"{directory}/{name}")
    yield _root("mkdir", "-p", directory)
    yield _root("rmdir", "--ignore-fail-on-non-empty", directory)
    yield _root("sync", units.UNIT_DIRECTORY)
    yield _root("systemctl", "daemon-reload")


def _nothing(unit: str) -> Iterator[Command]:  # noqa: ARG001 - as its siblings
    yield from ()


def _effect(place: Place, commands: Iterable[Command], scope: Scope, guards: tuple[Guard, ...] = ()) -> OnHost:
    return OnHost(host=place.host, commands=tuple(commands), timeout=scope.timeout, guards=guards, idempotent=True)


def _reach(goal: Goal, place: Place, scope: Scope) -> OnHost:
    """What brings a unit there from wherever it is; doing it twice does no harm. Its last answer is the new state."""
    unit = place.unit
    hold = {"held": _hold, "free": _release, "up": _release}.get(goal, _nothing)
    move = _root("systemctl", "start" if goal == "up" else "stop", unit)
    return _effect(place, (*hold(unit), move, Command(units.show(unit))), scope)


def _act(verb: str, title: str, goal: Goal, place: Place, scope: Scope, undo: Undo | None = None) -> Act:
    effect, reading = _reach(goal, place, scope), units.read_unit(*place, scope.timeout)

    def judge(reply: Reply) -> Verdict:
        if failure := on_host.first_failure(place.host, [command.argv for command in effect.commands], reply):
            return failed(f"{title}: {failure}")
        return reached(goal, place, units.state_in(reply, place.unit, len(effect.commands) - 1))

    def probe(reply: Reply, before: Reply | None) -> Probed:
        return _probed(goal, place, units.state_in(reply, place.unit), units.state_in(before, place.unit))

    return Act(
        key=place.key(verb),
        title=title,
        effect=effect,
        host=place.host,
        disruptive=goal != "up",
        before=reading if undo else None,
        probe=Probe(effect=reading, judge=probe),
        judge=judge,
        undo=undo,
    )


def stop(place: Place, scope: Scope, goal: Goal) -> Act:
    """Stop it; goal: held or down."""

    def undo(before: Reply | None) -> Act | None:
        was = _was(before, place, "up")
        return None if was == goal or (goal == "down" and was != "up") else _restore("undo-stop", was, place, scope)

    title = f"stop {place}{' and hold it down' if goal == 'held' else ''}"
    return _act("stop", title, goal, place, scope, undo)


def start(place: Place, scope: Scope) -> Act:
    """Release it if it is held, and start it."""

    def undo(before: Reply | None) -> Act | None:
        was = _was(before, place, "free")
        goal: Goal = "held" if was == "held" else "down"
        return None if was == "up" else _restore("undo-start", goal, place, scope)

    return _act("start", f"start {place}", "up", place, scope, undo)


def _was(before: Reply | None, place: Place, planned: Goal) -> Goal:
    """The goal that was reached before the act; `planned` while planning, when nothing has been read."""
    state = units.state_in(before, place.unit)
    if state is None:
        return planned
    if state.wanted_up:
        return "up"
    return "free" if state.hold == "free" else "held"


def _restore(verb: str, goal: Goal, place: Place, scope: Scope) -> Act:
    words = {
        "up": "start {} again",
        "down": "stop {} again",
        "held": "stop {} and hold it down again",
        "free": "have {} down, not held, as before",
    }
    return _act(verb, words[goal].format(place), goal, place, scope)


def refuse(place: Place, scope: Scope) -> Act:
    """Try to start it, which must fail. Guards make sure that it will: the hold is on the disk, and loaded.

    Without its dependencies, lest the proof start what the unit wants or requires.
    """
    unit = place.unit
    fresh = ("systemctl", "show", "--property=NeedDaemonReload", unit)
    guards = (
        Guard(("cat", units.hold_file(unit)), units.hold_text(unit).rstrip("\n"), f"{place} is not held down"),
        Guard(fresh, "NeedDaemonReload=no", f"what systemd has loaded for {place} is not what lies on the disk"),
    )
    effect = _effect(place, [_root("systemctl", "start", "--job-mode=ignore-dependencies", unit)], scope, guards)

    def judge(reply: Reply) -> Verdict:
        if not reply.commands:
            return unknown(f"whether {place} refuses to start cannot be read")
        answer = reply.commands[0]
        if answer.exit == 0:
            return failed(f"{place} could be started although it is held down; it may be up now")
        if b"ssertion failed" not in answer.stderr:
            return unknown(f"{place} did not start, but not because of the hold{on_host.said(answer)}")
        return passed(f"{place} refuses to start{on_host.said(answer)}", exit=answer.exit)

    def probe(reply: Reply, _: Reply | None) -> Probed:
        # systemd forgets a refused start as soon as it unloads the unit, so it is simply tried again.
        verdict = reached("held", place, units.state_in(reply, unit))
        if not verdict.passed:
            return Probed("unknown", verdict.because, verdict.observed)
        return Probed("not_done", f"{verdict.because}; that it refuses to start is to be proved again")

    return Act(
        key=place.key("refuse"),
        title=f"prove that {place} refuses to start",
        effect=effect,
        host=place.host,
        disruptive=False,
        probe=Probe(effect=units.read_unit(*place, scope.timeout), judge=probe),
        judge=judge,
        undo=lambda _: None,
    )


def reached(goal: Goal, place: Place, state: UnitState | None) -> Verdict:
    """Whether the unit is where it should be. A oneshot at rest counts as up: that it ran, the start's exit said."""
    if state is None:
        return unknown(f"the state of {place} cannot be read")
    if why_not := units.missing(state, place.host):
        return unknown(why_not)
    there = {
        "up": (state.running or state.rests) and state.hold == "free",  # up and held is the half of a stop
        "down": state.down,
        "held": state.down and state.hold == "held",
        "free": state.down and state.hold == "free",
    }[goal]
    if there:
        return passed(f"{place} is {state.words}", **state.observed)
    wanted = {
        "up": "up" if state.hold == "free" else "up and not held",
        "down": "down",
        "held": "down and held",
        "free": "down and not held",
    }[goal]
    skipped = goal == "up" and state["ActiveState"] == "inactive" and state["ConditionResult"] == "no"
    why = "; a condition in its unit file is not met, or it ended at once" if skipped else ""
    return failed(f"{place} is {state.words}; expected {wanted}{why}", **state.observed)


def _probed(goal: Goal, place: Place, state: UnitState | None, before: UnitState | None) -> Probed:
    """Whether an act that leads to the goal is done."""
    verdict = reached(goal, place, state)
    if verdict.finding == "unknown" or state is None:
        return Probed("unknown", verdict.because)
    if goal == "up" and state.rests and verdict.passed:
        return _ran(place, state, before)
    if verdict.passed:
        return Probed("done", verdict.because, verdict.observed)
    if goal == "up":
        moving = state["ActiveState"] in ("activating", "deactivating") and state["SubState"] != "auto-restart"
        return Probed("partly" if moving else "not_done", verdict.because, verdict.observed)
    untouched = state.wanted_up and (goal != "held" or state.hold == "free")
    unheld = goal == "held" and state.down and state.hold == "free"
    return Probed("not_done" if untouched or unheld else "partly", verdict.because, verdict.observed)


def _ran(place: Place, state: UnitState, before: UnitState | None) -> Probed:
    """Whether a oneshot that rests has run since: only while systemd still knows its last invocation."""
    now, then = state["InvocationID"], before["InvocationID"] if before else ""
    if not now:
        return Probed("unknown", f"{place} is a oneshot at rest, and systemd does not remember whether it has run")
    because = (
        f"{place} is a oneshot at rest; its last invocation is {now[:8]}, before the act it was {then[:8] or 'none'}"
    )
    return Probed("not_done" if now == then else "done", because, state.observed)
