"""A runbook's text becomes a Runbook, or everything that is wrong with it at once.

Theory of operation. The text is read into a tree that knows its places; references to variables are replaced in the
tree; each step is validated against its kind, what is left as the head of the runbook. Each stage goes on after
errors of the one before where that makes sense, so that a person sees all of them; what merely follows from a slip
is not reported.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, Field

from cutover.model.channels import ELSEWHERE
from cutover.model.kind import Kind, Scope
from cutover.model.plan import Source
from cutover.model.runbook import Head, Runbook, StepEntry, StepWords
from cutover.planning import inventory, names
from cutover.planning.diagnostics import Span, did_you_mean
from cutover.planning.interpolate import interpolate, names_of
from cutover.planning.inventory import Inventory
from cutover.planning.plain_secrets import refuse_plain_secrets
from cutover.planning.problems import VAR_OPTIONS, Problems, inventory_file
from cutover.planning.step_syntax import Written, listed, read_steps
from cutover.planning.tree import Entry, Map, Node, Path, Scalar, Seq, shorten
from cutover.planning.validate import dotted, validate
from cutover.planning.yaml_tree import parse

LATER_SECTIONS = ("databases", "redis", "checks")

_URL = re.compile(r"https?://[^\s/@]+(/\S*)?")


class _Whole(Head):
    """A runbook whose steps are read apart."""

    steps: Annotated[list[Any], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A runbook, where its steps are written, and what the inventory says."""

    runbook: Runbook
    written: tuple[Written, ...]
    inventory: Inventory
    problems: Problems


def load(source: Source, kinds: Mapping[str, type[Kind]]) -> Runbook:
    """Load the runbook of `source`. Raises Refused with all that is wrong."""
    return read(source, kinds).runbook


def read(source: Source, kinds: Mapping[str, type[Kind]]) -> Loaded:
    """Load the runbook of `source`, and keep what is needed to point at places in it. Raises Refused."""
    problems = Problems(source)
    tree, found = parse(source.runbook, source.file)
    problems.extend(found)
    if not isinstance(tree, Map):
        if tree is not None:
            problems.at(tree.span, "A runbook is a mapping; it begins with 'title: …'.")
        problems.refuse()
    ways = _inventory(source, tree, problems)
    values = names_of(tree, _overrides(source, tree, ways, problems), dict(source.environment))
    tree = interpolate(tree, values, problems)
    head = _head(tree, problems)
    written = read_steps(tree.child("steps"), kinds, problems)
    if problems.found and head is not None:
        sites = {site: dict(roles) for site, roles in head.sites.items()}
        names.note_all(written, _step_names(tree), Scope(sites, channels=dict(head.channels)), problems)
    problems.settle()
    assert head is not None
    steps = tuple(_entry(step, kind) for step, kind in zip(written, _placed(written), strict=True))
    return Loaded(Runbook(**_fields(head, Head), steps=steps), written, ways, problems)


def _step_names(tree: Map) -> set[str]:
    """Return the names of all steps, also of those that something is wrong with."""
    steps = tree.child("steps")
    items = steps.items if isinstance(steps, Seq) else ()
    return {name for item in items if isinstance(item, Map) for name in item.entries}


def _entry(step: Written, kind: Kind) -> StepEntry:
    return StepEntry(name=step.name, kind=kind, place=step.place, **_fields(step.words, StepWords))


def _placed(written: tuple[Written, ...]) -> list[Kind]:
    """Return the steps' kinds, each knowing its place among those of its kind."""
    words = [step.kind.name for step in written]
    return [step.kind.placed(words[:at].count(words[at]), words.count(words[at])) for at, step in enumerate(written)]


def _fields(model: BaseModel, of: type[BaseModel]) -> dict[str, Any]:
    """Return the fields of a model that the class `of` has too, as they are."""
    return {name: getattr(model, name) for name in of.model_fields}


def _head(tree: Map, problems: Problems) -> Head | None:
    """Validate all but the steps."""
    for name in LATER_SECTIONS:
        if (entry := tree.entries.get(name)) is not None:
            message = f"'{name}' comes with a later version; this one cannot run it."
            problems.at(entry.key.span, message, "Remove it, or use a version of cutover that has it.")
    entries = {name: entry for name, entry in tree.entries.items() if name not in LATER_SECTIONS}
    if "sites" in entries:
        entries["sites"] = _with_lists(entries["sites"])
    node = Map(tree.span, entries)
    whole, found = validate(_Whole, node, problems.source.file, describe=_describe)
    problems.extend(found)
    if whole is None:
        return None
    head = Head(**_fields(whole, Head))
    _check_sites(head, tree, problems)
    for name, secret in head.secrets.items():
        given = [word for word in ("env", "file", "command") if getattr(secret, word) is not None]
        _exactly_one(tree, ("secrets", name), "env, file and command", given, problems)
    for name, measure in head.measures.items():
        given = [word for word in ("get", "post") if getattr(measure, word) is not None]
        _exactly_one(tree, ("measures", name), "get and post", given, problems)
        for word in given:
            if not _URL.fullmatch(getattr(measure, word)):
                message = f"measures.{name}.{word} is no URL; expected one such as https://social.example/health."
                problems.at(_span(tree, ("measures", name, word)), message)
    for name, channel in head.channels.items():
        if channel.lives_on not in (*head.sites, ELSEWHERE):
            message = f"channels.{name}.lives_on: there is no site '{shorten(channel.lives_on)}'."
            hint = did_you_mean(channel.lives_on, [*head.sites, ELSEWHERE]) or "Name a site, or write elsewhere."
            problems.at(_span(tree, ("channels", name, "lives_on")), message, hint)
    if ELSEWHERE in head.sites and head.channels:
        problems.at(_span(tree, ("sites", ELSEWHERE)), "A site cannot be called 'elsewhere': channels live there.")
    refuse_plain_secrets(head, node, _describe, problems)
    return head


