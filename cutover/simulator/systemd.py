"""systemd on a simulated host: what starts, stops, is held down, and comes back.

Held against systemd 252 by the table in tests/simulator/contract.yaml. Three of its habits matter most here:

- A drop-in counts once it is loaded. A unit that is active, enabled or triggered by a timer stays loaded until a
  daemon-reload; any other is read again from disk each time somebody asks for it.
- NeedDaemonReload does not see a drop-in in a directory that is itself new: only DropInPaths proves that it is loaded.
- A unit file in /etc/systemd/system cannot be masked.
"""

import hashlib

from cutover.simulator import postgres
from cutover.simulator.host import NEVER, Host, Unit

SEARCH_PATH = ("/etc/systemd/system", "/run/systemd/system", "/lib/systemd/system")
EVERYWHERE = {
    "/boot", "/dev", "/dev/shm", "/etc", "/home", "/lib", "/opt", "/proc", "/root", "/run", "/srv", "/sys", "/tmp",  # noqa: S108
    "/usr", "/usr/local", "/var", "/var/lib", "/var/log", "/var/tmp", *SEARCH_PATH,  # noqa: S108
}  # fmt: skip
"""Directories that every host has."""
VOLATILE = ("/run/", "/tmp/", "/dev/shm/")  # noqa: S108 - paths of a simulated host


def full_name(name: str) -> str:
    """A unit's name as systemd completes it: `app` is `app.service`."""
    kinds = (".service", ".timer", ".socket", ".target", ".path", ".mount", ".slice")
    return name if name.endswith(kinds) else f"{name}.service"


def find(host: Host, name: str) -> Unit | None:
    """The unit of that name, loaded as systemd would have it now; None where there is none."""
    unit = host.units.get(full_name(name))
    if unit and not _stays_loaded(host, unit):
        host.dropin_directories = _directories(host)
        _load(host, unit)
    return unit


def reload(host: Host) -> None:
    """daemon-reload: read every unit's files again."""
    host.dropin_directories = _directories(host)
    for unit in host.units.values():
        _load(host, unit)


def needs_reload(host: Host, unit: Unit) -> bool:
    """Whether systemd notices that the files on disk are not those that it has loaded."""
    on_disk = _dropins(host, unit)
    seen = {path: text for path, text in on_disk.items() if path.rpartition("/")[0] in host.dropin_directories}
    return seen != unit.loaded


def is_masked_on_disk(host: Host, unit: Unit) -> bool:
    """Whether a link to /dev/null stands where its unit file would be looked for first."""
    return any(host.files.get(f"{place}/{unit.name}") == MASK for place in SEARCH_PATH)


MASK = "\0-> /dev/null"
"""What `files` holds for a link to /dev/null."""


def start(host: Host, unit: Unit, now: float) -> str:
    """Begin to start it. Returns why it is refused: "", "masked", "assert" or "failed"."""
    if unit.masked:
        return "masked"
    if unit.active in ("active", "activating") and unit.next != "start":
        return ""
    unit.conditioned, unit.asserted = True, assertions_hold(host, unit)
    if not unit.asserted:
        _settle(unit, "inactive", "dead", now)
        return "assert"
    unit.starts += 1
    seed = f"{host.machine_id} {host.boots} {unit.name} {unit.starts}"
    unit.invocation = hashlib.sha256(seed.encode()).hexdigest()[:32]
    unit.result, unit.exit_status = "success", 0
    if unit.triggers:
        _become_active(unit, now)
        return ""
    unit.active, unit.sub, unit.changed_at = "activating", "start", now
    unit.pid = 1000 + int(unit.invocation[:4], 16)
    unit.next, unit.due = "started", now + unit.start_takes
    return "failed" if unit.fails else ""


def bring_up(host: Host, unit: Unit) -> None:
    """Have it up from the start, as if it had been started at boot."""
    reload(host)
    start(host, unit, 0.0)
    if unit.next == "started":
        step(host, unit, 0.0)


def stop(host: Host, unit: Unit, now: float, *, then_start: bool = False) -> None:
    """Begin to stop it; nothing happens to one that is not up. then_start: it is a restart."""
    unit.restarting = then_start
    if unit.active in ("inactive", "failed") or unit.triggers or unit.next == "start":
        if unit.active != "failed":
            _settle(unit, "inactive", "dead", now)
        if then_start:
            unit.restarting = False
            start(host, unit, now)
        return
    unit.active, unit.sub, unit.changed_at = "deactivating", "stop-sigterm", now
    unit.next, unit.due = "stopped", now + unit.stop_takes


