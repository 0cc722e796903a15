"""systemd units as they are read: names, `systemctl show`, and what holds a unit down.

A unit is *held down* by one file, a drop-in that asserts its own absence:

    /etc/systemd/system/UNIT.d/cutover-held.conf
    [Unit]
    AssertPathExists=!/etc/systemd/system/UNIT.d/cutover-held.conf

While it lies there every start is refused, by hand, by a timer, by a unit that requires this one and at boot, also
where the unit file lies in /etc/systemd/system and cannot be masked. Removing the file releases the unit at once.
Being its own marker, it is there wholly or not at all, and `systemctl show` alone tells: it is among DropInPaths (it
is loaded), and NeedDaemonReload is "no" (what is loaded is what lies on the disk).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from cutover.checks.host import READ_TIMEOUT, reading
from cutover.model.effects import OnHost, Reply
from cutover.model.text import visible_bytes

SUFFIXES = ("service", "timer", "socket", "path", "target")
UNIT_DIRECTORY = "/etc/systemd/system"

PROPERTIES = (
    "Id", "LoadState", "ActiveState", "SubState", "Type", "Result", "UnitFileState", "FragmentPath", "DropInPaths",
    "NeedDaemonReload", "ConditionResult", "InvocationID",
)  # fmt: skip
# What starts a unit, and what stops with it.
RELATIONS = ("TriggeredBy", "RequiredBy", "BoundBy", "ConsistsOf")

# All suffixes of systemd: `app.mount` is a mount, not `app.mount.service`.
_OTHERS = ("mount", "automount", "swap", "slice", "scope", "device")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?:@[A-Za-z0-9_.-]+)?")
_LONGEST = 128


def parse_unit(text: str) -> str:
    """A unit's full name. Raises ValueError with what was expected."""
    stem, dot, suffix = text.rpartition(".")
    if not dot or suffix not in (*SUFFIXES, *_OTHERS):
        stem, suffix = text, "service"
    if suffix in _OTHERS:
        raise ValueError(f"expected a service, timer, socket, path or target; this is a {suffix}")
    if not _NAME.fullmatch(stem):
        raise ValueError("expected the name of a unit: letters, digits and _ . - (name@instance for a template)")
    if len(stem) + len(suffix) + 1 > _LONGEST:
        raise ValueError(f"expected the name of a unit, of at most {_LONGEST} characters")
    return f"{stem}.{suffix}"


def _validate(value: Any) -> str:
    if not isinstance(value, str):
        raise PydanticCustomError("unit", "expected the name of a unit")
    try:
        return parse_unit(value)
    except ValueError as problem:
        raise PydanticCustomError("unit", "{problem}", {"problem": str(problem)}) from None


UnitName = Annotated[
    str,
    BeforeValidator(_validate),
    WithJsonSchema({"type": "string", "pattern": r"^[A-Za-z0-9_][A-Za-z0-9_.@-]*$"}),
]
"""A systemd unit; `.service` may be left out."""


def short(unit: str) -> str:
    """A unit's name for a sentence."""
    return unit.removesuffix(".service")


def hold_file(unit: str) -> str:
    """The drop-in that holds the unit down while it is there."""
    return f"{UNIT_DIRECTORY}/{unit}.d/cutover-held.conf"


def hold_text(unit: str) -> str:
    """What the drop-in says."""
    return (
        f"# Held down by cutover: {unit} does not start while this file is here.\n"
        "# To release it by hand: remove this file, then run `systemctl daemon-reload`.\n"
        f"[Unit]\nAssertPathExists=!{hold_file(unit)}\n"
    )


