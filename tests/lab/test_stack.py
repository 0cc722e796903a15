"""The story's services are real: they replicate, work, quieten, stop and boot as the ones of a real site do."""

from __future__ import annotations

import json
import time
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.lab import place, stack, story
from tests.lab.client import LabHost
from tests.lab.lab import Lab
from tests.lab.place import LabError
from tests.lab.prober import EDGES, Prober
from tests.lab.story import eventually, get, psql, redis, redis_info

pytestmark = pytest.mark.lab

STREAMED = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn) FROM pg_stat_replication WHERE state = 'streaming'"
POST = """
import sys, urllib.error, urllib.request
try:
    with urllib.request.urlopen(sys.argv[1], sys.argv[2].encode(), timeout=5) as answer:
        print(answer.status, answer.read().decode().strip())
except urllib.error.HTTPError as answer:
    print(answer.status, answer.read().decode().strip())
"""


def post(source: LabHost, url: str, **fields: str) -> tuple[int, str]:
    status, _, text = source.run(["python3", "-c", POST, url, urlencode(fields)]).stdout.strip().partition(" ")
    return int(status), text


def memory_mb(lab: Lab) -> float:
    """What all processes of the lab use of the machine's memory, shared pages counted once."""
    used = 0
    for procs in place.cgroup_dir().rglob("cgroup.procs"):
        for pid in procs.read_text().split():
            try:
                rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            except OSError:
                continue
            used += sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return used / 1024


def test_what_runs_where(story_lab: Lab) -> None:
    for host in story_lab.hosts():
        assert host.systemctl("is-system-running", check=False) == "running", host.systemctl("--failed")
    for host in story_lab.hosts(role="web"):
        serves = host.site == "basement"
        expected = [unit for unit in stack.UNITS if stack.UNITS[unit] and serves]
        if host.name != stack.SCHEDULER_HOST and serves:
            expected.remove("sidekiq-scheduler.service")
        assert [unit for unit in stack.UNITS if host.is_active(unit) and unit != "tootctl-media.service"] == expected
        assert host.systemctl("is-enabled", "mastodon-web", check=False) == ("enabled" if serves else "disabled")
        assert not host.is_active("app-web")
        assert "application.js" in json.loads(host.read("/srv/app/public/packs/manifest.json"))
    assert not any(host.is_active("pgbouncer") for host in story_lab.hosts(role="db"))
    print(f"\nmemory of all processes: {memory_mb(story_lab):.0f} MB")


def test_both_replicas_are_in_step(story_lab: Lab) -> None:
    alice, nixie = story_lab.host("alice"), story_lab.host("nixie")
    psql(alice, "INSERT INTO canary (id) VALUES ('in step')")
    eventually(lambda: psql(alice, STREAMED) == "0")
    eventually(lambda: psql(nixie, "SELECT id FROM canary WHERE id = 'in step'") == "in step")
    assert [host.name for host in story.writable_databases()] == ["alice"]
    assert psql(alice, "SELECT slot_name || ' ' || active FROM pg_replication_slots") == "nixie true"
    assert redis_info(nixie, "replication")["master_link_status"] == "up"
    redis(alice, "set", "here", "there")
    eventually(lambda: redis(nixie, "get", "here") == "there")


def test_the_engines_own_role_reads_and_writes_canaries_and_nothing_else(story_lab: Lab) -> None:
    def sql(host: str, text: str) -> str:
        argv = ["psql", "-XAt", "-h", host, "-U", "cutover", "-d", "mastodon", "-c", text]
        done = story_lab.host("op1").run(argv, user="deploy", check=False)
        return (done.stdout + done.stderr).strip()

    same = "SELECT system_identifier FROM pg_control_system()"
    assert sql("alice", same) == sql("nixie", same) != ""
    assert int(sql("alice", "SELECT n_tup_ins FROM pg_stat_user_tables WHERE relname = 'ticks'")) >= 0
    assert sql("alice", "INSERT INTO canary (id) VALUES ('engine') RETURNING id").startswith("engine")
    assert "permission denied" in sql("alice", "DELETE FROM posts")
    assert "read-only transaction" in sql("nixie", "INSERT INTO canary (id) VALUES ('no')")


