"""Pins: found over SSH by reading, written beside the runbook, compared by a person and by every guard.

`cutover pin` finds them over connections that are verified already (by the pins so far or by known_hosts), so what
is written is what a person trusted before, and a change is shown as a difference to be reviewed.
"""

import asyncio
import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

import pydantic

from cutover.errors import PinningFailed
from cutover.model.effects import Command, CommandReply, OnHost, Reply
from cutover.model.pins import HostPins, Pins, UnitPin
from cutover.model.plan import Plan
from cutover.model.text import visible_bytes
from cutover.planning import database_pins
from cutover.planning.diagnostics import Diagnostic, did_you_mean
from cutover.planning.tree import Map
from cutover.planning.validate import validate
from cutover.planning.yaml_tree import parse
from cutover.ports import World

HOST_KEYS = tuple(f"/etc/ssh/ssh_host_{kind}_key.pub" for kind in ("ecdsa", "ed25519", "rsa"))

_HEADER = """\
# Who the hosts of the runbook beside this file are, found by `cutover pin` over verified connections.
# Review every change before committing it: the tool acts on no host that is not what is written here.
"""


def read(
    text: str, file: str, hosts: Collection[str], databases: Collection[str] = ()
) -> tuple[Pins | None, list[Diagnostic]]:
    """Read a pins file; a pinned host or database that the runbook does not have is a slip."""
    tree, found = parse(text, file)
    if tree is None or found:
        return None, found
    pins, found = validate(Pins, tree, file)
    for section, what, known in (("hosts", "host", hosts), ("databases", "database", databases)):
        written = tree.child(section)
        for name, entry in written.entries.items() if pins and isinstance(written, Map) else ():
            if name not in known:
                hint = did_you_mean(name, known) or "Run `cutover pin` again."
                message = f"'{name}' is pinned, and the runbook has no such {what}."
                found.append(Diagnostic.at(entry.key.span, file, message, hint=hint))
    return pins, found


def written(pins: Pins) -> str:
    """Return the text of a pins file: sorted, everything quoted, so that a difference is a difference."""
    lines = [_HEADER, f"version: {pins.version}", "hosts:"]
    for name, host in sorted(pins.hosts.items()):
        lines += [f"  {_quoted(name)}:", f"    machine_id: {_quoted(host.machine_id)}", "    host_keys:"]
        lines += [f"      - {_quoted(key)}" for key in sorted(host.host_keys)]
        if host.systemd is not None:
            lines.append(f"    systemd: {_quoted(host.systemd)}")
        if host.units:
            lines.append("    units:")
        for unit, pin in sorted(host.units.items()):
            lines += [f"      {_quoted(unit)}:", f"        fragment: {_quoted(pin.fragment)}"]
            lines.append(f"        sha256: {_quoted(pin.sha256)}")
    if pins.databases:
        lines.append("databases:")
    for name, database in sorted(pins.databases.items()):
        lines.append(f"  {_quoted(name)}:")
        lines += [f"    {field}: {json.dumps(value)}" for field, value in database.model_dump().items()]
    return "\n".join(lines) + "\n"


def diff(old: Pins | None, new: Pins) -> list[str]:
    """Say for a person, one line each, what is not as it was pinned; nothing when all is."""
    before, after = _facts(old) if old else {}, _facts(new)
    lines = []
    for name in sorted(before.keys() | after.keys()):
        was, now = before.get(name), after.get(name)
        if was == now:
            continue
        if was is None:
            lines.append(f"+ {name}: {now}")
        elif now is None:
            lines.append(f"- {name}: {was}")
        else:
            lines.append(f"~ {name}: was {was}, is {now}")
    return lines


async def collect(world: World, plan: Plan, *, timeout: float = 30.0) -> Pins:
    """Find who every host of the plan is. Changes nothing. Raises PinningFailed, naming every host that did not answer.

    The held connections must be open.
    """
    units = units_of(plan)
    found = await asyncio.gather(
        *(collect_host(world, name, units.get(name, ()), timeout=timeout) for name in plan.hosts),
        return_exceptions=True,
    )
    failures = [each for each in found if isinstance(each, BaseException)]
    for failure in failures:
        if not isinstance(failure, PinningFailed):
            raise failure
    if failures:
        raise PinningFailed("\n".join(str(failure) for failure in failures))
    hosts = {name: each for name, each in zip(plan.hosts, found, strict=True) if isinstance(each, HostPins)}
    return Pins(version=1, hosts=hosts, databases=await database_pins.collect(world, plan, timeout))


