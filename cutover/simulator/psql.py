"""What Postgres' programs answer on a simulated host, for exactly the statements that cutover sends."""

import getopt
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from cutover.checks import postgres as sent
from cutover.errors import NoRule
from cutover.model.lsn import parse_lsn, show_lsn
from cutover.simulator import postgres
from cutover.simulator.call import Answer, Call
from cutover.simulator.postgres import Cluster

if TYPE_CHECKING:
    from cutover.simulator.host import Host

PROMOTE_TAKES = 0.12
_STATES = {"shut down": 1, "shut down in recovery": 2, "in archive recovery": 5, "in production": 6}
_CAUGHT_UP = re.compile(r"pg_last_wal_replay_lsn\(\) > '([^']+)'::pg_lsn AND .*? = '([0-9]+)' AND .*? = ([0-9]+) UNION")

Variables = dict[str, str]


def psql(call: Call) -> Answer:
    """psql at the Unix socket: one statement, or a script on stdin."""
    options, rest = getopt.getopt(call.arguments, "XAtqv:h:p:d:o:c:f:")
    if rest:
        raise NoRule(f"the simulated world has no rule for psql {' '.join(rest)!r}")
    given = dict(options)
    variables = dict(value.partition("=")[::2] for key, value in options if key == "-v")
    cluster = _at(call.host, int(given.get("-p", "5432")))
    if cluster is None or not cluster.running:
        where = f"{given.get('-h', '/var/run/postgresql')}/.s.PGSQL.{given.get('-p', '5432')}"
        hint = "\tIs the server running locally and accepting connections on that socket?\n"
        return _error(2, f'connection to server on socket "{where}" failed: No such file or directory\n{hint}')
    if call.user != sent.OWNER:
        return _error(2, f'connection to server failed: FATAL:  role "{call.user}" does not exist\n')
    if "-c" in given:
        return _statement(cluster, given["-c"], call)
    if call.stdin not in SCRIPTS:
        raise NoRule(f"the simulated world has no rule for the script {call.stdin!r}")
    answer = SCRIPTS[call.stdin](call, cluster, variables)
    if answer.exit == 0 and "-o" in given:
        call.host.files[given["-o"]] = answer.stdout
        return Answer(takes=answer.takes)
    return answer


def _error(exit: int, text: str) -> Answer:
    return Answer(exit, stderr=f"psql: error: {text}")


def _at(host: "Host", port: int) -> Cluster | None:
    return next((cluster for cluster in host.clusters.values() if cluster.port == port), None)


def _in(host: "Host", directory: str) -> Cluster | None:
    return next((cluster for cluster in host.clusters.values() if cluster.directory == directory), None)


# --- statements


def _statement(cluster: Cluster, text: str, call: Call) -> Answer:
    match text:
        case sent.IN_RECOVERY:
            return Answer(stdout="t\n" if cluster.role == "standby" else "f\n")
        case sent.SLOTS:
            return Answer(stdout="".join(f"{name}\n" for name in sorted(cluster.slots)))
        case sent.BURDENS:
            return Answer(stdout="".join(f"{name}|{count}\n" for name, count in _burdens(cluster).items()))
        case sent.FACTS:
            return Answer(stdout="".join(f"{name}|{value}\n" for name, value in _facts(cluster).items()))
    if match := _CAUGHT_UP.search(text):
        final = parse_lsn(match[1]) or 0
        same = (cluster.system_identifier, str(cluster.timeline)) == (match[2], match[3])
        holds = cluster.role == "standby" and cluster.replayed > final and same
        return Answer(stdout="t\n" if holds else "f\n")
    raise NoRule(f"the simulated world has no rule for the statement {text!r}, on {call.host.name}")


def _burdens(cluster: Cluster) -> dict[str, int]:
    return {
        "standbys": cluster.followers,
        "base backups": 0,
        "prepared transactions": 0,
        "logical slots": 0,
        "faulty hba lines": 0,
        "sender timeout ms": 60_000,
        "standby settings of an older drill": 0,
    }