def test_every_edge_leads_to_the_app(story_lab: Lab) -> None:
    op3, alice = story_lab.host("op3"), story_lab.host("alice")
    for edge in EDGES:
        served_by, page = get(op3, f"http://{edge}/")
        assert served_by in ("yakko", "dot")
        assert "posts, shown by /packs/js/application" in page
        assert get(op3, f"http://{edge}/api/v1/streaming/health")[1] == "OK"
        assert post(op3, f"http://{edge}/canary", id=f"through {edge}")[0] == 201
    assert psql(alice, "SELECT count(*) FROM canary WHERE id LIKE 'through %'") == str(len(EDGES))


def test_quiet_users_lose_nothing_and_the_prober_would_have_seen_it(story_lab: Lab, tmp_path: Path) -> None:
    with Prober(story_lab, tmp_path / "writes") as prober:
        time.sleep(5)
    report = prober.verify()
    print(f"\n{report}")
    assert report.nothing_lost, report
    for edge in report.edges:
        assert edge.fates["acked"] >= 150
        assert edge.fates["failed"] + edge.fates["unknown"] == 0
        assert edge.window < 2
        assert edge.by.keys() == {"yakko", "dot"}

    alice, run = story_lab.host("alice"), prober.run
    psql(
        alice,
        f"""
        DELETE FROM posts WHERE id = '{run}-fra1-3';
        UPDATE posts SET times = 2 WHERE id = '{run}-ord1-4';
        DELETE FROM jobs_done WHERE id = '{run}-sgp1-5';
        INSERT INTO jobs_done (id) VALUES ('{run}-sgp1-6');
        """,
    )
    wrong = prober.verify(settle=0)
    assert not wrong.nothing_lost
    assert (wrong.lost, wrong.doubled) == ([f"{run}-fra1-3"], [f"{run}-ord1-4"])
    assert (wrong.jobs_lost, wrong.jobs_doubled) == ([f"{run}-sgp1-5"], [f"{run}-sgp1-6"])


def test_sidekiq_quietens_and_says_so_with_its_heartbeat(story_lab: Lab) -> None:
    yakko, alice = story_lab.host("yakko"), story_lab.host("alice")

    def beats() -> dict[str, tuple[str, str]]:
        """Of yakko's workers of the queue `default`: busy and quiet."""
        keys = [key for key in redis(alice, "smembers", "processes").splitlines() if key.startswith("yakko:")]
        infos = {key: redis(alice, "hmget", key, "info", "busy", "quiet").splitlines() for key in keys}
        return {key: (busy, quiet) for key, (info, busy, quiet) in infos.items() if '"pull"' in info}

    eventually(lambda: [quiet for _, quiet in beats().values()] == ["false"])
    yakko.systemctl("kill", "-s", "TSTP", "sidekiq-default")
    eventually(lambda: list(beats().values()) == [("0", "true")])
    assert yakko.is_active("sidekiq-default")
    yakko.systemctl("restart", "sidekiq-default")
    assert yakko.systemctl("show", "-p", "Result", "--value", "sidekiq-default") == "success"


def test_a_job_that_outlasts_its_workers_stop_is_given_back(story_lab: Lab) -> None:
    op3, alice, units = story_lab.host("op3"), story_lab.host("alice"), ["sidekiq-default", "sidekiq-ingress"]

    def waits() -> bool:
        return any("long job" in redis(alice, "lrange", f"queue:{name}", "0", "-1") for name in ("default", "ingress"))

    assert post(op3, "http://fra1/posts", id="long job", edge="fra1", work="60")[0] == 201
    eventually(lambda: not waits())
    for host in story_lab.hosts(role="web", site="basement"):
        host.systemctl("stop", *units)
        assert host.systemctl("show", "-p", "Result", "--value", *units).split() == ["success", "success"]
    assert waits()
    assert psql(alice, "SELECT count(*) FROM jobs_done WHERE id = 'long job'") == "0"
    redis(alice, "del", "queue:default", "queue:ingress")
    for host in story_lab.hosts(role="web", site="basement"):
        host.systemctl("start", *units)


def test_an_edge_goes_where_it_is_told(story_lab: Lab) -> None:
    fra1, op3 = story_lab.host("fra1"), story_lab.host("op3")
    story.switch_origin(fra1, "hetzner")
    eventually(lambda: post(op3, "http://fra1/canary", id="nobody there")[0] == 502)
    story.switch_origin(fra1, "basement")
    eventually(lambda: post(op3, "http://fra1/canary", id="there again")[0] == 201)
    fra1.write("/etc/nginx/origin.conf", "upstream origin { nonsense; }")
    with pytest.raises(LabError, match="nonsense"):
        fra1.run(["nginx", "-t"])
    fra1.write("/etc/nginx/origin.conf", stack.origin("basement"))


