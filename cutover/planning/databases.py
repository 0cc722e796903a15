"""The databases of a runbook: where their clusters keep what, from the pins or guessed from the unit's name."""

import re
from collections.abc import Mapping

from cutover.model.databases import Database
from cutover.model.kind import Scope, ScopeError
from cutover.model.pins import DatabasePins, Pins
from cutover.model.runbook import DatabaseEntry

_DEBIAN = re.compile(r"postgresql@([0-9.]+)-([A-Za-z0-9_.-]+)\.service")
DEFAULT_PORT = 5432


def resolve(entries: Mapping[str, DatabaseEntry], scope: Scope, pins: Pins | None) -> dict[str, Database]:
    """Every database with all that is known of it. Raises ScopeError for a host that is none."""
    pinned = pins.databases if pins else {}
    return {name: _database(name, entry, scope.host(entry.on), pinned.get(name)) for name, entry in entries.items()}


def as_written(entries: Mapping[str, DatabaseEntry], scope: Scope) -> dict[str, Database]:
    """Every database without its pins, for a runbook that is wrong elsewhere: one on no host is where it says it is."""
    return {name: _database(name, entry, _host(entry, scope), None) for name, entry in entries.items()}


def _host(entry: DatabaseEntry, scope: Scope) -> str:
    try:
        return scope.host(entry.on)
    except ScopeError:
        return entry.on


def full_unit(unit: str) -> str:
    """The unit's full name."""
    return unit if unit.endswith(".service") else f"{unit}.service"


def cluster_of(unit: str) -> tuple[str, str] | None:
    """The version and the name of the cluster that Debian runs as this unit."""
    match = _DEBIAN.fullmatch(unit)
    return (match[1], match[2]) if match else None


def guessed(unit: str) -> DatabasePins:
    """Where Debian puts a cluster of this unit; the system identifier is not to be guessed, and is 0 here."""
    version, cluster = cluster_of(unit) or ("15", "main")
    config = f"/etc/postgresql/{version}/{cluster}"
    return DatabasePins(
        system_identifier="0",
        version=version,
        port=DEFAULT_PORT,
        directory=f"/var/lib/postgresql/{version}/{cluster}",
        config=config,
        hba=f"{config}/pg_hba.conf",
        binaries=f"/usr/lib/postgresql/{version}/bin",
        socket="/var/run/postgresql",
    )


def _database(key: str, entry: DatabaseEntry, host: str, pin: DatabasePins | None) -> Database:
    unit = full_unit(entry.unit)
    found = pin or guessed(unit)
    return Database(
        key=key,
        host=host,
        address=entry.address or host,
        unit=unit,
        name=entry.name,
        user=entry.user,
        password=entry.password,
        port=entry.port or found.port,
        directory=found.directory,
        config=found.config,
        hba=found.hba,
        binaries=found.binaries,
        socket=found.socket,
        replicator=entry.replicator,
        system_identifier=pin.system_identifier if pin else None,
    )
