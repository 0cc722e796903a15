"""Postgres as it is acted upon and read on its own host: command lines, statements, and what they answer.

Everything here is run as the cluster's owner by sudo; nothing needs the engine's own role or an open port. Statements
go in on stdin, where psql puts in `:'name'`, so that each text is the same in every run.

A cluster's control file tells who it is and how it ended, running or not. Its first 20 bytes have been the same since
8.0: the system identifier in 8 bytes, two versions, and the state in 4. `od` reads them, which gives a guard one
short line where pg_controldata gives forty.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cutover.checks.host import AS_ROOT, reading
from cutover.checks.units import UnitState, show, state_in
from cutover.model.databases import Database
from cutover.model.effects import Command, Guard, OnHost, Reply
from cutover.model.lsn import parse_lsn, show_lsn

OWNER = "postgres"
AS_OWNER = ("sudo", "-n", "-u", OWNER)

SHUT_DOWN = "shut down"
"""The only state of a primary that says that all it ever wrote is in its log, up to the final checkpoint."""
_STATES = {SHUT_DOWN: 1, "shut down in recovery": 2}

FENCE_BEGIN = "# cutover fence: begin"
FENCE_END = "# cutover fence: end"

IN_RECOVERY = "SELECT pg_is_in_recovery()"
TWO_CHECKPOINTS = "CHECKPOINT;\nCHECKPOINT;\n"
ONE_CHECKPOINT = "CHECKPOINT;\n"
RELOAD = "SELECT pg_reload_conf();\n"
# Reload, then end the sessions of everybody else until two counts in a row are 0; then a mark in the log, after which
# nobody but the engine can have written. A faulty hba file would be ignored by the reload, so that is looked at first.
CLOSE = """\
SELECT set_config('cutover.role', :'role', false) \\g /dev/null
DO $$
DECLARE others int; zeros int := 0; faulty int;
BEGIN
  SELECT count(*) INTO faulty FROM pg_hba_file_rules WHERE error IS NOT NULL;
  IF faulty > 0 THEN RAISE EXCEPTION 'the hba file has % faulty lines: a reload would ignore it', faulty; END IF;
  PERFORM pg_reload_conf();
  FOR turn IN 1..200 LOOP
    PERFORM pg_sleep(0.02);
    PERFORM pg_stat_clear_snapshot();
    SELECT count(pg_terminate_backend(pid)) INTO others FROM pg_stat_activity
      WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
      AND usename IS DISTINCT FROM current_setting('cutover.role');
    zeros := CASE WHEN others = 0 THEN zeros + 1 ELSE 0 END;
    EXIT WHEN zeros = 2;
  END LOOP;
  IF zeros < 2 THEN RAISE EXCEPTION '% sessions of others come back again and again', others; END IF;
END $$;
SELECT pg_logical_emit_message(true, 'cutover', :'step');
"""
CANARY = """\
SET client_min_messages = warning;
BEGIN;
CREATE SCHEMA IF NOT EXISTS cutover;
CREATE TABLE IF NOT EXISTS cutover.canary (step text NOT NULL, at timestamptz NOT NULL DEFAULT now());
INSERT INTO cutover.canary (step) VALUES (:'step');
COMMIT;
"""
PROMOTE = """\
SELECT pg_promote(false);
DO $$
BEGIN
  FOR turn IN 1..6000 LOOP
    EXIT WHEN NOT pg_is_in_recovery();
    PERFORM pg_sleep(0.01);
  END LOOP;
  IF pg_is_in_recovery() THEN RAISE EXCEPTION 'still in recovery 60 s after pg_promote'; END IF;
END $$;
"""
SLOT = """\
SELECT pg_create_physical_replication_slot(:'slot', true)
  WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = :'slot');
