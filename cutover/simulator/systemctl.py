"""`systemctl` as version 252 answers: its words, its exit statuses, its order of properties."""

import getopt
from collections.abc import Callable

from cutover.errors import NoRule
from cutover.simulator import systemd
from cutover.simulator.call import Answer, Call
from cutover.simulator.host import Host, Unit

# A property's place in this table is its place in the output, whatever the order asked for. Those that only some
# kinds of unit have are left out for the others, as systemctl does.
PROPERTIES: dict[str, Callable[[Host, Unit], str]] = {
    "Type": lambda _host, unit: "" if unit.masked else unit.type,
    "Restart": lambda _host, unit: "no" if unit.masked else unit.restart,
    "Unit": lambda _host, unit: unit.triggers,
    "MainPID": lambda _host, unit: str(unit.pid),
    "ControlPID": lambda _host, _unit: "0",
    "Result": lambda _host, unit: unit.result,
    "NRestarts": lambda _host, unit: str(unit.restarts),
    "ExecMainStatus": lambda _host, unit: str(unit.exit_status),
    "Id": lambda _host, unit: unit.name,
    "Names": lambda _host, unit: unit.name,
    "RequiredBy": lambda _host, unit: unit.required_by,
    "WantedBy": lambda _host, unit: _wanted_by(unit) if unit.enabled else "",
    "BoundBy": lambda _host, unit: unit.bound_by,
    "ConsistsOf": lambda _host, unit: unit.consists_of,
    "Triggers": lambda _host, unit: unit.triggers,
    "TriggeredBy": lambda host, unit: " ".join(_timers_of(host, unit)),
    "Description": lambda _host, unit: unit.name if unit.masked else unit.description or unit.name,
    "LoadState": lambda _host, unit: "masked" if unit.masked else "loaded",
    "ActiveState": lambda _host, unit: unit.active,
    "SubState": lambda _host, unit: unit.sub,
    "FragmentPath": lambda _host, unit: f"/etc/systemd/system/{unit.name}" if unit.masked else unit.fragment,
    "SourcePath": lambda _host, _unit: "",
    "DropInPaths": lambda _host, unit: " ".join(unit.loaded),
    "UnitFileState": lambda host, unit: _file_state(host, unit),
    "UnitFilePreset": lambda _host, _unit: "enabled",
    "StateChangeTimestampMonotonic": lambda _host, unit: str(int(unit.changed_at * 1_000_000)),
    "ActiveEnterTimestampMonotonic": lambda _host, unit: str(int(unit.active_since * 1_000_000)),
    "CanStart": lambda _host, unit: "no" if unit.masked else "yes",
    "Job": lambda _host, unit: str(unit.starts) if unit.active in ("activating", "deactivating") else "",
    "NeedDaemonReload": lambda host, unit: _yes(systemd.needs_reload(host, unit)),
    "ConditionResult": lambda _host, unit: _yes(unit.conditioned),
    "AssertResult": lambda _host, unit: _yes(unit.asserted),
    "LoadError": lambda _host, unit: (
        f'org.freedesktop.systemd1.UnitMasked "Unit {unit.name} is masked."' if unit.masked else ""
    ),
    "InvocationID": lambda _host, unit: unit.invocation,
}

VERSION = "systemd 252 (252.38-1~deb12u1)\n+PAM +AUDIT +SELINUX +APPARMOR default-hierarchy=unified\n"
ONLY_SERVICES = {"Type", "Restart", "MainPID", "ControlPID", "NRestarts", "ExecMainStatus"}
ONLY_TIMERS = {"Unit"}