@dataclass(frozen=True, slots=True)
class UnitState:
    """A unit as `systemctl show` tells. `hold`: held, free, or half (the file and what is loaded may differ)."""

    unit: str
    properties: Mapping[str, str]

    def __getitem__(self, name: str) -> str:
        """A property; empty where systemd says nothing about it."""
        return self.properties.get(name, "")

    def names(self, *properties: str) -> set[str]:
        """The units that these properties list."""
        return {name for each in properties for name in self[each].split()}

    @property
    def down(self) -> bool:
        """Nothing of it runs."""
        return self["ActiveState"] in ("inactive", "failed")

    @property
    def running(self) -> bool:
        """It is up and serves."""
        return self["ActiveState"] in ("active", "reloading", "refreshing")

    @property
    def wanted_up(self) -> bool:
        """It is up, or systemd is bringing it up."""
        return not self.down and self["ActiveState"] != "deactivating"

    @property
    def rests(self) -> bool:
        """A oneshot that does not run and did not fail. Whether it ever ran, systemd forgets as it unloads the unit."""
        return (self["Type"], self["ActiveState"], self["Result"]) == ("oneshot", "inactive", "success")

    @property
    def hold(self) -> Literal["held", "half", "free"]:
        """Whether it is held down."""
        loaded = hold_file(self.unit) in self.names("DropInPaths")
        if self["NeedDaemonReload"] == "no":
            return "held" if loaded else "free"
        return "half" if loaded or self["NeedDaemonReload"] != "yes" else "free"

    @property
    def words(self) -> str:
        """Its state for a sentence: `active (running)`, `inactive, held down`, `failed (exit-code)`."""
        active, sub, result = self["ActiveState"], self["SubState"], self["Result"]
        detail = result if active == "failed" else "" if sub in ("dead", active) else sub
        held = {"held": ", held down", "half": ", held down by half", "free": ""}[self.hold]
        return visible_bytes(f"{active or 'in no known state'}{f' ({detail})' if detail else ''}{held}".encode())

    @property
    def observed(self) -> dict[str, str]:
        """What a verdict keeps of it."""
        return {"active": self["ActiveState"], "sub": self["SubState"], "hold": self.hold}


def show(unit: str, *more: str) -> tuple[str, ...]:
    """The command that reads a unit, and more of its properties. It exits 0 also for a unit that is not there."""
    return ("systemctl", "show", f"--property={','.join((*PROPERTIES, *more))}", unit)


def read_unit(host: str, unit: str, timeout: float = READ_TIMEOUT) -> OnHost:
    """The reading that `state_in` understands."""
    return reading(host, show(unit), timeout=timeout)


def parse_show(output: bytes) -> dict[str, str]:
    """The properties of one unit, from the output of `systemctl show`."""
    lines = output.decode(errors="backslashreplace").split("\n")
    pairs = (line.partition("=") for line in lines)
    return {name: value for name, equals, value in pairs if equals}


def state_in(reply: Reply | None, unit: str, number: int = 0) -> UnitState | None:
    """The state that command `number` of a reply tells; None where it does not tell one."""
    if reply is None or not -len(reply.commands) <= number < len(reply.commands):
        return None
    command = reply.commands[number]
    properties = parse_show(command.stdout)
    if command.exit != 0 or command.stdout_cut or not properties.get("ActiveState") or not properties.get("LoadState"):
        return None
    return UnitState(unit, properties)


def listed(output: bytes) -> set[str]:
    """The names of the units in the output of `systemctl list-units --plain --no-legend`."""
    return {words[0] for line in output.decode(errors="backslashreplace").splitlines() if (words := line.split())}


def missing(state: UnitState, host: str) -> str | None:
    """Why the unit cannot be driven on that host: a sentence; None where it can."""
    name, load, other = short(state.unit), state["LoadState"], state["Id"]
    if load == "not-found":
        return f"there is no unit {state.unit} on {host}"
    if load == "masked":
        return f"{name} on {host} is masked: it can be neither started nor provably held down; unmask it first"
    if load != "loaded":
        return f"the files of {name} on {host} cannot be loaded: LoadState={visible_bytes(load.encode())}"
    if other and other != state.unit:
        return f"{state.unit} on {host} is only another name of {visible_bytes(other.encode())}; name that one"
    return None