def _describe(path: Path) -> str:
    return dotted(path) if path else "The runbook"


def _with_lists(sites: Entry) -> Entry:
    """Let a role name its one host without a list."""
    return _each(sites, lambda site: _each(site, listed))


def _each(entry: Entry, change: Callable[[Entry], Entry]) -> Entry:
    node = entry.value
    if not isinstance(node, Map):
        return entry
    return Entry(entry.key, Map(node.span, {name: change(below) for name, below in node.entries.items()}))


def _check_sites(head: Head, tree: Map, problems: Problems) -> None:
    """A host is of one site, in any of its roles; a site and a role without a host are slips."""
    site_of: dict[str, str] = {}
    for site, roles in head.sites.items():
        if not roles:
            problems.at(_span(tree, ("sites", site)), f"The site '{site}' has no role.", "Name one, or remove it.")
        for role, hosts in roles.items():
            path = ("sites", site, role)
            if not hosts:
                problems.at(_span(tree, path), f"The role '{site}.{role}' has no host.", "Name one, or remove it.")
            for index, host in enumerate(hosts):
                if site_of.setdefault(host, site) != site:
                    message = f"'{host}' is at the site '{site_of[host]}' already; a host is at one site."
                    problems.at(_span(tree, (*path, index)), message)
                elif host in hosts[:index]:
                    problems.at(_span(tree, (*path, index)), f"'{host}' is named twice in '{site}.{role}'.")
    for site in head.sites:
        if site in site_of:
            problems.at(_span(tree, ("sites",)), f"'{site}' is a site and a host.", "Give one another name.")


def _exactly_one(tree: Map, path: Path, choices: str, given: list[str], problems: Problems) -> None:
    if len(given) != 1:
        found = " and ".join(given) or "none"
        problems.at(_span(tree, path), f"{dotted(path)} takes exactly one of {choices}; found {found}.")


def _inventory(source: Source, tree: Map, problems: Problems) -> Inventory:
    """Read the inventory; in our own format every host in it must be one of the runbook."""
    if source.inventory is None:
        return Inventory()
    file, hosts = inventory_file(source), _hosts(tree)
    ways, found = inventory.read(source.inventory, file, hosts)
    problems.extend(found)
    for name in sorted(ways.hosts.keys() - hosts) if ways.strict else ():
        hint = did_you_mean(name, sorted(hosts))
        problems.at(ways.names[name], f"The runbook has no host '{shorten(name)}'.", hint, file=file)
    return ways


def _hosts(tree: Map) -> frozenset[str]:
    """Return every host as it is written."""
    sites = tree.child("sites")
    roles = [site.value for site in sites.entries.values()] if isinstance(sites, Map) else []
    nodes = [listed(hosts).value for each in roles if isinstance(each, Map) for hosts in each.entries.values()]
    return frozenset(
        each.text for hosts in nodes if isinstance(hosts, Seq) for each in hosts.items if isinstance(each, Scalar)
    )


def _overrides(source: Source, tree: Map, ways: Inventory, problems: Problems) -> dict[str, Scalar]:
    """Gather the values that the inventory and then `--var` give to variables of the runbook."""
    node = tree.child("vars")
    declared = {name: entry.value for name, entry in node.entries.items()} if isinstance(node, Map) else {}
    given: dict[str, Scalar] = {}
    for name, value in ways.vars.items():
        if name in declared:
            given[name] = _like(declared[name], value)
        elif ways.strict:
            _undeclared(name, declared, value.span, inventory_file(source), problems)
    for line, (name, text) in enumerate(source.vars, 1):
        at = Scalar(Span(line, 1, line, len(name) + 1), text, text, quoted=True)
        if name in declared:
            given[name] = _like(declared[name], at)
        else:
            _undeclared(name, declared, at.span, VAR_OPTIONS, problems)
    return given


def _undeclared(name: str, declared: Iterable[str], span: Span, file: str, problems: Problems) -> None:
    hint = did_you_mean(name, declared) or "Only what stands under 'vars' can be given another value."
    problems.at(span, f"The runbook has no variable '{shorten(name)}'.", hint, file=file)


def _like(declared: Node, given: Scalar) -> Scalar:
    """Read a value given as text as what it replaces: where the runbook has a number, 8080 is one."""
    if not isinstance(given.value, str) or not isinstance(declared, Scalar) or isinstance(declared.value, str):
        return given
    node, found = parse(given.value, "")
    return Scalar(given.span, node.value, given.text) if isinstance(node, Scalar) and not found else given


def _span(tree: Map, path: Path) -> Span:
    """Return where the value at `path` is written, or the nearest thing around it."""
    while path:
        if (node := tree.at(path)) is not None:
            return node.span
        path = path[:-1]
    return tree.span