"""
SLOTS = "SELECT slot_name FROM pg_replication_slots WHERE slot_type = 'physical' ORDER BY slot_name"
# The timeline that a standby is on: its receiver's, or what it has replayed.
TIMELINE = (
    "(SELECT greatest(c.timeline_id, coalesce(r.min_recovery_end_timeline, 0), "
    "coalesce((SELECT received_tli FROM pg_stat_wal_receiver), 0)) "
    "FROM pg_control_checkpoint() c, pg_control_recovery() r)"
)
# Asks again every 0.1 s until it holds.
CAUGHT_UP = (
    "WITH RECURSIVE look(turn, holds) AS (SELECT 0, HOLDS UNION ALL SELECT turn + 1, HOLDS "
    "FROM look, pg_sleep(0.1) WHERE NOT holds AND turn < 100) SELECT bool_or(holds) FROM look"
)
# Who a cluster is and where it keeps what; one name and value per line.
FACTS = (
    "SELECT 'system_identifier', system_identifier::text FROM pg_control_system() "
    "UNION ALL SELECT name, setting FROM pg_settings WHERE name IN "
    "('data_directory', 'config_file', 'hba_file', 'port', 'server_version', 'unix_socket_directories') "
    "UNION ALL SELECT name, setting FROM pg_config WHERE name = 'BINDIR'"
)
# What a primary must not be doing when it is about to be stopped; one name and number per line.
BURDENS = """\
SELECT 'standbys', count(*) FROM pg_stat_replication WHERE state = 'streaming'
UNION ALL SELECT 'base backups', count(*) FROM pg_stat_progress_basebackup
UNION ALL SELECT 'prepared transactions', count(*) FROM pg_prepared_xacts
UNION ALL SELECT 'logical slots', count(*) FROM pg_replication_slots WHERE slot_type = 'logical'
UNION ALL SELECT 'faulty hba lines', count(*) FROM pg_hba_file_rules WHERE error IS NOT NULL
UNION ALL SELECT 'sender timeout ms', setting::bigint FROM pg_settings WHERE name = 'wal_sender_timeout'
UNION ALL SELECT 'standby settings of an older drill', count(*) FROM pg_file_settings
  WHERE sourcefile LIKE '%postgresql.auto.conf' AND (name LIKE 'recovery_target%' OR name IN
  ('primary_conninfo', 'primary_slot_name', 'restore_command', 'default_transaction_read_only'))"""


def psql(database: Database, *options: str, into: str = "") -> tuple[str, ...]:
    """psql over the Unix socket, as the owner: no settings file, no alignment, rows only, stop at the first error."""
    where = ("-h", database.socket, "-p", str(database.port), "-d", database.name)
    return (*AS_OWNER, "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", *where, *(("-o", into) if into else ()), *options)


def ask(database: Database, statement: str) -> tuple[str, ...]:
    """The command line that runs one statement."""
    return psql(database, "-c", statement)


def script(database: Database, text: str, *, into: str = "", **variables: str) -> Command:
    """A script with its variables; what it prints may go into a file of the owner's."""
    given = [word for name, value in variables.items() for word in ("-v", f"{name}={value}")]
    return Command(psql(database, *given, "-f", "-", into=into), (text,))


def as_owner(*argv: str, stdin: str = "") -> Command:
    """A program run as the owner of the cluster."""
    return Command((*AS_OWNER, *argv), (stdin,) if stdin else ())


# --- the fence in the hba file


def fence_block(database: Database) -> str:
    """The lines that go before all others: the first line that fits a login decides. `all` is not replication."""
    return "\n".join(
        (
            FENCE_BEGIN,
            f"local all {OWNER} peer",
            f'host all "{database.user}" 127.0.0.1/32 md5',
            f'host all "{database.user}" ::1/128 md5',
            "local all all reject",
            "host all all all reject",
            FENCE_END,
        )
    )


def put_fence(database: Database) -> Command:
    """Have the fence in the hba file, once; the file is replaced as a whole, its owner and mode stay."""
    block = fence_block(database).replace("\n", "\\n")
    return Command((*AS_ROOT, "sed", "-i", "-e", f"1i {block}", "-e", _DELETE, "--", database.hba))


