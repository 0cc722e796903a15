"""Real Postgres clusters of the tests' own on loopback: a primary and its standby, laid out as Debian does."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cutover.model.databases import Database
from cutover.model.effects import Command, CommandReply, OnHost, Reply, sealed_text
from tests.transports.sshd import free_port

BINARIES = Path("/usr/lib/postgresql/15/bin")
PASSWORD = "s3cret-of-the-test"

SETTINGS = """\
data_directory = '{directory}'
hba_file = '{config}/pg_hba.conf'
ident_file = '{config}/pg_ident.conf'
port = {port}
listen_addresses = '127.0.0.1'
unix_socket_directories = '{socket}'
fsync = off
shared_buffers = 8MB
max_wal_senders = 5
wal_sender_timeout = 8s
include_dir 'conf.d'
"""
HBA = """\
local all         postgres                peer
local replication replicator              trust
host  replication replicator 127.0.0.1/32 trust
host  all         all        127.0.0.1/32 scram-sha-256
"""


def why_not() -> str:
    """Why there can be no cluster here; empty when there can."""
    if os.getuid() != 0 or shutil.which("sudo") is None:
        return "needs root and sudo: Postgres runs as a user of its own"
    return "" if (BINARIES / "initdb").exists() else "needs Postgres 15: apt-get install postgresql-15"


@dataclass
class Cluster:
    """One cluster. `key` is its name in a runbook."""

    root: Path
    key: str
    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        self.directory, self.config, self.socket = (self.root / self.key / name for name in ("data", "etc", "run"))
        owner = pwd.getpwnam("postgres")
        for path in (self.root, self.root / self.key, self.config, self.config / "conf.d", self.socket):
            path.mkdir(exist_ok=True)
            os.chown(path, owner.pw_uid, owner.pw_gid)
        settings = SETTINGS.format(directory=self.directory, config=self.config, port=self.port, socket=self.socket)
        for name, text in (("postgresql.conf", settings), ("pg_hba.conf", HBA), ("pg_ident.conf", "")):
            file = self.config / name
            file.write_text(text)
            os.chown(file, owner.pw_uid, owner.pw_gid)

    @property
    def database(self) -> Database:
        """As a plan has it."""
        return Database(
            key=self.key,
            host=self.key,
            address="127.0.0.1",
            unit=f"postgresql@15-{self.key}.service",
            name="app",
            user="cutover",
            password=(PASSWORD,),
            port=self.port,
            directory=str(self.directory),
            config=str(self.config),
            hba=str(self.config / "pg_hba.conf"),
            binaries=str(BINARIES),
            socket=str(self.socket),
            replicator="replicator",
            system_identifier=self.system_identifier,
        )

    @property
    def system_identifier(self) -> str:
        """Who it is."""
        shown = owner(BINARIES / "pg_controldata", "-D", self.directory)
        return next(line.split()[-1] for line in shown.splitlines() if "system identifier" in line)

    def init(self) -> None:
        """Make it a primary with a database, a table, and the roles that the tests use."""
        owner(BINARIES / "initdb", "-D", self.directory, "-U", "postgres", "--no-sync", "-E", "UTF8", "--locale=C")
        self.start()
        self.sql("CREATE DATABASE app", name="postgres")
        self.sql(
            f"CREATE ROLE cutover LOGIN PASSWORD '{PASSWORD}' IN ROLE pg_monitor; CREATE ROLE app LOGIN PASSWORD 'app';"
            "CREATE ROLE replicator LOGIN REPLICATION; CREATE TABLE posts (id int); GRANT ALL ON posts TO app"
        )

    def follow(self, primary: Cluster) -> None:
        """Make it a standby of that one, and wait until it streams."""
        primary.sql(f"SELECT pg_create_physical_replication_slot('{self.key}')")
        way = f"host=127.0.0.1 port={primary.port} user=replicator application_name={self.key}"
        owner(BINARIES / "pg_basebackup", "-D", self.directory, "-d", way, "-c", "fast", "-S", self.key, "--no-sync")
        (self.config / "conf.d/follow.conf").write_text(
            f"primary_conninfo = '{way}'\nprimary_slot_name = '{self.key}'\n"
        )
        owner("touch", self.directory / "standby.signal")
        self.start()
        wait_until(lambda: primary.sql("SELECT state FROM pg_stat_replication") == "streaming")

    def start(self) -> None:
        """Start it and wait until it answers."""
        log, options = self.root / f"{self.key}.log", f"-c config_file={self.config}/postgresql.conf"
        owner(BINARIES / "pg_ctl", "-D", self.directory, "-o", options, "-l", log, "-w", "-s", "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop it, if it runs."""
        if self.pid is not None:
            owner(BINARIES / "pg_ctl", "-D", self.directory, "-m", mode, "-w", "-s", "stop")

    @property
    def pid(self) -> int | None:
        """The postmaster's pid."""
        try:
            return int((self.directory / "postmaster.pid").read_text().split()[0])
        except OSError:
            return None

    def kill(self) -> None:
        """Its sudden death: every process of it, by its pid."""
        if (pid := self.pid) is None:
            return
        children = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout
        for each in (pid, *map(int, children.split())):
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        wait_until(lambda: not Path(f"/proc/{pid}").exists())

    def sql(self, statement: str, name: str = "app") -> str:
        """What the owner's psql prints."""
        where = ("-h", self.socket, "-p", str(self.port), "-d", name)
        return owner("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", *where, "-c", statement)


def owner(*argv: str | Path) -> str:
    """Run a program as postgres; returns what it printed."""
    words = ["sudo", "-n", "-u", "postgres", *map(str, argv)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd="/", timeout=60)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout.strip()


def run(argv: Iterable[str], stdin: str = "") -> tuple[int, str, str]:
    """Run a command as the login user of a host would."""
    done = subprocess.run(list(argv), input=stdin, capture_output=True, text=True, check=False, cwd="/", timeout=60)
    return done.returncode, done.stdout, done.stderr


def perform(effect: OnHost, secret: str = "") -> Reply:
    """As much of the wrapper as these tests need: guards, then the commands until one fails."""
    for guard in effect.guards:
        code, out, err = run(guard.argv)
        if out.removesuffix("\n") != guard.want:
            return Reply(outcome="refused", code="guard", detail=f"{guard.says}: {out!r} {err}")
    replies: list[CommandReply] = []
    for command in effect.commands:
        code, out, err = run(*_words(command))
        replies.append(CommandReply(code, out.encode(), err.encode()))
        if code:
            break
    return Reply(outcome="answered", commands=tuple(replies))


def _words(command: Command) -> tuple[tuple[str, ...], str]:
    return command.argv, sealed_text(command.stdin)


def wait_until(holds: object, seconds: float = 20.0) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + seconds
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not come to hold"
        time.sleep(0.05)
