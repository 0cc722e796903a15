"""The story's services on the lab's hosts: one more layer per host, above its seed, and a database to start with.

Everything here is files. A host whose layer is switched on boots with its services running; the data directories are
copied to its disk when it is new, not overlaid: Postgres holds files open that an overlay would swap under its hands.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from pathlib import Path

from tests.lab import base
from tests.lab.place import FILES, LabError, run_dir, seed_dir
from tests.lab.topology import HOSTS, SERVING_SITE, Host

STORY = FILES / "files/story"
PASSWORDS = {"mastodon": "lab-mastodon", "repl": "lab-repl", "cutover": "lab-cutover", "redis": "lab-redis"}
PRIMARY, STANDBY = "alice", "nixie"
BOOT_SECONDS = 20.0
DATA = Path("var/lib/postgresql/15/main")
MASTODON = 2003  # uid and gid, see base.sh

# The units of a web host, and what starts each. The scheduler's queue has one owner per site.
UNITS = {
    "mastodon-web.service": "multi-user.target",
    "mastodon-streaming.service": "multi-user.target",
    "sidekiq-default.service": "multi-user.target",
    "sidekiq-ingress.service": "multi-user.target",
    "sidekiq-scheduler.service": "multi-user.target",
    "tootctl-media.timer": "timers.target",
    "tootctl-media.service": None,
}
SCHEDULER_HOST = "yakko"
SAMPLES = {"app-web.service": "multi-user.target", "app-worker.service": "multi-user.target",
           "app-cron.timer": "timers.target"}  # fmt: skip


# --- what a host's disk is made of -----------------------------------------------------------------------------------


def switched_on() -> bool:
    return _switch().exists()


def switch(on: bool) -> None:
    """For hosts that boot from now on."""
    if on and not _data().exists():
        build()
    _switch().touch() if on else _switch().unlink(missing_ok=True)


def layers(name: str) -> list[Path]:
    layer = _layer(HOSTS[name])
    return [layer] if switched_on() and layer.is_dir() else []


def furnish(name: str, disk: Path) -> None:
    """Put the data where a new host's database will look for it."""
    if not switched_on() or HOSTS[name].role != "db":
        return
    target = disk / DATA
    target.parent.mkdir(parents=True)
    for directory in (target.parents[1], target.parents[0]):
        shutil.chown(directory, "postgres", "postgres")
    subprocess.run(["cp", "-a", str(_data()), str(target)], check=True)
    if name == STANDBY:
        # A clean stop makes a copy as good as a base backup; the slot in it is the primary's own.
        shutil.rmtree(target / "pg_replslot" / STANDBY)
        (target / "standby.signal").touch()
        shutil.chown(target / "standby.signal", "postgres", "postgres")
        with (target / "postgresql.auto.conf").open("a") as settings:
            settings.write(f"primary_conninfo = '{conninfo(PRIMARY, STANDBY)}'\nprimary_slot_name = '{STANDBY}'\n")


def conninfo(primary: str, standby: str) -> str:
    """How `standby` follows `primary`; the same words do for the way back."""
    passfile = "/var/lib/postgresql/.pgpass"
    return f"host={HOSTS[primary].address} user=repl application_name={standby} passfile={passfile}"


def _switch() -> Path:
    return run_dir() / "services"


def _data() -> Path:
    return run_dir() / "data"


def _layer(host: Host) -> Path:
    return run_dir() / "stack" / host.name


# --- making it -------------------------------------------------------------------------------------------------------


def build() -> None:
    shutil.rmtree(run_dir() / "stack", ignore_errors=True)
    made = _make_database()
    for host in HOSTS.values():
        if host.role == "db":
            _furnish_db(host, made / "etc/postgresql")
        elif host.role == "web":
            _furnish_web(host)
        elif host.role == "edge":
            _furnish_edge(host)
        else:
            _furnish_operator(host)
    (made / DATA).rename(_data())  # last: its presence says that all is built
    shutil.rmtree(made.parent)