def systemctl(call: Call) -> Answer:
    """Run systemctl. Raises NoRule for a verb or property that is not modelled."""
    options, words = getopt.gnu_getopt(
        call.arguments, "p:qfs:", ["property=", "value", "quiet", "now", "no-pager", "no-block", "system", "runtime",
                                   "job-mode=", "no-ask-password", "plain", "no-legend", "force", "version",
                                   "state=", "type=", "all"]
    )  # fmt: skip
    if ("--version", "") in options:
        return Answer(stdout=VERSION)
    if not words:
        return Answer(1, stderr="Too few arguments.\n")
    if words[0] not in VERBS:
        raise NoRule(f"the simulated systemd has no rule for {' '.join(call.argv)!r}")
    verb, *names = words
    if verb not in READS and call.user != "root":
        return _not_allowed(verb, names)
    if verb == "list-units" and names:
        raise NoRule(f"the simulated systemd lists all units or none: {' '.join(call.argv)!r}")
    return VERBS[verb](call, [systemd.full_name(name) for name in names], options)


Options = list[tuple[str, str]]


def _not_allowed(verb: str, names: list[str]) -> Answer:
    if verb == "daemon-reload":
        return Answer(1, stderr="Reload daemon failed: Interactive authentication required.\n")
    name = systemd.full_name(names[0])
    first = f"Failed to {verb} {name}: Interactive authentication required."
    return Answer(1, stderr=f"{first}\nSee system logs and 'systemctl status {name}' for details.\n")


def _show(call: Call, names: list[str], options: Options) -> Answer:
    asked = {word for key, value in options if key in ("-p", "--property") for word in value.split(",")}
    unknown = sorted(asked - PROPERTIES.keys())
    if unknown or not asked or not names:
        raise NoRule(f"the simulated systemd does not know the properties {', '.join(unknown) or '(all)'}")
    bare = any(key == "--value" for key, _ in options)
    blocks = [_block(call.host, name, asked, bare) for name in names]
    return Answer(stdout="\n".join(blocks), takes=0.01)


def _block(host: Host, name: str, asked: set[str], bare: bool) -> str:
    unit = systemd.find(host, name)
    lines = []
    for key, read in PROPERTIES.items():
        other = ONLY_TIMERS if not name.endswith(".timer") else ONLY_SERVICES
        if key in asked and key not in other:
            value = read(host, unit) if unit else _of_no_unit(key, name)
            lines.append(value if bare else f"{key}={value}")
    return "".join(f"{line}\n" for line in lines)


def _of_no_unit(key: str, name: str) -> str:
    given = {
        "Restart": "no", "MainPID": "0", "ControlPID": "0", "Result": "success", "NRestarts": "0",
        "ExecMainStatus": "0", "Id": name, "Names": name, "Description": name, "LoadState": "not-found",
        "ActiveState": "inactive", "SubState": "dead", "StateChangeTimestampMonotonic": "0",
        "ActiveEnterTimestampMonotonic": "0", "CanStart": "no", "NeedDaemonReload": "no", "ConditionResult": "no",
        "AssertResult": "no", "LoadError": f'org.freedesktop.systemd1.NoSuchUnit "Unit {name} not found."',
    }  # fmt: skip
    return given.get(key, "")


def _start(call: Call, names: list[str], _options: Options, verb: str = "start") -> Answer:
    exit, stderr, takes = 0, "", 0.02
    for name in names:
        unit = systemd.find(call.host, name)
        if unit is None:
            return Answer(5, stderr=f"Failed to {verb} {name}: Unit {name} not found.\n")
        if unit.masked:
            return Answer(1, stderr=f"Failed to {verb} {name}: Unit {name} is masked.\n")
        was_up = unit.active == "active"
        if systemd.needs_reload(call.host, unit):
            stderr += (
                f"Warning: The unit file, source configuration file or drop-ins of {name} changed on disk. "
                "Run 'systemctl daemon-reload' to reload units.\n"
            )
        stopping = unit.stop_takes if verb == "restart" and was_up else 0.0
        refused = systemd.start(call.host, unit, call.now) if not stopping else _restart(call, unit)
        takes = max(
            takes, 0.02 + stopping + (unit.start_takes if refused != "assert" and (stopping or not was_up) else 0.0)
        )
        if refused == "assert":
            exit, stderr = 1, stderr + f"Assertion failed on job for {name}.\n"
        if refused == "failed" and unit.type != "simple":  # systemd does not wait for those to come up
            exit, stderr = 1, stderr + _failed(name)
    return Answer(exit, stderr=stderr, takes=takes)