def crash(host: Host, unit: Unit, now: float) -> None:
    """Its main process is killed; the restart policy decides what follows."""
    postgres.died(host, unit.name)
    if unit.active != "active" or unit.triggers:
        return
    unit.result, unit.exit_status, unit.pid = "signal", 9, 0
    if unit.restart == "no":
        _settle(unit, "failed", "failed", now)
        return
    unit.active, unit.sub, unit.changed_at = "activating", "auto-restart", now
    unit.restarts += 1
    unit.next, unit.due = "start", now + unit.restart_after


def step(host: Host, unit: Unit, now: float) -> None:
    """Let happen what is due."""
    what, unit.next, unit.due = unit.next, "", NEVER
    match what:
        case "started" if unit.fails:
            unit.result, unit.exit_status, unit.pid = "exit-code", 1, 0
            _settle(unit, "failed", "failed", now)
        case "started":
            _become_active(unit, now)
            postgres.started(host, unit.name, now)
        case "stopped":
            was_restart, unit.restarting = unit.restarting, False
            unit.pid, unit.exit_status = 0, 15
            postgres.stopped(host, unit.name, now)
            _settle(unit, "inactive", "dead", now)
            if was_restart:
                start(host, unit, now)
        case "start":
            unit.sub = "dead"
            unit.active = "inactive"
            start(host, unit, now)
        case "fire":
            if target := find(host, unit.triggers):
                start(host, target, now)
            unit.next, unit.due = "fire", now + max(unit.every, 1.0)


def power_cut(host: Host, now: float) -> None:
    """Nothing runs any more, and what was not on the disk is gone."""
    for unit in host.units.values():
        unit.restarting, unit.pid, unit.invocation = False, 0, ""
        unit.active, unit.sub, unit.next, unit.due, unit.changed_at = "inactive", "dead", "", NEVER, now
        postgres.died(host, unit.name)
    host.files = {path: text for path, text in host.files.items() if not path.startswith(VOLATILE)}
    host.directories = {path for path in host.directories if not path.startswith(VOLATILE)}


def boot(host: Host, now: float) -> None:
    """What is enabled starts, unless it is held."""
    reload(host)
    for unit in host.units.values():
        if unit.enabled:
            start(host, unit, now)


def _become_active(unit: Unit, now: float) -> None:
    if unit.type == "oneshot":
        unit.pid = 0
        _settle(unit, "inactive", "dead", now)
        return
    unit.active, unit.sub = "active", "waiting" if unit.triggers else "running"
    unit.changed_at = unit.active_since = now
    unit.next, unit.due = ("fire", now + max(unit.every, 1.0)) if unit.triggers and unit.every else ("", NEVER)


def _settle(unit: Unit, active: str, sub: str, now: float) -> None:
    changed = (unit.active, unit.sub) != (active, sub)
    unit.active, unit.sub, unit.next, unit.due = active, sub, "", NEVER
    if changed:
        unit.changed_at = now
        if unit.comes_back is not None and not unit.restarting:
            unit.next, unit.due = "start", now + unit.comes_back


def _stays_loaded(host: Host, unit: Unit) -> bool:
    triggered = any(other.triggers == unit.name and other.active == "active" for other in host.units.values())
    return unit.active != "inactive" or unit.enabled or triggered


def _load(host: Host, unit: Unit) -> None:
    unit.loaded = _dropins(host, unit)
    unit.masked = is_masked_on_disk(host, unit)


def _dropins(host: Host, unit: Unit) -> dict[str, str]:
    # In the order of their file names; of two with the same name, the one found first in the search path counts.
    found: dict[str, str] = {}
    for place in SEARCH_PATH:
        prefix = f"{place}/{unit.name}.d/"
        for path in host.files:
            if path.startswith(prefix) and path.endswith(".conf"):
                found.setdefault(path.removeprefix(prefix), path)
    return {found[name]: host.files[found[name]] for name in sorted(found)}


def _directories(host: Host) -> set[str]:
    parents = {path.rpartition("/")[0] for path in host.files}
    return {path for path in parents | host.directories if path.endswith(".d")}


def assertions_hold(host: Host, unit: Unit) -> bool:
    """Whether the assertions of its loaded drop-ins hold now."""
    asserted: list[str] = []
    for text in unit.loaded.values():
        for line in text.splitlines():
            key, equals, value = (part.strip() for part in line.partition("="))
            if equals and key == "AssertPathExists":
                asserted = [*asserted, value] if value else []
    return all(exists(host, value.lstrip("!")) != value.startswith("!") for value in asserted)


def exists(host: Host, path: str) -> bool:
    """Whether there is a file or directory at that path."""
    path = path.rstrip("/")
    if not path or path in EVERYWHERE or path in host.files or path in host.directories:
        return True
    return any(name.startswith(f"{path}/") for name in (*host.files, *host.directories))
