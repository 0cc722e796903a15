"""The pins of databases: which cluster each is in, asked of the running server and of nobody else."""

import asyncio

import pydantic

from cutover.checks.host import said
from cutover.checks.postgres import AS_OWNER, FACTS, lines_in
from cutover.errors import PinningFailed
from cutover.model.databases import Database
from cutover.model.effects import Command, OnHost, Reply
from cutover.model.pins import DatabasePins
from cutover.model.plan import Plan
from cutover.planning.databases import cluster_of
from cutover.ports import World

CLUSTERS = ("pg_lsclusters", "--no-header")


async def collect(world: World, plan: Plan, timeout: float) -> dict[str, DatabasePins]:
    """Find every cluster. Raises PinningFailed, naming every database that did not answer."""
    databases = plan.scope.databases
    found = await asyncio.gather(
        *(_collect_one(world, each, timeout) for each in databases.values()), return_exceptions=True
    )
    failures = [each for each in found if isinstance(each, BaseException)]
    for failure in failures:
        if not isinstance(failure, PinningFailed):
            raise failure
    if failures:
        raise PinningFailed("\n".join(map(str, failures)))
    return {name: each for name, each in zip(databases, found, strict=True) if isinstance(each, DatabasePins)}


async def _collect_one(world: World, database: Database, timeout: float) -> DatabasePins:
    port = database.port
    if cluster := cluster_of(database.unit):
        lines = lines_in(await _read(world, database, CLUSTERS, timeout), 0) or []
        listed = [words for line in lines if tuple((words := line.split())[:2]) == cluster]
        if not listed:
            raise PinningFailed(f"{database.host} has no cluster {'/'.join(cluster)} (pg_lsclusters).")
        port = int(listed[0][2])
    # The socket's directory is psql's own: that of the server is among what is asked.
    argv = (*AS_OWNER, "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-p", str(port), "-d", database.name, "-c", FACTS)
    answered = lines_in(await _read(world, database, argv, timeout), 0) or []
    facts = dict(line.partition("|")[::2] for line in answered)
    try:
        return DatabasePins(
            system_identifier=facts["system_identifier"],
            version=facts["server_version"].split()[0],
            port=int(facts["port"]),
            directory=facts["data_directory"],
            config=facts["config_file"].rpartition("/")[0],
            hba=facts["hba_file"],
            binaries=facts["BINDIR"],
            socket=facts["unix_socket_directories"].split(",")[0].strip(),
        )
    except (KeyError, ValueError, pydantic.ValidationError):
        raise PinningFailed(f"{database.key}: the cluster on {database.host} did not say who it is.") from None


async def _read(world: World, database: Database, argv: tuple[str, ...], timeout: float) -> Reply:
    reply = await world.perform(OnHost(host=database.host, commands=(Command(argv),), timeout=timeout, reads=True))
    if reply.outcome != "answered" or not reply.commands:
        raise PinningFailed(f"{database.key} on {database.host}: {reply.detail or reply.code or 'no answer'}")
    if reply.commands[0].exit != 0:
        raise PinningFailed(f"{database.key} on {database.host}: `{argv[-1][:40]}…` failed{said(reply.commands[0])}")
    return reply
