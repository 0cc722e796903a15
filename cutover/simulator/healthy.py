"""The healthy world of a plan: what must be there for every step to go well, and nothing else.

Identities come from the pins, or are made up from the host's name where there are none. What the plan stops is up
beforehand, what it starts is installed and down. What a `command` step does is a fact: its `do` sets it, its `undo`
clears it, its `probe` reads it. A URL answers what a step hopes for once the services are as the steps before it
leave them; a measured URL that no step checks answers while any service of the plan is up anywhere.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import replace

from cutover.model.effects import CommandReply, Http, OnHost, Reply, sealed_text
from cutover.model.kind import Act, Check, Poll, UnitChange
from cutover.model.plan import Plan, PlannedHost, Step
from cutover.simulator import systemd
from cutover.simulator.channels import board_of
from cutover.simulator.fleet import Fleet, UnitIs, Url
from cutover.simulator.host import Fact, Host, Unit

STATUSES = (200, *range(100, 600))
"""What a URL may be hoped to answer, tried in this order."""


def healthy(plan: Plan, *, login: str = "deploy") -> Fleet:
    """The world in which this plan goes well."""
    hosts = {planned.name: _host(planned, login) for planned in plan.hosts.values()}
    urls: dict[str, list[Url]] = {}
    for step in plan.steps:
        scope = replace(plan.scope, step=step.name, timeout=step.timeout)
        for change in step.kind.unit_changes(scope):
            _install(hosts[change.host], change)
        for act in step.acts:
            if step.kind.name == "command" and isinstance(act.effect, OnHost):
                _learn(hosts[act.effect.host], f"{step.name}/{act.key}", act)
        for check in _checks(step):
            if isinstance(check.effect, Http):
                urls.setdefault(sealed_text(check.effect.url), []).append(_hoped(plan, step, check))
    services = tuple(
        UnitIs(name, unit.name) for name, host in hosts.items() for unit in host.units.values() if not unit.triggers
    )
    for measure in plan.measures.values():
        urls.setdefault(measure.get or measure.post or "", [Url(status=measure.expect, any_of=services)])
    return Fleet(hosts=hosts, urls=urls, boards=dict(map(board_of, plan.channels.values())))


def machine_id(name: str) -> str:
    """The machine id of a host that is not pinned."""
    return hashlib.sha256(f"simulated {name}".encode()).hexdigest()[:32]


def _host(planned: PlannedHost, login: str) -> Host:
    keys = planned.host_keys or (f"ssh-ed25519 {'A' * 8}{machine_id(planned.name)}",)
    files = {_key_file(key): f"{key} root@{planned.name}\n" for key in keys}
    return Host(
        name=planned.name, machine_id=planned.machine_id or machine_id(planned.name), login=planned.user or login,
        pinned=planned.machine_id, files=files,
    )  # fmt: skip


def _key_file(key: str) -> str:
    word = key.split()[0]
    kind = "ecdsa" if "ecdsa" in word else word.removeprefix("ssh-")
    return f"/etc/ssh/ssh_host_{kind}_key.pub"


def _install(host: Host, change: UnitChange) -> None:
    # The first step that names a unit says how it was before: what is stopped first was up, and enabled.
    name = systemd.full_name(change.unit)
    if name in host.units:
        return
    timer = name.endswith(".timer")
    target = name.removesuffix(".timer") + ".service" if timer else ""
    was_up = not change.up
    unit = Unit(
        name=name, description=name.partition(".")[0], enabled=was_up, triggers=target, every=60.0 if timer else 0.0,
        restart="no" if timer else "always",
    )  # fmt: skip
    host.units[name] = unit
    host.files[unit.fragment] = f"[Unit]\nDescription={unit.description}\n"
    if target and target not in host.units:
        _install(host, UnitChange(host.name, target, up=True))
        service = host.units[target]
        service.type, service.installable, service.restart = "oneshot", False, "no"
    if was_up:
        systemd.bring_up(host, unit)


def _learn(host: Host, fact: str, act: Act) -> None:
    _mean(host, act, Fact(fact=fact, does="set"))
    undo = act.undo(None) if act.undo else None
    if undo:
        _mean(host, undo, Fact(fact=fact, does="clear"))
    for probed, doing in ((act, "done"), (undo, "not_done")):
        # An undo's probe calls its own work done when the fact is clear.
        if probed and probed.probe and isinstance(probed.probe.effect, OnHost):
            exits = {word: _exit_that_says(probed, word) for word in ("done", "not_done")}
            other = "not_done" if doing == "done" else "done"
            meaning = Fact(fact=fact, does="read", done=exits[doing], not_done=exits[other])
            for command in probed.probe.effect.commands[-1:]:
                known = host.meanings.setdefault("\0".join(command.argv), [])
                if not any(each.does == "read" for each in known):
                    known.append(meaning)


def _mean(host: Host, act: Act, meaning: Fact) -> None:
    # Of several commands, the last one makes it so: before it, it is done by half.
    if isinstance(act.effect, OnHost):
        keys = ["\0".join(command.argv) for command in act.effect.commands]
        for key in keys:
            host.meanings.setdefault(key, [])
        host.meanings[keys[-1]].append(meaning)


def _exit_that_says(act: Act, word: str) -> int:
    assert act.probe is not None
    judge = act.probe.judge
    exits = (n for n in range(256) if judge(_replied(n), _replied(n)).done == word)
    return next(exits, 0 if word == "done" else 3)


def _replied(exit: int) -> Reply:
    return Reply(outcome="answered", commands=(CommandReply(exit),))


def _checks(step: Step) -> Iterator[Check]:
    yield from step.checks
    for stage in step.stages:
        if isinstance(stage, Poll):
            yield from stage.checks


def _hoped(plan: Plan, step: Step, check: Check) -> Url:
    before: dict[tuple[str, str], UnitIs] = {}
    for earlier in _before(plan, step):
        for change in earlier.kind.unit_changes(replace(plan.scope, step=earlier.name, timeout=earlier.timeout)):
            if not change.unit.endswith(".timer"):
                before[change.host, change.unit] = UnitIs(change.host, change.unit, change.up)
    headers = tuple(getattr(step.kind, "answers", {}).items())
    body = getattr(step.kind, "body_has", None) or ""
    # The status is asked of the kind's own judge, so that no kind needs to be known here.
    replies = (Reply(outcome="answered", status=n, headers=headers, body=body.encode()) for n in STATUSES)
    status = next((reply.status for reply in replies if check.judge(reply).passed), None)
    return Url(status=status or 200, body=body, headers=headers, all_of=tuple(before.values()))


def _before(plan: Plan, step: Step) -> list[Step]:
    """The steps that come before this one in every order, in the plan's order."""
    needed = set(step.needs)
    for earlier in reversed(plan.steps):
        if earlier.name in needed:
            needed |= set(earlier.needs)
    return [earlier for earlier in plan.steps if earlier.name in needed]
