"""The story's services in a lab that runs them: questions to the databases, and when all of it is up."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from tests.lab import stack
from tests.lab.client import LabHost
from tests.lab.place import LabError
from tests.lab.topology import HOSTS, SERVING_SITE

SERVING_WAIT = 60.0
WORKERS = 5  # Sidekiq processes on the serving site: two hosts, and one scheduler
GET = """
import sys, urllib.request
with urllib.request.urlopen(sys.argv[1], timeout=3) as answer:
    print(answer.headers.get("X-App-Host"), answer.read().decode())
"""


def psql(host: LabHost, sql: str, *, database: str = "mastodon") -> str:
    """What `sql` answers on the host's own Postgres, as postgres; columns are separated by `|`."""
    command = ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", database, "-f", "-"]
    return host.run(["runuser", "-u", "postgres", "--", *command], input=sql, cwd="/").stdout.strip()


def redis(host: LabHost, *words: str) -> str:
    """What the host's own Redis answers."""
    script = 'REDISCLI_AUTH=$(cat /etc/redis/password) exec redis-cli "$@"'
    return host.run(["sh", "-c", script, "sh", *words]).stdout.strip()


def redis_info(host: LabHost, section: str) -> dict[str, str]:
    lines = (line.partition(":") for line in redis(host, "info", section).splitlines())
    return {key: value for key, found, value in lines if found}


def get(source: LabHost, url: str) -> tuple[str, str]:
    """Fetch a page from where `source` is: which app host served it, and what it says."""
    served_by, _, text = source.run(["python3", "-c", GET, url], timeout=10).stdout.strip().partition(" ")
    return served_by, text


def writable_databases() -> list[LabHost]:
    """The db hosts whose Postgres takes writes: one, if all is well."""
    found = []
    for host in (LabHost(name) for name, host in HOSTS.items() if host.role == "db"):
        with contextlib.suppress(LabError):
            if psql(host, "SELECT pg_is_in_recovery()") == "f":
                found.append(host)
    return found


def control_data(host: LabHost) -> dict[str, str]:
    """What pg_controldata says, also of a server that is stopped."""
    lines = host.run(["/usr/lib/postgresql/15/bin/pg_controldata", f"/{stack.DATA}"]).stdout.splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def eventually(true: Callable[[], object], seconds: float = 15.0) -> None:
    """Wait until something holds; an AssertionError if it does not in time."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"still not so after {seconds:g} s"
        time.sleep(0.1)


def switch_origin(edge: LabHost, site: str) -> None:
    """Let an edge send users to `site`, as an administrator would."""
    edge.write("/etc/nginx/origin.conf", stack.origin(site))
    edge.run(["sh", "-c", "nginx -t && systemctl reload nginx"])


def wait_serving(booted: list[str]) -> None:
    """Return when what runs on the booted hosts serves; the hosts themselves are up already."""
    deadline = time.monotonic() + SERVING_WAIT
    for what, host, command, expected in _expectations(set(booted)):
        while True:
            answer = host.run(["sh", "-c", command], check=False)
            if answer.returncode == 0 and expected in answer.stdout:
                break
            if time.monotonic() > deadline:
                said = (answer.stderr or answer.stdout).strip()[-500:]
                raise LabError(f"after {SERVING_WAIT:.0f} s still not true: {what}; it says: {said}")
            time.sleep(0.1)


def _expectations(booted: set[str]) -> Iterator[tuple[str, LabHost, str, str]]:
    """In the order in which they come true: what is meant, where to ask, what to ask, and what the answer holds."""
    primary, standby = LabHost(stack.PRIMARY), LabHost(stack.STANDBY)
    ask_redis = "REDISCLI_AUTH=$(cat /etc/redis/password) redis-cli"
    web = {host.name for host in HOSTS.values() if (host.site, host.role) == (SERVING_SITE, "web")} & booted
    if {primary.name, standby.name} <= booted:
        sent = "SELECT 'state is ' || state FROM pg_stat_replication"
        yield "Postgres streams", primary, f'runuser -u postgres -- psql -XAtc "{sent}"', "state is streaming"
        yield "Redis is in step", standby, f"{ask_redis} info replication", "master_link_status:up"
    if primary.name not in booted:
        return
    for name in sorted(web):
        page = f"python3 -c '{GET}' http://127.0.0.1:3000/"
        yield f"{name} shows a page", LabHost(name), page, name
    if len(web) == 2:
        count = f"{ask_redis} scard processes"
        yield f"{WORKERS} Sidekiq processes run", primary, count, str(WORKERS)
