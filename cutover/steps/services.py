"""`services`: stop systemd units, hold them down, start them."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Annotated, ClassVar

from pydantic import StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from cutover.checks import host as on_host
from cutover.checks import units
from cutover.checks.units import UnitName, UnitState, short
from cutover.model.effects import Reply
from cutover.model.kind import Acts, Check, Kind, Poll, Scope, Selectors, Stage, UnitChange
from cutover.model.verdict import Verdict, failed, passed, unknown
from cutover.steps import unit_acts
from cutover.steps.unit_acts import Goal, Place, reached

INTERVAL = 0.25
# A supervisor that brings back what is merely stopped does so within a second (RestartSec, monit's wake-up aside).
STEADY = 1.0

Judge = Callable[[Place, UnitState | None], Verdict]


class Services(Kind):
    """Stop systemd units and hold them down; start them.

    A stopped unit comes back by itself: `Restart=always`, a timer, a socket, a deploy hook, a reboot. So `stop` also
    *holds it down*: before it stops the unit it adds a drop-in, `/etc/systemd/system/UNIT.d/cutover-held.conf`, that
    asserts its own absence. While this file lies there systemd refuses every start, whoever asks for it, also after a
    reboot, and also where the unit file lies in /etc/systemd/system, which `systemctl mask` cannot do (so mask is not
    used at all). To release a unit by hand, remove the file. `start` releases a unit that is held, then starts it.

    All listed units are worked on at once, on all hosts; timers, sockets and paths after the services when stopping,
    before them when starting. A unit that is up on one site must not be up on another: before `start` acts, the hosts
    with the same role on the other sites are read, and the step waits for the unit to be down there
    (`one_site_only: false` where it may be up at several sites).

    What it proves, of `stop`: systemd has loaded the drop-in; a start is refused (tried for real, without the units
    that it depends on, and only when the hold is proved to be in place); the unit is down. Of `start`: it is up and
    stays up for a second; of a oneshot, that `systemctl start` says it ended well (or had nothing to do).

    Its way back: exactly what was there before, as it was read and journalled: held or not, up or not. A unit that
    was down already is not started. Undoing twice does no harm.

    On the hosts it runs `sudo -n` with systemctl, install, sync, mkdir, rm and rmdir.

    ```yaml
    - stop-web: {services: {stop: [mastodon-web, mastodon-streaming], on: basement.web}}
    - start-web: {services: {start: [mastodon-web, mastodon-streaming], on: hetzner.web}}
    ```
    """

    name: ClassVar[str] = "services"

    on: Selectors
    """The hosts: a host, a role (`basement.web`), a site, or a list of them."""
    stop: tuple[UnitName, ...] = ()
    """Units to stop. `.service` may be left out."""
    start: tuple[UnitName, ...] = ()
    """Units to start."""
    hold_down: bool = True
    """Whether `stop` also holds the units down."""
    one_site_only: bool = True
    """Whether these units must never be up on two sites at once."""
    stays_down: Annotated[str, StringConstraints(min_length=3)] | None = None
    """Why the units that are stopped are started nowhere else; review asks for it."""

    @model_validator(mode="after")
    def _something_to_do(self) -> "Services":
        named = (*self.stop, *self.start)
        if not named:
            raise PydanticCustomError("services", "It needs 'stop' or 'start', with units.")
        if twice := next((unit for unit in named if named.count(unit) > 1), None):
            raise PydanticCustomError("services", "It names '{unit}' twice.", {"unit": short(twice)})
        if self.stays_down and not self.stop:
            raise PydanticCustomError("services", "'stays_down' is about units to stop, and it stops none.")
        return self

    def unfold(self, scope: Scope) -> tuple[Stage, ...]:
        """Stop, prove that it cannot come back, wait until down; wait for other sites, start, wait until up."""
        return (*self._stopping(scope), *self._starting(scope))

    def checks(self, scope: Scope) -> tuple[Check, ...]:
        """The units are there, sudo works, and nothing else starts, or stops with, what is to be stopped."""
        places = self._places(scope, (*self.stop, *self.start))
        sudo = [on_host.sudo(host, f"sudo.{host}", timeout=scope.timeout) for host in scope.hosts(self.on)]
        there = [_check(place, "unit", f"{place} is there", _there, scope) for place in places]
        alone = [_alone(place, self, scope) for place in self._places(scope, self.stop)]
        return (*sudo, *there, *alone)

    def unit_changes(self, scope: Scope) -> tuple[UnitChange, ...]:
        """What is down and what is up afterwards."""
        down = [
            UnitChange(*place, False, self.one_site_only, self.stays_down) for place in self._places(scope, self.stop)
        ]
        up = [UnitChange(*place, True, self.one_site_only) for place in self._places(scope, self.start)]
        return (*down, *up)

    def _places(self, scope: Scope, named: Iterable[str]) -> list[Place]:
        return [Place(host, unit) for host in scope.hosts(self.on) for unit in named]

    def _elsewhere(self, scope: Scope) -> list[Place]:
        """The units to start, on hosts of the same roles at other sites."""
        if not self.one_site_only:
            return []
        here = scope.hosts(self.on)
        sites = {scope.site_of(host) for host in here}
        roles = {
            role for named in scope.sites.values() for role, hosts in named.items() if not set(hosts).isdisjoint(here)
        }
        others = [
            f"{site}.{role}"
            for site, named in scope.sites.items()
            if site not in sites
            for role in named
            if role in roles
        ]
        return [Place(host, unit) for host in scope.hosts(others) if host not in here for unit in self.start]

    def _stopping(self, scope: Scope) -> Iterator[Stage]:
        places = self._places(scope, self.stop)
        goal: Goal = "held" if self.hold_down else "down"
        for turn in _in_turns(places):
            yield Acts(tuple(unit_acts.stop(place, scope, goal) for place in turn))
        if places and self.hold_down:
            yield Acts(tuple(unit_acts.refuse(place, scope) for place in places))
        if places:
            checks = [_check(place, "down", f"{place} is down", partial(reached, goal), scope) for place in places]
            steady = 0.0 if self.hold_down else STEADY  # what is held down cannot come back
            yield _poll("down", f"{_list(self.stop)} to be down", checks, scope, steady)

    def _starting(self, scope: Scope) -> Iterator[Stage]:
        places = self._places(scope, self.start)
        if elsewhere := self._elsewhere(scope):
            checks = [_check(place, "elsewhere", f"{place} is down", _down_there, scope) for place in elsewhere]
            yield _poll("elsewhere", f"{_list(self.start)} to be down at the other sites", checks, scope)
        for turn in reversed(_in_turns(places)):
            yield Acts(tuple(unit_acts.start(place, scope) for place in turn))
        if places:
            checks = [_check(place, "up", f"{place} is up", partial(reached, "up"), scope) for place in places]
            yield _poll("up", f"{_list(self.start)} to be up", checks, scope, STEADY)


def _in_turns(places: list[Place]) -> list[list[Place]]:
    """First what does the work, then what triggers it: a socket cannot be started while its service runs."""
    triggers = (".timer", ".socket", ".path")
    work = [place for place in places if not place.unit.endswith(triggers)]
    return [turn for turn in (work, [place for place in places if place not in work]) if turn]


def _list(names: Iterable[str]) -> str:
    return ", ".join(short(name) for name in names)


def _there(place: Place, state: UnitState | None) -> Verdict:
    if state is None:
        return unknown(f"the state of {place} cannot be read")
    if why_not := units.missing(state, place.host):
        return failed(why_not)
    return passed(f"{place} is {state.words}", **state.observed)


def _down_there(place: Place, state: UnitState | None) -> Verdict:
    """For a unit of one site only, on a host of another site. It need not even be there."""
    if state is None:
        return unknown(f"the state of {place} cannot be read")
    if state.down:
        return passed(f"{place} is {state.words}", **state.observed)
    hint = "it must not be up on two sites at once (one_site_only: false where it may)"
    return failed(f"{place} is {state.words}; {hint}", **state.observed)


def _check(place: Place, verb: str, title: str, judge: Judge, scope: Scope) -> Check:
    def of_reply(reply: Reply) -> Verdict:
        return judge(place, units.state_in(reply, place.unit))

    effect = units.read_unit(*place, scope.timeout)
    return Check(key=place.key(verb), title=title, host=place.host, effect=effect, judge=of_reply)


def _alone(place: Place, step: Services, scope: Scope) -> Check:
    """Whether something that is up would start the unit again, or stops together with it, and is not in this step."""
    effect = on_host.reading(
        place.host,
        units.show(place.unit, *units.RELATIONS),
        ("systemctl", "list-units", "--state=active", "--plain", "--no-legend", "--no-pager"),
        timeout=scope.timeout,
    )

    def judge(reply: Reply) -> Verdict:
        state = units.state_in(reply, place.unit)
        if state is None or len(reply.commands) < 2 or reply.commands[1].exit != 0 or reply.commands[1].stdout_cut:
            return unknown(f"what else would start or stop with {place} cannot be read")
        up = units.listed(reply.commands[1].stdout) - set(step.stop)
        # A timer finds the unit held and does no harm; a socket or path would run into the hold and fail.
        starts = sorted(
            name for name in up & state.names("TriggeredBy") if not (step.hold_down and name.endswith(".timer"))
        )
        stops = sorted(up & state.names("RequiredBy", "BoundBy", "ConsistsOf"))
        found = [f"{', '.join(starts)} would start it again"] if starts else []
        found += [f"{', '.join(stops)} stops with it, and is not started again on the way back"] if stops else []
        if found:
            return failed(f"{place}: {'; '.join(found)}: stop that in this step too, before or with it")
        return passed(f"nothing else that is up would start {place} again or stop with it")

    title = f"nothing else starts, or stops with, {place}"
    return Check(key=place.key("alone"), title=title, host=place.host, effect=effect, judge=judge, red="ask")


def _poll(key: str, title: str, checks: list[Check], scope: Scope, steady: float = 0.0) -> Poll:
    return Poll(key=key, title=title, checks=tuple(checks), interval=INTERVAL, deadline=scope.timeout, steady=steady)
