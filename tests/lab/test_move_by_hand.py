"""What a careful administrator would do, one host after another, with users writing all the while: nothing is lost.

It shows that the lab can carry a whole move, and how long the users of such a move cannot write.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.lab import stack, story
from tests.lab.lab import Lab
from tests.lab.prober import EDGES, Prober
from tests.lab.story import eventually, psql, redis, redis_info

pytestmark = [pytest.mark.lab, pytest.mark.slow]

MAINTENANCE = "add_header Retry-After 60 always;\nreturn 503;\n"
WORKERS = ("sidekiq-scheduler", "sidekiq-default", "sidekiq-ingress")


def quiet_the_old_site(lab: Lab) -> None:
    for edge in EDGES:
        lab.host(edge).write("/etc/nginx/server.d/maintenance.conf", MAINTENANCE)
        lab.host(edge).run(["sh", "-c", "nginx -t && systemctl reload nginx"])
    web = lab.hosts(site="basement", role="web")
    for unit in ("tootctl-media.timer", *WORKERS, "mastodon-web", "mastodon-streaming"):
        for host in web:
            host.systemctl("stop", unit)


def hand_over_the_data(lab: Lab) -> None:
    alice, nixie = lab.host("alice"), lab.host("nixie")
    alice.systemctl("stop", "postgresql@15-main")
    final = story.control_data(alice)["Latest checkpoint location"]
    assert story.control_data(alice)["Database cluster state"] == "shut down"
    eventually(lambda: psql(nixie, f"SELECT pg_last_wal_replay_lsn() > '{final}'") == "t")
    psql(nixie, "SELECT pg_promote(); SELECT pg_create_physical_replication_slot('alice', true)")
    offset = redis_info(alice, "replication")["master_repl_offset"]
    eventually(lambda: int(redis_info(nixie, "replication")["slave_repl_offset"]) >= int(offset))
    redis(nixie, "replicaof", "no", "one")
    alice.systemctl("stop", "redis-server")


def open_the_new_site(lab: Lab) -> None:
    web = lab.hosts(site="hetzner", role="web")
    for host in web:
        host.systemctl("start", "mastodon-web", "mastodon-streaming")
    for host in web:
        eventually(lambda host=host: "LISTEN" in host.run(["ss", "-Hltn", "sport = :3000"]).stdout, 60)
        host.systemctl("start", *(WORKERS if host is web[0] else WORKERS[1:]))
    for edge in EDGES:
        lab.host(edge).run(["rm", "/etc/nginx/server.d/maintenance.conf"])
        story.switch_origin(lab.host(edge), "hetzner")


@pytest.mark.parametrize("boot_seconds", [stack.BOOT_SECONDS, 0.0])
def test_a_careful_move_loses_nothing(fresh_story_lab: Lab, tmp_path: Path, boot_seconds: float) -> None:
    for host in fresh_story_lab.hosts(site="hetzner", role="web"):
        host.write("/run/lab-boot.env", f"BOOT_SECONDS={boot_seconds:g}\n")
    with Prober(fresh_story_lab, tmp_path / "writes") as prober:
        time.sleep(3)
        started = time.monotonic()
        quiet_the_old_site(fresh_story_lab)
        hand_over_the_data(fresh_story_lab)
        open_the_new_site(fresh_story_lab)
        took = time.monotonic() - started
        time.sleep(3)
    report = prober.verify()
    print(f"\nthe move took {took:.1f} s, with an app that boots in {boot_seconds:g} s\n{report}")
    assert report.nothing_lost, report
    assert report.database == "nixie"
    for edge in report.edges:
        assert {"freud", "fritz", "yakko", "dot"} == edge.by.keys()
        assert 0.5 < edge.window < took
