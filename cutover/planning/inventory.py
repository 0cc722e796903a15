"""Inventories: how the hosts of a runbook are reached in this place, and other values for its variables.

Read are our own format (`hosts: {alice: {ssh: lab-alice}}` and `vars`) and what Ansible users have: an INI file, a
YAML file, or the JSON that `ansible-inventory --list` prints. Of Ansible's only the names, `ansible_host`,
`ansible_user`, `ansible_port` and variables that the runbook declares matter; nothing of Ansible is imported.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints

from cutover.errors import UsageError
from cutover.model.kind import Params
from cutover.model.runbook import Name
from cutover.model.text import visible_bytes, visible_line
from cutover.planning.ansible import AnsibleHost, read_ini, read_json, read_yaml
from cutover.planning.diagnostics import Diagnostic, Span
from cutover.planning.tree import Map, Node, Scalar, shorten
from cutover.planning.validate import Describe, validate
from cutover.planning.yaml_tree import parse

_DESTINATION = r"^[A-Za-z0-9_\[:][A-Za-z0-9._:%\]-]*$"
_SAYS_NOTHING = re.compile(r"^\s*(?:[#;].*)?$")
_VAULT = "$ANSIBLE_VAULT"
_HINT_LIST = "Run `ansible-inventory -i FILE --list > hosts.json` and give hosts.json."


class Reached(Params):
    """How a host is reached."""

    ssh: Annotated[str, StringConstraints(pattern=_DESTINATION, max_length=255)]
    """A name for ~/.ssh/config, or an address."""
    user: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._@-]*$")] | None = None
    """Who to log in as."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """The port of sshd there."""


class OurInventory(Params):
    """An inventory in our own format."""

    hosts: dict[Name, Reached] = Field(default_factory=dict)
    """The hosts of the runbook that are reached another way here."""
    vars: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Other values for the runbook's vars."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """What an inventory says.

    names: where each host is written. strict: whether a host or variable that the runbook does not know is a slip.
    """

    hosts: Mapping[str, Reached] = field(default_factory=dict)
    vars: Mapping[str, Scalar] = field(default_factory=dict)
    names: Mapping[str, Span] = field(default_factory=dict)
    strict: bool = False


def text_of(file: Path) -> str:
    """Return the text of an inventory; of a script that makes one, what `ansible-inventory --list` prints.

    Raises UsageError when there is none to be had.
    """
    name = visible_line(str(file))
    try:
        text = file.read_bytes()
    except OSError as problem:
        raise UsageError(f"{name} cannot be read: {problem.strerror}") from None
    if text.startswith(b"#!") and os.access(file, os.X_OK):
        text = _listed(file)
    try:
        return text.decode()
    except UnicodeDecodeError as problem:
        raise UsageError(f"{name} is not UTF-8 text: byte {problem.start}") from None


def _listed(file: Path) -> bytes:
    """Let Ansible run an inventory script: only it knows how."""
    name = visible_line(str(file))
    program = shutil.which("ansible-inventory")
    if program is None:
        raise UsageError(
            f"{name} is a script, which `ansible-inventory` would run, and that is not installed here. "
            "Where it is, run `ansible-inventory -i FILE --list > hosts.json`, and give hosts.json."
        )
    try:
        done = subprocess.run(
            [program, "-i", str(file.absolute()), "--list"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60
        )
    except subprocess.TimeoutExpired:
        raise UsageError(f"`ansible-inventory -i {name} --list` did not end within 60 s") from None
    if done.returncode != 0:
        last = (visible_bytes(done.stderr).strip() or "it said nothing").splitlines()[-1]
        raise UsageError(f"`ansible-inventory -i {name} --list` exited {done.returncode}: {last}")
    return done.stdout


def read(text: str, file: str, hosts: Collection[str]) -> tuple[Inventory, list[Diagnostic]]:
    """Read an inventory in whichever format it is; return what it says of `hosts`, and all that is wrong with it."""
    if text.startswith(_VAULT):
        message = "This file is encrypted with ansible-vault, which is not read here."
        return Inventory(), [Diagnostic.at(Span(1, 1, 1, len(_VAULT) + 1), file, message, hint=_HINT_LIST)]
    if _looks_like_ini(text, file):
        return _from_ansible(*read_ini(text, file), file, hosts)
    tree, found = parse(text, file)
    if found or not isinstance(tree, Map):
        at = tree.span if tree else Span(1, 1, 1, 1)
        return Inventory(), found or [Diagnostic.at(at, file, "An inventory is a mapping, or an INI file of Ansible.")]
    if "_meta" in tree.entries:
        return _from_ansible(read_json(tree), [], file, hosts)
    if tree.entries.keys() & {"hosts", "vars"}:
        return _ours(tree, file)
    return _from_ansible(*read_yaml(tree, file), file, hosts)


def _looks_like_ini(text: str, file: str) -> bool:
    """Say which of Ansible's formats a file is in; the name's ending decides before the first line that says something.

    A file of plain host names is INI; `name:` and `name: value` begin a mapping, `name:22` is a host with a port.
    """
    if file.endswith((".yaml", ".yml", ".json")):
        return False
    if file.endswith((".ini", ".cfg")):
        return True
    lines = (line.strip() for line in text.splitlines() if not _SAYS_NOTHING.match(line))
    first = next(lines, "")
    return not (first.startswith(("{", "---", "%")) or re.match(r"[^\s:]+:(\s|$)", first))


def _ours(tree: Map, file: str) -> tuple[Inventory, list[Diagnostic]]:
    written, found = validate(OurInventory, tree, file)
    if written is None:
        return Inventory(), found
    hosts, values = tree.child("hosts"), tree.child("vars")
    return Inventory(
        hosts=dict(written.hosts),
        vars=_scalars(values),
        names={name: entry.key.span for name, entry in hosts.entries.items()} if isinstance(hosts, Map) else {},
        strict=True,
    ), []


def _from_ansible(
    every: Iterable[AnsibleHost], found: list[Diagnostic], file: str, wanted: Collection[str]
) -> tuple[Inventory, list[Diagnostic]]:
    """Keep how the wanted hosts are reached; what Ansible says of others is not looked at."""
    if found:
        return Inventory(), found
    hosts = [host for host in every if host.name in wanted]
    reached: dict[str, Reached] = {}
    for host in hosts:
        entries = _connection(host)
        templated = [value for value in entries.values() if "{{" in value.text]
        for value in templated:
            message = f"'{shorten(value.text)}' is a template, which only Ansible can work out."
            found.append(Diagnostic.at(value.span, file, message, hint=_HINT_LIST))
        if not templated:
            way, problems = validate(Reached, Map.of(entries, at=host.at), file, describe=_always(host.name))
            found += problems
            if way is not None:
                reached[host.name] = way
    common = {name: value for name, value in _common(hosts).items() if "{{" not in value.text}
    return Inventory(reached, common, {host.name: host.at.span for host in hosts}), found


def _connection(host: AnsibleHost) -> dict[str, Scalar]:
    """Return what Ansible's variables say about reaching a host, in our words."""
    given = {
        "ssh": _first(host.vars, ("ansible_host", "ansible_ssh_host")) or Scalar.of(host.name, at=host.at),
        "user": _first(host.vars, ("ansible_user", "ansible_ssh_user")),
        "port": _first(host.vars, ("ansible_port", "ansible_ssh_port")),
    }
    if (port := given["port"]) is not None and re.fullmatch("[0-9]{1,5}", port.text):
        given["port"] = Scalar(port.span, int(port.text), port.text)
    return {name: value for name, value in given.items() if value is not None}


def _always(name: str) -> Describe:
    return lambda _path: name


def _common(hosts: list[AnsibleHost]) -> dict[str, Scalar]:
    """Return the variables that have the same value on every host: what the group `all` says, however it is listed."""
    if not hosts:
        return {}
    first, *rest = (host.vars for host in hosts)
    same = (name for name in first if all(name in each and each[name].value == first[name].value for each in rest))
    return {name: first[name] for name in same}


def _first(values: Mapping[str, Scalar], names: Iterable[str]) -> Scalar | None:
    return next((values[name] for name in names if name in values), None)


def _scalars(node: Node | None) -> dict[str, Scalar]:
    entries = node.entries.items() if isinstance(node, Map) else ()
    return {name: entry.value for name, entry in entries if isinstance(entry.value, Scalar)}