def _restart(call: Call, unit: Unit) -> str:
    # Whether it will come up again is known already: nothing else happens on the host in between.
    systemd.stop(call.host, unit, call.now, then_start=True)
    return "failed" if unit.fails else "" if systemd.assertions_hold(call.host, unit) else "assert"


def _failed(name: str) -> str:
    return (
        f"Job for {name} failed because the control process exited with error code.\n"
        f'See "systemctl status {name}" and "journalctl -xeu {name}" for details.\n'
    )


def _stop(call: Call, names: list[str], _options: Options) -> Answer:
    stderr, takes = "", 0.02
    for name in names:
        unit = systemd.find(call.host, name)
        if unit is None:
            return Answer(5, stderr=f"Failed to stop {name}: Unit {name} not loaded.\n")
        if unit.active in ("active", "activating", "deactivating") and not unit.triggers:
            takes = max(takes, 0.02 + unit.stop_takes)
        systemd.stop(call.host, unit, call.now)
        timers = _timers_of(call.host, unit, only_active=True)
        if timers:
            stderr += f"Warning: Stopping {name}, but it can still be activated by:\n  {' '.join(timers)}\n"
    return Answer(stderr=stderr, takes=takes)


def _reload(call: Call, _names: list[str], _options: Options) -> Answer:
    systemd.reload(call.host)
    return Answer(takes=0.1)


def _is_active(call: Call, names: list[str], options: Options) -> Answer:
    states = [unit.active if (unit := systemd.find(call.host, name)) else "inactive" for name in names]
    return _states(states, 0 if "active" in states else 3, options)


def _is_failed(call: Call, names: list[str], options: Options) -> Answer:
    states = [unit.active if (unit := systemd.find(call.host, name)) else "inactive" for name in names]
    return _states(states, 0 if "failed" in states else 1, options)


def _is_enabled(call: Call, names: list[str], options: Options) -> Answer:
    found = [(name, systemd.find(call.host, name)) for name in names]
    states = [_file_state(call.host, unit) for _, unit in found if unit]
    absent = [name for name, unit in found if unit is None]
    problems = "".join(f"Failed to get unit file state for {name}: No such file or directory\n" for name in absent)
    good = not absent and any(state in ("enabled", "static") for state in states)
    reply = _states(states, 0 if good else 1, options)
    return Answer(reply.exit, reply.stdout, problems, reply.takes)


def _states(states: list[str], exit: int, options: Options) -> Answer:
    quiet = any(key in ("-q", "--quiet") for key, _ in options)
    return Answer(exit, stdout="" if quiet else "".join(f"{state}\n" for state in states))


def _list_units(call: Call, _names: list[str], options: Options) -> Answer:
    given = dict(options)
    if not {"--plain", "--no-legend"} <= given.keys() or given.get("--state", "active") not in ("active", "failed"):
        raise NoRule(f"the simulated systemd has no rule for {' '.join(call.argv)!r}")
    state = given.get("--state", "active")
    units = sorted((unit for unit in call.host.units.values() if unit.active == state), key=lambda unit: unit.name)
    width, sub = (max((len(word) for word in column), default=0) for column in
                  ([unit.name for unit in units], [unit.sub for unit in units]))  # fmt: skip
    lines = [f"{u.name:<{width}} loaded {u.active} {u.sub:<{sub}} {u.description or u.name}\n" for u in units]
    return Answer(stdout="".join(lines), takes=0.01)


def _mask(call: Call, names: list[str], _options: Options) -> Answer:
    said = ""
    for name in names:
        path = f"/etc/systemd/system/{name}"
        unit = call.host.units.get(name)
        if path in call.host.files and call.host.files[path] != systemd.MASK:
            return Answer(1, stderr=f"Failed to mask unit: File {path} already exists.\n")
        if unit is None:
            said += f"Unit {name} does not exist, proceeding anyway.\n"
        if call.host.files.get(path) != systemd.MASK:
            said += f"Created symlink {path} -> /dev/null.\n"
        call.host.files[path] = systemd.MASK
    systemd.reload(call.host)
    return Answer(stderr=said, takes=0.1)