def _make_database() -> Path:
    """A Debian cluster `15/main` with the story's roles and tables; returns the layer that it was made in."""
    layer = run_dir() / "database/upper"
    shutil.rmtree(layer.parent, ignore_errors=True)
    layer.mkdir(parents=True)
    passwords = [PASSWORDS[role] for role in ("mastodon", "repl", "cutover")]
    with base.merged(layer, base.base_layer()) as root:
        alone = ["unshare", "--net", "--ipc", "--pid", "--fork", "--kill-child", "chroot", str(root)]
        script = ["/bin/sh", "-c", (FILES / "database.sh").read_text(), "database.sh", *passwords]
        schema = (STORY / "conf/schema.sql").read_text()
        done = subprocess.run([*alone, *script], input=schema, text=True, capture_output=True, check=False)
    if done.returncode != 0:
        raise LabError(f"the story's database cannot be made: {(done.stderr or done.stdout).strip()}")
    return layer


def _put(host: Host, path: str, text: str = "", *, mode: int = 0o644, owner: str | int = "root") -> None:
    """A file of the host's layer; directories on the way are what they are in the layers below."""
    file = _layer(host) / path
    _make_parents(host, Path(path))
    base.write(file, text, mode)
    shutil.chown(file, owner, owner)


def _make_parents(host: Host, path: Path) -> None:
    for parent in reversed(path.parents[:-1]):
        here = _layer(host) / parent
        if here.exists():
            continue
        here.mkdir(parents=True)
        for below in (seed_dir(host.name), base.base_layer(), Path("/")):
            if (below / parent).is_dir():
                shutil.copymode(below / parent, here)
                owner = (below / parent).stat()
                os.chown(here, owner.st_uid, owner.st_gid)
                break


def _directory(host: Host, path: str, owner: str | int, mode: int = 0o755) -> None:
    _make_parents(host, Path(path))
    (_layer(host) / path).mkdir(exist_ok=True)
    (_layer(host) / path).chmod(mode)
    shutil.chown(_layer(host) / path, owner, owner)


def _enable(host: Host, unit: str, target: str, file: str | None = None) -> None:
    link = Path("etc/systemd/system", f"{target}.wants", unit)
    _make_parents(host, link)
    (_layer(host) / link).symlink_to(file or f"/lib/systemd/system/{unit}")


def _furnish_db(host: Host, made: Path) -> None:
    conf = "etc/postgresql/15/main"
    _make_parents(host, Path("etc/postgresql"))
    shutil.copytree(made, _layer(host) / "etc/postgresql", symlinks=True)
    subprocess.run(["chown", "-R", "postgres:postgres", str(_layer(host) / "etc/postgresql")], check=True)
    _put(host, f"{conf}/conf.d/lab.conf", (STORY / "conf/postgresql.conf").read_text(), owner="postgres")
    _put(host, f"{conf}/pg_hba.conf", (STORY / "conf/pg_hba.conf").read_text(), mode=0o640, owner="postgres")
    _directory(host, "var/lib/postgresql", "postgres")
    _directory(host, "var/lib/postgresql/archive", "postgres")
    _put(host, "var/lib/postgresql/.pgpass", f"*:*:*:repl:{PASSWORDS['repl']}\n", mode=0o600, owner="postgres")
    _enable(host, "postgresql.service", "multi-user.target")

    settings = (STORY / "conf/redis.conf").read_text()
    if host.name == STANDBY:
        settings += f"replicaof {HOSTS[PRIMARY].address} 6379\n"
    secret = PASSWORDS["redis"]
    _put(host, "etc/redis/redis.conf", settings, mode=0o640, owner="redis")
    _put(host, "etc/redis/password.conf", f"requirepass {secret}\nmasterauth {secret}\n", mode=0o640, owner="redis")
    _put(host, "etc/redis/password", f"{secret}\n", mode=0o640, owner="redis")
    _enable(host, "redis-server.service", "multi-user.target")

    users = "".join(f'"{user}" "{PASSWORDS[user]}"\n' for user in ("mastodon", "cutover"))
    _put(host, "etc/pgbouncer/pgbouncer.ini", (STORY / "conf/pgbouncer.ini").read_text(), owner="postgres")
    _put(host, "etc/pgbouncer/userlist.txt", users, mode=0o640, owner="postgres")


