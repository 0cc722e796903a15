"""What Ansible's static inventories say about hosts: INI files, YAML files, and `ansible-inventory --list`.

Read are hosts with ranges (`web[01:03]`), groups of groups, and variables, with Ansible's precedence: a group's
over those of the groups it is in, a host's over all. Patterns, plugins, templates and vaults are Ansible's to read.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from itertools import product
from string import ascii_letters

from cutover.planning.diagnostics import Diagnostic, Span
from cutover.planning.tree import Map, Node, Scalar, Seq, kind_of, shorten

MAX_HOSTS = 10_000

_SECTION = re.compile(r"\[([^\[\]:\s]+)(?::(\w+))?\]\s*(?:[#;].*)?")
_RANGE = re.compile(r"\[(\w+):(\w+)(?::([0-9]{1,9}))?\]")
_PORT = re.compile(r"((?:[^\[\]:]|\[[^\]]*\])+):(\d+)")


@dataclass(frozen=True, slots=True)
class AnsibleHost:
    """A host, its variables, and where its name is written."""

    name: str
    vars: dict[str, Scalar]
    at: Scalar


@dataclass(slots=True)
class _Group:
    vars: dict[str, Scalar] = field(default_factory=dict)
    hosts: list[str] = field(default_factory=list)
    children: list[str] = field(default_factory=list)


class _Groups:
    """The groups and hosts of one file."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.found: list[Diagnostic] = []
        self.groups: dict[str, _Group] = {"all": _Group()}
        self.hosts: dict[str, AnsibleHost] = {}

    def group(self, name: str) -> _Group:
        return self.groups.setdefault(name, _Group())

    def report(self, span: Span, message: str, hint: str = "") -> None:
        self.found.append(Diagnostic.at(span, self.file, message, hint=hint))

    def add_hosts(self, group: str, at: Scalar, values: dict[str, Scalar]) -> None:
        """Put a host, or all of a range, into a group."""
        name = at.text
        if (port := _PORT.fullmatch(name)) is not None:
            name = port[1]
            values = {"ansible_port": Scalar(at.span, port[2], port[2]), **values}
        for each in _expanded(name):
            if each not in self.hosts and len(self.hosts) >= MAX_HOSTS:
                return self.report(at.span, f"An inventory of more than {MAX_HOSTS} hosts is not read here.")
            known = self.hosts.setdefault(each, AnsibleHost(each, {}, at))
            known.vars.update(values)
            self.group(group).hosts.append(each)
        return None

    def resolved(self) -> tuple[list[AnsibleHost], list[Diagnostic]]:
        """Give each host the variables of the groups that it is in."""
        parents: dict[str, list[str]] = {name: [] for name in self.groups}
        for name, group in self.groups.items():
            for child in group.children:
                parents.setdefault(child, []).append(name)
        try:
            order = list(TopologicalSorter(parents).static_order())
        except CycleError as error:
            circle = " → ".join(reversed(error.args[1]))
            self.report(Span(1, 1, 1, 1), f"The groups of this inventory are in one another: {circle}.")
            return [], self.found
        depth: dict[str, int] = {}
        above: dict[str, frozenset[str]] = {}
        for name in order:
            depth[name] = 0 if name == "all" else 1 + max((depth[parent] for parent in parents[name]), default=0)
            above[name] = frozenset({name, "all"}).union(*(above[parent] for parent in parents[name]))
        member: dict[str, set[str]] = {}
        for name, group in self.groups.items():
            for host in group.hosts:
                member.setdefault(host, set()).update(above[name])
        return [self._merged(host, sorted(member[host.name], key=lambda g: (depth[g], g))) for host in
                self.hosts.values()], self.found  # fmt: skip

    def _merged(self, host: AnsibleHost, groups: list[str]) -> AnsibleHost:
        values: dict[str, Scalar] = {}
        for name in groups:
            values |= self.groups[name].vars
        return AnsibleHost(host.name, values | host.vars, host.at)


def read_ini(text: str, file: str) -> tuple[list[AnsibleHost], list[Diagnostic]]:
    """Read an inventory in Ansible's INI format."""
    groups = _Groups(file)
    group, part = "ungrouped", "hosts"
    for number, line in enumerate(text.splitlines(), 1):
        written = line.strip()
        if not written or written.startswith(("#", ";")):
            continue
        start = len(line) - len(line.lstrip()) + 1
        span = Span(number, start, number, start + len(written))
        if written.startswith("[") and (section := _SECTION.fullmatch(written)) is not None:
            group, part = section[1], section[2] or "hosts"
            groups.group(group)
            if part not in ("hosts", "children", "vars"):
                groups.report(span, f"'{part}' is no part of a group.", "There are [group], :children and :vars.")
        elif part == "vars":
            name, equals, value = written.partition("=")
            if not equals:
                groups.report(span, "Expected 'name = value' here.")
            groups.group(group).vars[name.strip()] = Scalar.of(value.strip(), at=Scalar(span, None, ""))
        elif part == "children":
            groups.group(group).children.append(written.split()[0])
            groups.group(written.split()[0])
        else:
            _host_line(groups, group, written, span)
    return groups.resolved()


