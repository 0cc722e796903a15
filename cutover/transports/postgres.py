"""Held connections to the databases of a runbook: one each, through the SSH connection to their host; they only read.

The tunnel ends at 127.0.0.1 here, but libpq is told the host's real name beside that address, so that ~/.pgpass and
certificates are looked up by the name. A query on a frozen server could hold us up for as long as its cancellation
takes, so none is ever awaited: at the deadline the connection is dropped, and the answer is unknown.
"""

import asyncio
import contextlib
import os
import re
import socket
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from importlib import resources
from typing import Any

import asyncssh
import psycopg
from psycopg.rows import dict_row

from cutover.errors import SecretUnavailable
from cutover.model.databases import Database
from cutover.model.effects import Query, Reply
from cutover.model.text import visible_line
from cutover.transports.line import Line
from cutover.transports.secrets import Secrets
from cutover.transports.ssh import Unsent

CONNECT_SECONDS = 10
_NAMED = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)

Connection = psycopg.AsyncConnection[dict[str, Any]]


def _queries() -> dict[str, str]:
    text = resources.files(__package__).joinpath("queries.sql").read_text(encoding="utf-8")
    _, *parts = _NAMED.split(text)
    return dict(zip(parts[::2], parts[1::2], strict=True))


QUERIES: dict[str, str] = _queries()
"""The text of each named query."""


class Databases:
    """The held connections, by the databases' names in the runbook."""

    def __init__(self, databases: Mapping[str, Database], secrets: Secrets) -> None:
        self._held = {name: Held(database, secrets) for name, database in databases.items()}

    async def perform(self, query: Query, line: Line) -> Reply:
        """Ask. What was certainly not asked is refused; whatever is lost after that is unknown."""
        return await self._held[query.database].perform(query, line)

    def host_of(self, name: str) -> str | None:
        """The host of a database; None for a name that is none."""
        held = self._held.get(name)
        return held.database.host if held else None

    def on(self, host: str) -> "list[Held]":
        """The connections to the databases of a host."""
        return [held for held in self._held.values() if held.database.host == host]

    async def close(self) -> None:
        """Let go of them all."""
        for held in self._held.values():
            await held.drop()


class Held:
    """One connection and its tunnel: opened when first needed, and again once it was lost."""

    def __init__(self, database: Database, secrets: Secrets) -> None:
        self.database = database
        self._secrets = secrets
        self._lock = asyncio.Lock()
        self._connection: Connection | None = None
        self._tunnel: asyncssh.SSHListener | None = None

    async def perform(self, query: Query, line: Line) -> Reply:
        """As `Databases.perform` says."""
        if query.name not in QUERIES:
            return Reply(outcome="refused", code="bad-request", detail=f"there is no query {query.name!r}")
        asked = asyncio.create_task(self._ask(query, line))
        done, _ = await asyncio.wait([asked], timeout=query.timeout)
        if not done:
            self._hang_up()
            asked.add_done_callback(lambda task: task.cancelled() or task.exception())
            asked.cancel()
            return Reply(outcome="unknown", detail=f"{self._where} did not answer within {query.timeout:g} s")
        return asked.result()

    async def open(self, line: Line) -> None:
        """Open it ahead of its first use, if it can be: a database that is down is for the checks to tell."""
        with contextlib.suppress(Unsent, SecretUnavailable, psycopg.Error, OSError, TimeoutError, asyncssh.Error):
            async with asyncio.timeout(2 * CONNECT_SECONDS), self._lock:
                await self._open(line)

    async def drop(self) -> None:
        """Let go of the connection at once; no farewell is awaited."""
        connection, self._connection = self._connection, None
        tunnel, self._tunnel = self._tunnel, None
        if connection is not None:
            connection.pgconn.finish()
        if tunnel is not None:
            tunnel.close()

    def _hang_up(self) -> None:
        """End the conversation under the feet of whoever waits for an answer: a cancellation would be waited for."""
        connection = self._connection
        if connection is not None and not connection.closed:
            with contextlib.suppress(OSError, psycopg.Error):
                with socket.socket(fileno=os.dup(connection.pgconn.socket)) as wire:
                    wire.shutdown(socket.SHUT_RDWR)
                connection.pgconn.consume_input()

    @property
    def _where(self) -> str:
        return f"{self.database.name} on {self.database.host}"

    async def _ask(self, query: Query, line: Line) -> Reply:
        """A connection that is lost is opened once more: what only reads does no harm twice."""
        async with self._lock:
            reply = await self._try(query, line)
            return await self._try(query, line) if reply.outcome == "unknown" else reply

    async def _try(self, query: Query, line: Line) -> Reply:
        try:
            connection = await self._open(line)
        except Unsent as problem:
            return Reply(outcome="refused", code=problem.code, detail=problem.detail)
        except SecretUnavailable as problem:
            return Reply(outcome="refused", code="secret", detail=str(problem))
        except (psycopg.Error, OSError, asyncssh.Error) as problem:
            await self.drop()
            return Reply(outcome="refused", code="unreachable", detail=f"{self._where}: {_said(problem)}")
        try:
            cursor = await connection.execute(QUERIES[query.name].encode(), dict(query.params) or None)
            rows = await cursor.fetchall()
        except (psycopg.Error, OSError) as problem:
            said = f"{self._where}: {_said(problem)}"
            if not connection.closed:
                return Reply(outcome="refused", code="sql", detail=said)
            await self.drop()
            return Reply(outcome="unknown", detail=said)
        plain = ({name: _plain(value) for name, value in row.items()} for row in rows)
        return Reply(outcome="answered", rows=tuple(plain))

    async def _open(self, line: Line) -> Connection:
        if self._connection is not None and not self._connection.closed:
            return self._connection
        await self.drop()
        database = self.database
        password = await self._secrets.unseal(database.password)
        ssh = await line.connection()
        self._tunnel = await ssh.forward_local_port("127.0.0.1", 0, "127.0.0.1", database.port)
        self._connection = await Connection.connect(
            host=database.address,
            hostaddr="127.0.0.1",
            port=self._tunnel.get_port(),
            dbname=database.name,
            user=database.user,
            password=password or None,
            application_name="cutover",
            connect_timeout=CONNECT_SECONDS,
            options="-c default_transaction_read_only=on -c statement_timeout=30s",
            client_encoding="utf8",
            autocommit=True,
            row_factory=dict_row,
        )
        return self._connection


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    match value:
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case datetime() | date():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case bytes():
            return value.hex()
    return value


def _said(problem: Exception) -> str:
    return visible_line(str(problem).strip() or type(problem).__name__)[:300]
