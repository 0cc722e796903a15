"""Points of no return, and the way back from every position of a plan.

The *soft* point is the first hand-over of data: from there on going back loses nothing only while nobody but the
engine has written on the new side. The *hard* point is the first moment at which work that the engine did not ask for
can reach the new side; from there on there is no way back but a second cutover. Both are where the stages of the
steps put them; a plan with a hard point and no soft one hands its data over there.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from cutover.model.kind import Act, Acts, Point
from cutover.model.plan import Plan, Step
from cutover.model.units import show_duration

# What taking back one group of acts takes when nobody has measured it: a held connection, a service that starts.
ROUGHLY = 2.0


@dataclass(frozen=True, slots=True)
class Points:
    """The steps that cross each point, in the plan's order; a plan without a soft one has it where the hard one is."""

    softs: tuple[str, ...]
    hards: tuple[str, ...]

    @property
    def soft(self) -> str | None:
        """The first step that goes over the soft point."""
        return next(iter(self.softs), None)

    @property
    def hard(self) -> str | None:
        """The first step that goes over the hard point."""
        return next(iter(self.hards), None)


@dataclass(frozen=True, slots=True)
class Back:
    """One step of a way back: what is undone. stays: why nothing of it is, where something is left as it is."""

    step: str
    undo: tuple[Act, ...]
    stays: str | None = None


@dataclass(frozen=True, slots=True)
class WayBack:
    """The way back from one position.

    closed: why there is none. loses: what going back could lose, in words. seconds: roughly, as nothing is measured
    while planning.
    """

    steps: tuple[Back, ...]
    closed: str | None
    loses: str | None
    seconds: float

    @property
    def lossless(self) -> bool:
        """Whether going back loses nothing, whatever happens."""
        return self.closed is None and self.loses is None

    def __str__(self) -> str:
        """In one line, for a person."""
        if self.closed is not None:
            return f"closed: {self.closed}"
        if not self.steps:
            return "nothing to take back"
        undone = [back.step for back in self.steps if back.undo]
        stays = [back.step for back in self.steps if not back.undo]
        said = [f"take back {some(undone)}" if undone else "", f"leave {some(stays)} as it is" if stays else ""]
        what = self.loses or "lossless"
        return f"{what}; {', '.join(filter(None, said))}; about {show_duration(self.seconds)}"


def points_of(plan: Plan) -> Points:
    """Find both points."""
    soft, hard = _crossing(plan, "soft"), _crossing(plan, "hard")
    return Points(soft or hard, hard)


def way_back(plan: Plan, done: Collection[str], measured: Mapping[str, float] | None = None) -> WayBack:
    """Return the way back once the steps `done` are done.

    measured: how long taking a step back takes, in seconds, where that is known.
    """
    points = points_of(plan)
    taken = [step for step in reversed(plan.steps) if step.name in done]
    steps = tuple(back for step in taken if (back := _back(step)) is not None)
    seconds = sum(_seconds(step, measured or {}) for step in taken)
    return WayBack(steps, _closed(points, done), _loses(points, done), seconds)


def ways_back(plan: Plan) -> Iterator[tuple[str, WayBack]]:
    """Yield the way back after each step, when the steps are done in the plan's order."""
    points = points_of(plan)
    done: set[str] = set()
    steps: tuple[Back, ...] = ()
    seconds = 0.0
    for step in plan.steps:
        done.add(step.name)
        if (back := _back(step)) is not None:
            steps = (back, *steps)
            seconds += _seconds(step, {})
        yield step.name, WayBack(steps, _closed(points, done), _loses(points, done), seconds)


def undo_of(act: Act) -> Act | None:
    """Return what takes an act back, as far as it is known before anything was read."""
    return act.undo(None) if act.undo is not None else None


def some(names: Sequence[str]) -> str:
    """Name a few of them."""
    shown = ", ".join(names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"


def _crossing(plan: Plan, point: Point) -> tuple[str, ...]:
    return tuple(step.name for step in plan.steps if point in step.points)


def _back(step: Step) -> Back | None:
    """Return what going back does about a step; nothing where it changed nothing."""
    undo = tuple(undone for act in reversed(step.acts) if (undone := undo_of(act)) is not None)
    if undo:
        return Back(step.name, undo)
    if step.no_way_back is not None:
        return Back(step.name, (), step.no_way_back)
    return None


def _seconds(step: Step, measured: Mapping[str, float]) -> float:
    if step.name in measured:
        return measured[step.name]
    return ROUGHLY * sum(isinstance(stage, Acts) and any(map(undo_of, stage.acts)) for stage in step.stages)


def _closed(points: Points, done: Collection[str]) -> str | None:
    crossed = next((name for name in points.hards if name in done), None)
    return f"{crossed} was the hard point of no return; back means a second cutover the other way" if crossed else None


def _loses(points: Points, done: Collection[str]) -> str | None:
    crossed = next((name for name in points.softs if name in done), None)
    return f"lossless only while nobody but the engine has written on the new side since {crossed}" if crossed else None