def _unmask(call: Call, names: list[str], _options: Options) -> Answer:
    said = ""
    for name in names:
        path = f"/etc/systemd/system/{name}"
        if call.host.files.get(path) == systemd.MASK:
            del call.host.files[path]
            said += f'Removed "{path}".\n'
    systemd.reload(call.host)
    return Answer(stderr=said, takes=0.1)


def _enable(call: Call, names: list[str], options: Options) -> Answer:
    said = ""
    for name in names:
        unit = systemd.find(call.host, name)
        if unit is None:
            return Answer(1, stderr=f"Failed to enable unit: Unit file {name} does not exist.\n")
        if not unit.enabled and unit.installable:
            said += f"Created symlink {_link(unit)} -> {unit.fragment}.\n"
            unit.enabled = True
    systemd.reload(call.host)
    now = _start(call, names, options) if _now(options) else Answer(takes=0)
    return Answer(now.exit, stderr=said + now.stderr, takes=0.1 + now.takes)


def _disable(call: Call, names: list[str], options: Options) -> Answer:
    said = ""
    for name in names:
        unit = systemd.find(call.host, name)
        if unit is None:
            return Answer(1, stderr=f"Failed to disable unit: Unit file {name} does not exist.\n")
        if unit.enabled:
            said += f'Removed "{_link(unit)}".\n'
            unit.enabled = False
    systemd.reload(call.host)
    now = _stop(call, names, options) if _now(options) else Answer(takes=0)
    return Answer(now.exit, stderr=said + now.stderr, takes=0.1 + now.takes)


def _reset_failed(call: Call, names: list[str], _options: Options) -> Answer:
    for name in names:
        unit = systemd.find(call.host, name)
        if unit is None:
            return Answer(1, stderr=f"Failed to reset failed state of unit {name}: Unit {name} not loaded.\n")
        if unit.active == "failed":
            unit.active, unit.sub, unit.result = "inactive", "dead", "success"
    return Answer()


def _cat(call: Call, names: list[str], _options: Options) -> Answer:
    parts = []
    for name in names:
        unit = systemd.find(call.host, name)
        if unit is None:
            return Answer(1, stderr=f"No files found for {name}.\n")
        texts = {unit.fragment: call.host.files.get(unit.fragment, ""), **unit.loaded}
        parts += [f"# {path}\n{text}" for path, text in texts.items()]
    return Answer(stdout="\n".join(parts))


VERBS: dict[str, Callable[[Call, list[str], Options], Answer]] = {
    "cat": _cat,
    "daemon-reload": _reload,
    "disable": _disable,
    "enable": _enable,
    "is-active": _is_active,
    "is-enabled": _is_enabled,
    "is-failed": _is_failed,
    "list-units": _list_units,
    "mask": _mask,
    "reset-failed": _reset_failed,
    "restart": lambda call, names, options: _start(call, names, options, "restart"),
    "show": _show,
    "start": _start,
    "stop": _stop,
    "unmask": _unmask,
}

READS = {"cat", "is-active", "is-enabled", "is-failed", "list-units", "show"}


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _now(options: Options) -> bool:
    return any(key == "--now" for key, _ in options)


def _wanted_by(unit: Unit) -> str:
    return "timers.target" if unit.triggers else "multi-user.target"


def _link(unit: Unit) -> str:
    return f"/etc/systemd/system/{_wanted_by(unit)}.wants/{unit.name}"


def _timers_of(host: Host, unit: Unit, *, only_active: bool = False) -> list[str]:
    timers = [other for other in host.units.values() if other.triggers == unit.name]
    return [timer.name for timer in timers if timer.active == "active" or not only_active]


def _file_state(host: Host, unit: Unit) -> str:
    if systemd.is_masked_on_disk(host, unit):
        return "masked"
    return "static" if not unit.installable else "enabled" if unit.enabled else "disabled"