def _furnish_web(host: Host) -> None:
    database = HOSTS[PRIMARY if host.site == SERVING_SITE else STANDBY].address
    settings = {
        "LOCAL_DOMAIN": "story.test",
        "SECRET_KEY_BASE": "lab-secret-key-base",
        "DB_HOST": database,
        "DB_PORT": "5432",
        "DB_NAME": "mastodon",
        "DB_USER": "mastodon",
        "DB_PASS": PASSWORDS["mastodon"],
        "REDIS_URL": f"redis://:{PASSWORDS['redis']}@{database}:6379/0",
        "BOOT_SECONDS": f"{BOOT_SECONDS:g}",
    }
    _directory(host, "srv/app", MASTODON)
    for name in ("app.rb", "config.ru", "streaming.py", "config/puma.rb"):
        _put(host, f"srv/app/{name}", (STORY / "app" / name).read_text())
    lines = "".join(f"{key}={value}\n" for key, value in settings.items())
    _put(host, "srv/app/.env.production", lines, mode=0o640, owner=MASTODON)
    manifest = {"application.js": "/packs/js/application-5f2b7c.js", "common.css": "/packs/css/common-9d1e04.css"}
    _put(host, "srv/app/public/packs/manifest.json", json.dumps(manifest, indent=2) + "\n")

    etc = "etc/systemd/system"
    for unit, target in SAMPLES.items():  # the sample app would be in the way: it has the same port
        if host.site == SERVING_SITE:
            _make_parents(host, Path(etc, f"{target}.wants", unit))
            os.mknod(_layer(host) / etc / f"{target}.wants" / unit, stat.S_IFCHR, os.makedev(0, 0))
    for unit, starter in UNITS.items():
        _put(host, f"{etc}/{unit}", (STORY / "units" / unit).read_text())
        only_elsewhere = unit == "sidekiq-scheduler.service" and host.name != SCHEDULER_HOST
        if starter and host.site == SERVING_SITE and not only_elsewhere:
            _enable(host, unit, starter, f"/{etc}/{unit}")
    # What starts with the host starts fast; what is started later boots as slowly as it would.
    _put(host, "usr/lib/tmpfiles.d/lab-boot.conf", "f /run/lab-boot.env 0644 root root - BOOT_SECONDS=0\n")
    _put(host, f"{etc}/lab-ready.service.d/boot.conf", "[Service]\nExecStartPre=/bin/rm -f /run/lab-boot.env\n")


def _furnish_edge(host: Host) -> None:
    _put(host, "etc/nginx/nginx.conf", (STORY / "conf/nginx.conf").read_text())
    _put(host, "etc/nginx/origin.conf", origin(SERVING_SITE))
    _directory(host, "etc/nginx/server.d", "root")
    _put(host, "usr/share/nginx/story/errors/5xx.html", "<h1>The app does not answer</h1>\n")
    _enable(host, "nginx.service", "multi-user.target")


def origin(site: str) -> str:
    """The edges' file that says which site serves."""
    web = [host.address for host in HOSTS.values() if (host.site, host.role) == (site, "web")]

    def upstream(name: str, port: int) -> str:
        servers = "".join(f"    server {address}:{port} fail_timeout=0;\n" for address in web)
        return f"upstream {name} {{\n{servers}}}\n"

    return f"# {site}\n{upstream('origin', 3000)}{upstream('streaming', 4000)}"


def _furnish_operator(host: Host) -> None:
    for home, owner in (("root", 0), ("home/deploy", 2001)):
        _put(host, f"{home}/.pgpass", f"*:*:*:cutover:{PASSWORDS['cutover']}\n", mode=0o600, owner=owner)