def lift_fence(database: Database) -> Command:
    """Have the hba file as it was."""
    return Command((*AS_ROOT, "sed", "-i", "-e", _DELETE, "--", database.hba))


_DELETE = f"/^{FENCE_BEGIN}$/,/^{FENCE_END}$/d"


# --- files


def signal_file(database: Database) -> str:
    """While it is there, the cluster starts as a standby, whoever starts it."""
    return f"{database.directory}/standby.signal"


def mark_file(database: Database) -> str:
    """Where the position of the mark is kept."""
    return f"{database.directory}/cutover.mark"


def follow_file(database: Database) -> str:
    """The settings by which it follows the other cluster."""
    return f"{database.config}/conf.d/cutover.conf"


def find_in(database: Database, name: str) -> tuple[str, ...]:
    """Prints the path of a file in the data directory, or nothing."""
    return (*AS_OWNER, "find", database.directory, "-maxdepth", "1", "-name", name)


# --- guards


def is_cluster(database: Database) -> tuple[Guard, ...]:
    """It is the pinned cluster, running or not. An unpinned one is whoever it is: review says so."""
    if database.system_identifier is None:
        return ()
    argv = (*AS_OWNER, "od", "-An", "-tu8", "-N8", f"{database.directory}/global/pg_control")
    says = f"{database.key} on {database.host} is not the pinned cluster {database.system_identifier}"
    return (Guard(argv, f"{int(database.system_identifier):>21}", says),)


def has_state(database: Database, state: str) -> Guard:
    """It has ended in that state."""
    argv = (*AS_OWNER, "od", "-An", "-tu4", "-j16", "-N4", f"{database.directory}/global/pg_control")
    return Guard(argv, f"{_STATES[state]:>11}", f"{database.key} on {database.host} is not '{state}'")


def has_file(database: Database, name: str, there: bool) -> Guard:
    """A file is in the data directory, or is not."""
    want = f"{database.directory}/{name}" if there else ""
    says = f"there is {'no' if there else 'a'} {name} in {database.directory} on {database.host}"
    return Guard(find_in(database, name), want, says)


def answers(database: Database, statement: str, want: str, says: str) -> Guard:
    """A statement answers this and nothing else."""
    return Guard(ask(database, statement), want, says)


def caught_up(database: Database, other: "Stopped") -> tuple[Guard, ...]:
    """It is a standby of the same cluster and timeline and has replayed the other's final checkpoint.

    Strictly beyond its start: that it holds at all says that nothing is lost; that it is strict, that the other can
    follow without being rewound. A standby with an archive may take 5 s to look at what it has, so this asks for 10 s.
    """
    # Nothing here is from a person: a number, digits and a position, each parsed from pg_controldata's answer.
    conditions = (
        "pg_is_in_recovery()",
        f"pg_last_wal_replay_lsn() > '{show_lsn(other.final)}'::pg_lsn",
        f"(SELECT system_identifier::text FROM pg_control_system()) = '{other.system_identifier}'",  # noqa: S608
        f"{TIMELINE} = {other.timeline}",
    )
    statement = CAUGHT_UP.replace("HOLDS", " AND ".join(conditions))
    says = f"{database.key} on {database.host} has not replayed the final checkpoint {show_lsn(other.final)}"
    return (answers(database, statement, "t", says),)


# --- what a stopped cluster says