def units_of(plan: Plan) -> dict[str, tuple[str, ...]]:
    """Return the units that a plan stops or starts, by host."""
    units: dict[str, dict[str, None]] = {}
    for step in plan.steps:
        scope = replace(plan.scope, step=step.name, timeout=step.timeout)
        for change in step.kind.unit_changes(scope):
            units.setdefault(change.host, {})[change.unit] = None
    return {host: tuple(sorted(names)) for host, names in units.items()}


async def collect_host(world: World, host: str, units: Iterable[str], *, timeout: float) -> HostPins:
    """Find who one host is, and which files its units come from. Raises PinningFailed."""
    names = tuple(units)
    show = Command(("systemctl", "show", "--property=Id,FragmentPath", "--", *names))
    # The keys come last: a sequence stops at the first command that fails, and `cat` does when one of them is missing.
    commands = (
        Command(("cat", "/etc/machine-id")),
        Command(("systemctl", "--version")),
        *([show] if names else []),
        Command(("cat", *HOST_KEYS)),
    )
    answers = _answers(host, await _read(world, host, commands, timeout), len(commands))
    fragments = dict(zip(names, _fragments(answers[2]), strict=False)) if names else {}
    missing = [unit for unit in names if not fragments.get(unit)]
    if missing:
        raise PinningFailed(f"{host} has no unit {', '.join(missing)}.")
    hashes = await _hashes(world, host, sorted(set(fragments.values())), timeout)
    try:
        return HostPins(
            machine_id=answers[0].strip(),
            host_keys=tuple(sorted(_keys(answers[-1]))),
            systemd=" ".join(answers[1].split()[:2]) or None,
            units={unit: UnitPin(fragment=path, sha256=hashes[path]) for unit, path in fragments.items()},
        )
    except (pydantic.ValidationError, KeyError):
        raise PinningFailed(f"{host} did not answer as a host with systemd and OpenSSH does.") from None


async def _hashes(world: World, host: str, paths: list[str], timeout: float) -> dict[str, str]:
    """Return the SHA-256 of each file."""
    if not paths:
        return {}
    (listing,) = _answers(host, await _read(world, host, (Command(("sha256sum", "--", *paths)),), timeout), 1)
    return {path: line.split()[0] for path, line in zip(paths, listing.splitlines(), strict=False) if line}


async def _read(world: World, host: str, commands: tuple[Command, ...], timeout: float) -> Reply:
    return await world.perform(OnHost(host=host, commands=commands, timeout=timeout, reads=True))


def _answers(host: str, reply: Reply, expected: int) -> list[str]:
    """Return what each command printed; of several, the last may have failed in part. Raises PinningFailed."""
    if reply.outcome != "answered":
        raise PinningFailed(f"{host}: {reply.detail or reply.code or 'no answer'}")
    failed = [each for each in reply.commands if each.exit != 0]
    complete = len(reply.commands) == expected
    if not complete or (failed and (expected == 1 or failed != [reply.commands[-1]])):
        raise PinningFailed(f"{host}: {_complaint(failed)}")
    return [each.stdout.decode(errors="replace") for each in reply.commands]


def _complaint(failed: list[CommandReply]) -> str:
    said = visible_bytes(failed[0].stderr).strip() if failed else ""
    return said or "a reading command failed there and said nothing."


def _keys(text: str) -> Iterator[str]:
    """Return each public key without its comment."""
    for line in text.splitlines():
        if len(words := line.split()) >= 2:
            yield f"{words[0]} {words[1]}"


def _fragments(shown: str) -> list[str]:
    """Return the unit file of each unit, in the order that they were asked for."""
    blocks = shown.strip("\n").split("\n\n")
    return [dict(line.partition("=")[::2] for line in block.splitlines()).get("FragmentPath", "") for block in blocks]


def _facts(pins: Pins) -> dict[str, str]:
    """Flatten pins to one line each."""
    facts: dict[str, str] = {}
    for name, host in pins.hosts.items():
        facts[f"{name} machine id"] = host.machine_id
        facts |= {f"{name} host key {key.split()[0]}": key.split()[1] for key in host.host_keys}
        if host.systemd is not None:
            facts[f"{name} version"] = host.systemd
        for unit, pin in host.units.items():
            facts[f"{name} {unit}"] = f"{pin.fragment} (sha256 {pin.sha256})"
    for name, database in pins.databases.items():
        facts |= {f"database {name} {field}": str(value) for field, value in database.model_dump().items()}
    return facts


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