def _facts(cluster: Cluster) -> dict[str, str]:
    return {
        "system_identifier": cluster.system_identifier,
        "config_file": f"{cluster.config}/postgresql.conf",
        "data_directory": cluster.directory,
        "hba_file": cluster.hba,
        "port": str(cluster.port),
        "server_version": "15.18 (Debian 15.18-0+deb12u1)",
        "unix_socket_directories": cluster.socket,
        "BINDIR": "/usr/lib/postgresql/15/bin",
    }


# --- scripts


def _checkpoint(_call: Call, cluster: Cluster, _given: Variables) -> Answer:
    if cluster.role == "primary":
        postgres.checkpoint(cluster)
    return Answer(takes=0.05)


def _reload(call: Call, cluster: Cluster, _given: Variables) -> Answer:
    postgres.load_hba(call.host, cluster)
    return Answer(stdout="t\n")


def _close(call: Call, cluster: Cluster, _given: Variables) -> Answer:
    if cluster.role == "standby":
        return _script_error("pg_logical_emit_message() cannot be executed during recovery")
    postgres.write(cluster, call.now)
    postgres.load_hba(call.host, cluster)
    if not cluster.fenced and cluster.clients:
        return _script_error(f"{cluster.clients} sessions of others come back again and again")
    cluster.open = 0
    mark = cluster.end
    cluster.end += 0x58
    return Answer(stdout=f"{show_lsn(mark + 0x58)}\n", takes=0.06)


def _canary(_call: Call, cluster: Cluster, given: Variables) -> Answer:
    if cluster.role == "standby":
        return _script_error("cannot execute CREATE SCHEMA in a read-only transaction")
    cluster.canaries.append(given["step"])
    cluster.end += 0x200
    return Answer()


def _promote(call: Call, cluster: Cluster, _given: Variables) -> Answer:
    if cluster.role == "primary":
        hint = "HINT:  Recovery control functions can only be executed during recovery."
        return _script_error(f"recovery is not in progress\n{hint}")
    postgres.promote(call.host, cluster, call.now)
    return Answer(stdout="t\n", takes=PROMOTE_TAKES)


def _slot(_call: Call, cluster: Cluster, given: Variables) -> Answer:
    if given["slot"] in cluster.slots:
        return Answer()
    cluster.slots.add(given["slot"])
    return Answer(stdout=f"({given['slot']},{show_lsn(cluster.end)})\n")


def _script_error(text: str) -> Answer:
    return Answer(3, stderr=f"psql:<stdin>:1: ERROR:  {text}\n")


SCRIPTS: dict[str, Callable[[Call, Cluster, Variables], Answer]] = {
    sent.CANARY: _canary,
    sent.CLOSE: _close,
    sent.ONE_CHECKPOINT: _checkpoint,
    sent.PROMOTE: _promote,
    sent.RELOAD: _reload,
    sent.SLOT: _slot,
    sent.TWO_CHECKPOINTS: _checkpoint,
}


# --- the other programs


def pg_controldata(call: Call) -> Answer:
    """As much of it as is read."""
    cluster = _in(call.host, call.arguments[-1])
    if cluster is None:
        text = f'could not open file "{call.arguments[-1]}/global/pg_control" for reading: No such file or directory'
        return Answer(1, stderr=f"pg_controldata: error: {text}\n")
    fields = {
        "pg_control version number": "1300",
        "Catalog version number": "202209061",
        "Database system identifier": cluster.system_identifier,
        "Database cluster state": cluster.state,
        "Latest checkpoint location": show_lsn(cluster.checkpoint),
        "Latest checkpoint's TimeLineID": str(cluster.checkpoint_timeline),
    }
    return Answer(stdout="".join(f"{name + ':':<38}{value}\n" for name, value in fields.items()))


def pg_lsclusters(call: Call) -> Answer:
    """One line for each cluster of the host."""
    lines = []
    for cluster in call.host.clusters.values():
        version, name = cluster.unit.removeprefix("postgresql@").removesuffix(".service").split("-", 1)
        status = "online" if cluster.running else "down"
        lines.append(f"{version} {name} {cluster.port} {status} postgres {cluster.directory} /var/log/postgresql\n")
    return Answer(stdout="".join(lines))