@dataclass(frozen=True, slots=True)
class Stopped:
    """A cluster as its own host tells while it may be stopped.

    process, port, signal: whether there is a postmaster's file, a listener, a standby.signal. mark: the position of
    the fence's mark in the log, after which nobody but the engine wrote; None where there is none.
    """

    unit: UnitState
    control: Mapping[str, str]
    process: bool
    port: bool
    signal: bool
    mark: int | None

    @property
    def state(self) -> str:
        """The state of the cluster."""
        return self.control["Database cluster state"]

    @property
    def final(self) -> int:
        """Where its last checkpoint begins: the end of its log begins after that."""
        return parse_lsn(self.control["Latest checkpoint location"]) or 0

    @property
    def timeline(self) -> int:
        """The timeline of its last checkpoint."""
        return int(self.control["Latest checkpoint's TimeLineID"])

    @property
    def system_identifier(self) -> str:
        """Who the cluster is."""
        return self.control["Database system identifier"]

    @property
    def gone(self) -> bool:
        """Nothing of it runs."""
        return self.unit.down and not self.process and not self.port

    @property
    def clean(self) -> bool:
        """It was shut down as a primary, and nothing of it runs. The state alone is true too early."""
        return self.gone and self.state == SHUT_DOWN

    @property
    def fenced(self) -> bool:
        """It was shut down cleanly, and whoever starts it gets no second primary."""
        return self.clean and self.unit.hold == "held" and self.signal

    @property
    def words(self) -> str:
        """For a sentence."""
        left = [word for word, there in (("its process", self.process), ("its port", self.port)) if there]
        still = f", {' and '.join(left)} still there" if left else ""
        return f"'{self.state}' at {show_lsn(self.final)} (pg_controldata), unit {self.unit.words}{still}"


NEEDED = (
    "Database system identifier", "Database cluster state", "Latest checkpoint location",
    "Latest checkpoint's TimeLineID",
)  # fmt: skip


def read_stopped(database: Database, timeout: float) -> OnHost:
    """The reading that `stopped_in` understands. The mark comes last: it need not be there."""
    return reading(
        database.host,
        show(database.unit),
        control(database),
        find_in(database, "postmaster.pid"),
        ("ss", "-Hltn", f"sport = :{database.port}"),
        find_in(database, "standby.signal"),
        (*AS_OWNER, "cat", mark_file(database)),
        timeout=timeout,
    )


def control(database: Database) -> tuple[str, ...]:
    """pg_controldata, in English."""
    return (*AS_OWNER, "env", "LC_ALL=C", f"{database.binaries}/pg_controldata", "-D", database.directory)


def stopped_in(reply: Reply | None, database: Database) -> Stopped | None:
    """What the reading tells; None where it does not tell all."""
    unit = state_in(reply, database.unit)
    if reply is None or unit is None or len(reply.commands) < 5 or any(each.exit for each in reply.commands[:5]):
        return None
    texts = [each.stdout.decode(errors="backslashreplace") for each in reply.commands]
    found = control_in(texts[1])
    if found is None:
        return None
    process, port, signal = (bool(text.strip()) for text in texts[2:5])
    mark = parse_lsn(texts[5].strip()) if len(texts) > 5 else None
    return Stopped(unit, found, process, port, signal, mark)


def control_in(text: str) -> dict[str, str] | None:
    """The fields of pg_controldata's output; None where one that is needed is missing or makes no sense."""
    fields = {name.strip(): value.strip() for name, colon, value in (line.partition(":") for line in text.splitlines())}
    whole = all(fields.get(name) for name in NEEDED) and fields[NEEDED[0]].isdigit() and fields[NEEDED[3]].isdigit()
    return fields if whole and parse_lsn(fields[NEEDED[2]]) else None


def lines_in(reply: Reply, number: int) -> list[str] | None:
    """The lines that command `number` printed; None where it failed or did not run."""
    if not 0 <= number < len(reply.commands) or reply.commands[number].exit != 0:
        return None
    return reply.commands[number].stdout.decode(errors="backslashreplace").splitlines()


def pairs_in(lines: list[str] | None) -> Iterator[tuple[str, Any]]:
    """Names and numbers, as psql prints them unaligned."""
    for line in lines or ():
        name, _, value = line.rpartition("|")
        yield name, int(value) if value.lstrip("-").isdigit() else None