def test_the_new_sites_app_boots_slowly_and_shows_pages_from_the_standby(story_lab: Lab) -> None:
    freud, nixie = story_lab.host("freud"), story_lab.host("nixie")
    settings = freud.read("/srv/app/.env.production")
    assert f"BOOT_SECONDS={stack.BOOT_SECONDS:g}\n" in settings
    freud.write("/srv/app/.env.production", settings.replace(f"BOOT_SECONDS={stack.BOOT_SECONDS:g}", "BOOT_SECONDS=3"))
    freud.systemctl("start", "mastodon-web")
    assert freud.is_active("mastodon-web")
    with pytest.raises(LabError, match="refused"):
        get(freud, "http://127.0.0.1:3000/health")
    eventually(lambda: "LISTEN" in freud.run(["ss", "-Hltn", "sport = :3000"]).stdout)
    assert get(freud, "http://127.0.0.1:3000/")[0] == "freud"
    assert "puma" in psql(nixie, "SELECT string_agg(application_name, ' ') FROM pg_stat_activity")
    status, why = post(freud, "http://127.0.0.1:3000/posts", id="too early")
    assert (status, "read-only transaction" in why) == (500, True)
    freud.run(["mv", "/srv/app/public/packs/manifest.json", "/srv/app/manifest.json"])
    assert post(freud, "http://127.0.0.1:3000/")[0] == 404
    with pytest.raises(LabError, match="500"):
        get(freud, "http://127.0.0.1:3000/")
    freud.run(["mv", "/srv/app/manifest.json", "/srv/app/public/packs/manifest.json"])
    freud.systemctl("stop", "mastodon-web")


def test_a_clean_stop_ships_everything_and_the_old_primary_follows_the_new_one(fresh_story_lab: Lab) -> None:
    alice, nixie = fresh_story_lab.host("alice"), fresh_story_lab.host("nixie")
    psql(alice, "INSERT INTO canary (id) VALUES ('the last one')")
    alice.systemctl("stop", "postgresql@15-main")
    control = story.control_data(alice)
    assert control["Database cluster state"] == "shut down"
    final = control["Latest checkpoint location"]
    eventually(lambda: psql(nixie, f"SELECT pg_last_wal_replay_lsn() > '{final}'") == "t")
    psql(nixie, "SELECT pg_promote(); SELECT pg_create_physical_replication_slot('alice', true)")
    assert psql(nixie, "SELECT id FROM canary WHERE id = 'the last one'") == "the last one"
    alice.run(["runuser", "-u", "postgres", "touch", f"/{stack.DATA}/standby.signal"])
    follow = f"primary_conninfo = '{stack.conninfo('nixie', 'alice')}'\nprimary_slot_name = 'alice'\n"
    alice.write("/etc/postgresql/15/main/conf.d/follow.conf", follow)
    alice.systemctl("start", "postgresql@15-main")
    eventually(lambda: psql(nixie, STREAMED) == "0")
    assert [host.name for host in story.writable_databases()] == ["nixie"]


def test_databases_are_reset_together(fresh_story_lab: Lab) -> None:
    alice, nixie = fresh_story_lab.host("alice"), fresh_story_lab.host("nixie")
    fresh_story_lab.freeze("nixie")
    psql(alice, "INSERT INTO canary (id) VALUES ('forgotten')")
    fresh_story_lab.reset("nixie")
    eventually(lambda: psql(alice, STREAMED) == "0")
    assert psql(nixie, "SELECT count(*) FROM canary") == psql(alice, "SELECT count(*) FROM canary") == "0"


def test_a_promotion_without_catching_up_is_seen_as_loss(fresh_story_lab: Lab, tmp_path: Path) -> None:
    alice, nixie = fresh_story_lab.host("alice"), fresh_story_lab.host("nixie")
    with Prober(fresh_story_lab, tmp_path / "writes", rate=20) as prober:
        time.sleep(2)
        fresh_story_lab.cut("basement", "hetzner")
        cut = time.time()
        time.sleep(2)
    fresh_story_lab.power_off(alice.name)
    psql(nixie, "SELECT pg_promote()")
    report = prober.verify(settle=0)
    print(f"\n{report}")
    after = {write.id for write in prober.writes() if write.fate == "acked" and write.sent > cut}
    assert len(after) > 20
    assert after <= set(report.lost)
    assert len(report.lost) < sum(edge.fates["acked"] for edge in report.edges)
    assert not report.nothing_lost