def _host_line(groups: _Groups, group: str, written: str, span: Span) -> None:
    """Read `name key=value key='two words'`."""
    try:
        name, *rest = shlex.split(written, comments=True)
    except ValueError:
        return groups.report(span, "The quote in this line is never closed.")
    values: dict[str, Scalar] = {}
    for word in rest:
        key, equals, value = word.partition("=")
        if not equals:
            return groups.report(span, f"Expected name=value after the host, found '{shorten(word)}'.")
        values[key] = Scalar(span, value, value, quoted=True)
    return groups.add_hosts(group, Scalar(Span(span.line, span.column, span.line, span.column + len(name)), name, name),
                            values)  # fmt: skip


def read_yaml(tree: Map, file: str) -> tuple[list[AnsibleHost], list[Diagnostic]]:
    """Read an inventory in Ansible's YAML format."""
    groups = _Groups(file)
    for name, entry in tree.entries.items():
        _yaml_group(groups, name, entry.value)
    return groups.resolved()


def _yaml_group(groups: _Groups, name: str, node: Node) -> None:
    group = groups.group(name)
    for part, entry in _mapping(groups, node).entries.items():
        below = _mapping(groups, entry.value)
        if part == "vars":
            group.vars |= _values(below)
        elif part == "children":
            for child, inner in below.entries.items():
                group.children.append(child)
                _yaml_group(groups, child, inner.value)
        elif part == "hosts":
            for _, (key, value) in below.entries.items():
                groups.add_hosts(name, key, _values(_mapping(groups, value)))
        else:
            groups.report(entry.key.span, f"'{shorten(part)}' is no part of a group.",
                          "There are hosts, children and vars.")  # fmt: skip


def _mapping(groups: _Groups, node: Node) -> Map:
    """Return the mapping that Ansible expects here; nothing at all is an empty one."""
    if isinstance(node, Map):
        return node
    if not (isinstance(node, Scalar) and node.value is None):
        groups.report(node.span, f"Expected a mapping, found {kind_of(node)}.")
    return Map(node.span, {})


def read_json(tree: Map) -> list[AnsibleHost]:
    """Read what `ansible-inventory --list` prints: every host with its variables worked out."""
    hosts: dict[str, AnsibleHost] = {}
    for name, entry in tree.entries.items():
        listed = entry.value.child("hosts")
        if name != "_meta" and isinstance(listed, Seq):
            for item in listed.items:
                if isinstance(item, Scalar):
                    hosts.setdefault(item.text, AnsibleHost(item.text, {}, item))
    values = tree.at(("_meta", "hostvars"))
    for name, entry in values.entries.items() if isinstance(values, Map) else ():
        hosts[name] = AnsibleHost(name, _values(entry.value), entry.key)
    return list(hosts.values())


def _values(node: Node) -> dict[str, Scalar]:
    entries = node.entries.items() if isinstance(node, Map) else ()
    return {name: entry.value for name, entry in entries if isinstance(entry.value, Scalar)}


def _expanded(name: str) -> Iterator[str]:
    """Write a name with ranges out: `a[01:03]` is a01, a02, a03; `a[a:c]` is aa, ab, ac."""
    pieces: list[list[str] | range] = []
    widths: list[int] = []
    end = 0
    for match in _RANGE.finditer(name):
        between = _between(match[1], match[2], int(match[3] or 1) or 1)
        if between is None:
            break
        pieces += [[name[end : match.start()]], between]
        widths += [0, len(match[1]) if match[1].startswith("0") else 0]
        end = match.end()
    pieces.append([name[end:]])
    widths.append(0)
    for choice in product(*pieces):
        yield "".join(str(part).zfill(width) for part, width in zip(choice, widths, strict=True))


def _between(first: str, last: str, step: int) -> list[str] | range | None:
    if first.isdecimal() and last.isdecimal() and max(len(first), len(last)) <= 9:
        return range(int(first), min(int(last), int(first) + MAX_HOSTS * step) + 1, step)
    if len(first) == len(last) == 1 and first in ascii_letters and last in ascii_letters:
        return list(ascii_letters[ascii_letters.index(first) : ascii_letters.index(last) + 1 : step])
    return None