def od(call: Call) -> Answer:
    """Who a cluster is, or in what state, from its control file."""
    match call.arguments:
        case ["-An", "-tu8", "-N8", path] if cluster := _in(call.host, path.removesuffix("/global/pg_control")):
            return Answer(stdout=f"{int(cluster.system_identifier):>21}\n")
        case ["-An", "-tu4", "-j16", "-N4", path] if cluster := _in(call.host, path.removesuffix("/global/pg_control")):
            return Answer(stdout=f"{_STATES[cluster.state]:>11}\n")
        case [*_, path]:
            return Answer(1, stderr=f"od: {path}: No such file or directory\n")
    raise NoRule("the simulated world has no rule for od without a file")


def ss(call: Call) -> Answer:
    """Whether anything listens at a port."""
    match call.arguments:
        case ["-Hltn", filter] if filter.startswith("sport = :"):
            cluster = _at(call.host, int(filter.removeprefix("sport = :")))
            there = cluster is not None and cluster.running
            return Answer(stdout=f"LISTEN 0      244    127.0.0.1:{filter[9:]} 0.0.0.0:*\n" if there else "")
    raise NoRule(f"the simulated world has no rule for ss {' '.join(call.arguments)}")


# --- named queries


def query(hosts: "Iterable[Host]", cluster: Cluster, name: str, now: float) -> list[dict[str, Any]]:
    """The rows of a named query. Raises NoRule for one that is not known here."""
    if name not in QUERIES:
        raise NoRule(f"the simulated world has no rule for the query {name!r}")
    return QUERIES[name](list(hosts), cluster, now)


def _primary(hosts: "list[Host]", cluster: Cluster, now: float) -> list[dict[str, Any]]:
    writes = cluster.role == "primary"
    standbys = [
        {
            "name": name,
            "state": "streaming",
            "sent": show_lsn(standby.end),
            "replayed": show_lsn(standby.replayed),
            "reply_age": round((now - standby.heard) % postgres.STATUS_INTERVAL, 6),
        }
        for name, standby in postgres.standbys_of(hosts, cluster)
    ]
    return [
        {
            "in_recovery": not writes,
            "system_identifier": cluster.system_identifier,
            "lsn": show_lsn(cluster.end) if writes else None,
            "timeline": cluster.timeline if writes else None,
            "standbys": standbys,
        }
    ]


def _standby(_hosts: "list[Host]", cluster: Cluster, _now: float) -> list[dict[str, Any]]:
    follows = cluster.role == "standby"
    return [
        {
            "in_recovery": follows,
            "system_identifier": cluster.system_identifier,
            "received": show_lsn(cluster.end) if follows else None,
            "replayed": show_lsn(cluster.replayed) if follows else None,
            "timeline": cluster.timeline,
            "pause": "not paused" if follows else None,
            "delay": "0",
            "receiver": "streaming" if cluster.streaming else None,
        }
    ]


def _settings(_hosts: "list[Host]", _cluster: Cluster, _now: float) -> list[dict[str, Any]]:
    known = {
        "max_connections": 100,
        "max_locks_per_transaction": 64,
        "max_prepared_transactions": 0,
        "max_wal_senders": 10,
        "max_worker_processes": 8,
    }
    return [{"name": name, "setting": setting} for name, setting in known.items()]


def _sessions(_hosts: "list[Host]", cluster: Cluster, _now: float) -> list[dict[str, Any]]:
    if not cluster.open:
        return []
    return [{"role": "app", "application": "", "address": "127.0.0.1", "sessions": cluster.open}]


QUERIES: dict[str, Callable[["list[Host]", Cluster, float], list[dict[str, Any]]]] = {
    "primary": _primary,
    "sessions": _sessions,
    "settings": _settings,
    "standby": _standby,
}
"""What the named queries of transports/queries.sql answer."""
