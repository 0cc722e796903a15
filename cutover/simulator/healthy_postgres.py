"""The healthy clusters of a plan: one primary that users write to, and its standbys, which stream."""

import hashlib
from collections.abc import Mapping

from cutover.model.databases import Database
from cutover.model.effects import OnHost
from cutover.model.plan import Plan
from cutover.simulator import postgres, systemd
from cutover.simulator.host import Host, Unit
from cutover.simulator.postgres import Cluster

CLIENTS = 20
WRITES = 50_000
"""Bytes per second that those write."""


def install(plan: Plan, hosts: Mapping[str, Host]) -> dict[str, tuple[str, str]]:
    """Have every database of the plan up; returns the host and the unit of each."""
    databases = plan.scope.databases
    if not databases:
        return {}
    standbys = _standbys(plan)
    primary = next((each for name, each in databases.items() if name not in standbys), next(iter(databases.values())))
    made = hashlib.sha256(f"simulated {plan.title}".encode()).hexdigest()
    identifier = next((each.system_identifier for each in databases.values() if each.system_identifier), None)
    for database in sorted(databases.values(), key=lambda each: each is not primary):
        cluster = _cluster(database, identifier or str(7 * 10**18 + int(made[:12], 16)))
        if database is primary:
            cluster.clients, cluster.writes = CLIENTS, WRITES
        else:
            cluster.follow = primary.address
        _bring_up(hosts[database.host], cluster, database is not primary)
    _reachable(plan, hosts, identifier or str(7 * 10**18 + int(made[:12], 16)))
    postgres.flow(hosts.values(), 0.0)
    return {name: (each.host, each.unit) for name, each in databases.items()}


def _standbys(plan: Plan) -> set[str]:
    """The databases that steps promote or wait for."""
    named: set[str] = set()
    for step in plan.steps:
        match step.kind.name:
            case "promote_postgres":
                named.add(getattr(step.kind, "database", ""))
            case "await_replication":
                named.add(getattr(step.kind, "to", ""))
    return named


def _cluster(database: Database, identifier: str) -> Cluster:
    return Cluster(
        unit=database.unit,
        address=database.address,
        port=database.port,
        name=database.name,
        directory=database.directory,
        config=database.config,
        hba=database.hba,
        socket=database.socket,
        system_identifier=identifier,
    )


def _bring_up(host: Host, cluster: Cluster, standby: bool) -> None:
    unit = Unit(
        name=cluster.unit, description="PostgreSQL Cluster", enabled=True, type="notify",
        fragment="/lib/systemd/system/postgresql@.service",
    )  # fmt: skip
    host.units[unit.name] = unit
    host.clusters[unit.name] = cluster
    host.directories.add(f"{cluster.config}/conf.d")
    host.files |= {
        unit.fragment: "[Unit]\nDescription=PostgreSQL Cluster %i\n",
        f"{cluster.directory}/PG_VERSION": "15\n",
        f"{cluster.config}/postgresql.conf": "include_dir 'conf.d'\n",
        cluster.hba: "local all postgres peer\nhost all all 127.0.0.1/32 scram-sha-256\n",
    }
    if standby:
        host.files[f"{cluster.directory}/standby.signal"] = ""
    systemd.bring_up(host, unit)


def _reachable(plan: Plan, hosts: Mapping[str, Host], identifier: str) -> None:
    """What one cluster says to another that asks who it is, over the network."""
    for step in plan.steps:
        for effect in (check.effect for check in step.checks):
            for command in effect.commands if isinstance(effect, OnHost) else ():
                if isinstance(effect, OnHost) and command.argv[-1] == "IDENTIFY_SYSTEM":
                    hosts[effect.host].outputs["\0".join(command.argv)] = f"{identifier}|1|0/5000000|\n"
