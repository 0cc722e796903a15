"""What the Postgres kinds make of what they read: no gate passes on a reading that is missing, empty or stale."""

from __future__ import annotations

from typing import Any

import pytest

from cutover.checks import postgres
from cutover.model.effects import CommandReply, Reply
from cutover.model.kind import Check
from tests.steps.rendering import SCOPE, acts, kind, polled, show

OLD = SCOPE.databases["old"]
HELD = "/etc/systemd/system/postgresql@15-main.service.d/cutover-held.conf"
DOWN = {"ActiveState": "inactive", "SubState": "dead", "DropInPaths": HELD}

STANDBY = {
    "in_recovery": True, "system_identifier": "7711", "received": "0/5000100", "replayed": "0/5000100", "timeline": 1,
    "pause": "not paused", "delay": "0", "receiver": "streaming",
}  # fmt: skip
SENDER = {"name": "walreceiver", "state": "streaming", "sent": "0/5000100", "replayed": "0/5000100", "reply_age": 0.1}
PRIMARY = {
    "in_recovery": False, "system_identifier": "7711", "lsn": "0/5000200", "timeline": 1, "standbys": [SENDER],
}  # fmt: skip


def rows(*of: dict[str, Any]) -> Reply:
    return Reply(outcome="answered", rows=of)


def stopped(
    state: str = "shut down",
    final: str = "0/5000088",
    *,
    pid: str = "",
    port: str = "",
    signal: str = "/d/standby.signal\n",
    mark: str | None = "0/5000058",
    timeline: int = 1,
    sysid: str = "7711",
    **unit: str,
) -> Reply:
    control = (
        f"Database system identifier:           {sysid}\nDatabase cluster state:               {state}\n"
        f"Latest checkpoint location:           {final}\nLatest checkpoint's TimeLineID:       {timeline}\n"
    )
    texts = [show(**{**DOWN, **unit}), control.encode(), pid.encode(), port.encode(), signal.encode()]
    last = CommandReply(1) if mark is None else CommandReply(0, f"{mark}\n".encode())
    return Reply(outcome="answered", commands=(*(CommandReply(0, text) for text in texts), last))


def within() -> Check:
    return polled(kind("await_replication", **{"from": "old", "to": "new", "within": "256B"}).unfold(SCOPE))[0]


def exactly() -> Check:
    return polled(kind("await_replication", **{"from": "old", "to": "new", "exactly": True}).unfold(SCOPE))[0]


@pytest.mark.parametrize(
    ("standby", "primary", "says"),
    [
        ({}, {}, "passed: new has replayed to 0/5000100, old writes at 0/5000200: 256 bytes behind, at most 256"),
        ({"replayed": "0/50000F8"}, {}, "failed: new has replayed to 0/50000F8, old writes at 0/5000200: 264 bytes"),
        ({"replayed": None}, {}, "unknown: new on nixie does not say how far it has replayed"),
        ({}, {"lsn": None}, "unknown: old on alice does not say how far it has written"),
        ({}, {"standbys": []}, "unknown: old sees 0 standbys streaming; new's receiver is streaming"),
        ({}, {"standbys": [{**SENDER, "reply_age": 16}]}, "unknown: old sees 1 standbys streaming; it last heard"),
        ({}, {"standbys": [{**SENDER, "reply_age": None}]}, "unknown: old sees 1 standbys streaming"),
        ({}, {"standbys": [{**SENDER, "reply_age": -60}]}, "unknown: old sees 1 standbys streaming"),
        ({}, {"standbys": [{**SENDER, "state": "catchup"}]}, "unknown: old sees 0 standbys streaming"),
        ({"receiver": None}, {}, "unknown: old sees 1 standbys streaming; it last heard of one 0.1 s ago"),
        ({"pause": "paused"}, {}, "failed: replay on nixie is paused".replace("nixie", "new on nixie")),
        ({"pause": None}, {}, "failed: replay on new on nixie is None"),
        ({"delay": "1h"}, {}, "failed: new replays late on purpose: recovery_min_apply_delay is 1h"),
        ({"in_recovery": False}, {}, "failed: new on nixie is not a standby"),
        ({"system_identifier": "88"}, {}, "failed: new on nixie is cluster 88, not the pinned 7711"),
        ({}, {"system_identifier": "88"}, "failed: new is of cluster 7711, timeline 1, old of cluster 88, timeline 1"),
        ({"timeline": 2}, {}, "failed: new is of cluster 7711, timeline 2, old of cluster 7711, timeline 1"),
        ({"timeline": None}, {}, "unknown: new on nixie does not say how far it has replayed"),
    ],
)  # fmt: skip
def test_within(standby: dict[str, Any], primary: dict[str, Any], says: str) -> None:
    verdict = within().judge(rows({**STANDBY, **standby}), rows({**PRIMARY, **primary}))
    assert f"{verdict.finding}: {verdict.because}".startswith(says)


def test_no_row_and_two_rows_are_no_reading() -> None:
    for standby, primary in ((rows(), rows(PRIMARY)), (rows(STANDBY), rows()), (rows(STANDBY, STANDBY), rows(PRIMARY))):
        assert within().judge(standby, primary).finding == "unknown"
    assert exactly().judge(stopped(), rows()).finding == "unknown"


@pytest.mark.parametrize(
    ("old", "replayed", "says"),
    [
        ({}, "0/5000100", "passed: old stopped cleanly at 0/5000088, new has replayed to 0/5000100: beyond it"),
        ({}, "0/5000089", "passed: old stopped cleanly at 0/5000088"),
        ({}, "0/5000088", "failed: old stopped cleanly at 0/5000088, new has replayed to 0/5000088: 0 bytes short"),
        ({}, "0/4FFFF88", "failed: old stopped cleanly at 0/5000088, new has replayed to 0/4FFFF88: 256 bytes short"),
        ({"state": "in production"}, "0/5000100", "failed: old on alice is not provably stopped: 'in prod"),
        ({"state": "shut down in recovery"}, "0/5000100", "failed: old on alice is not provably stopped"),
        ({"pid": "/d/postmaster.pid\n"}, "0/5000100", "failed: old on alice is not provably stopped: 'shut down' at"),
        ({"port": "LISTEN *:5432\n"}, "0/5000100", "failed: old on alice is not provably stopped: 'shut down' at"),
        ({"ActiveState": "deactivating"}, "0/5000100", "failed: old on alice is not provably stopped"),
        ({"DropInPaths": ""}, "0/5000100", "failed: old on alice is not provably stopped"),
        ({"timeline": 2}, "0/5000100", "failed: new is of cluster 7711, timeline 1, old of cluster 7711, timeline 2"),
        ({"sysid": "88"}, "0/5000100", "failed: new is of cluster 7711, timeline 1, old of cluster 88, timeline 1"),
        ({"final": "nowhere"}, "0/5000100", "unknown: how old on alice ended cannot be read"),
        ({"sysid": "7' OR 1=1"}, "0/5000100", "unknown: how old on alice ended cannot be read"),
    ],
)  # fmt: skip
def test_exactly(old: dict[str, Any], replayed: str, says: str) -> None:
    verdict = exactly().judge(stopped(**old), rows({**STANDBY, "replayed": replayed}))
    assert f"{verdict.finding}: {verdict.because}".startswith(says)


@pytest.mark.parametrize(
    ("old", "opens"),
    [
        ({}, True),
        ({"signal": ""}, False),
        ({"DropInPaths": ""}, False),
        ({"state": "in production"}, False),
        ({"pid": "/d/postmaster.pid\n"}, False),
        ({"port": "LISTEN\n"}, False),
        ({"sysid": "88"}, False),
    ],
)
def test_the_gate_of_the_promotion(old: dict[str, Any], opens: bool) -> None:
    (promote, *_) = acts(kind("promote_postgres", database="new").unfold(SCOPE))
    assert promote.gate is not None
    answer = promote.gate.opens(stopped(**old))
    if opens:
        assert isinstance(answer, tuple)
        assert "pg_last_wal_replay_lsn() > '0/5000088'::pg_lsn" in answer[0].argv[-1]
        assert "= '7711'" in answer[0].argv[-1]
    else:
        assert not isinstance(answer, tuple)
        assert not answer.passed


@pytest.mark.parametrize(
    ("old", "says"),
    [
        ({}, "passed"),
        ({"state": "in production", "ActiveState": "active", "pid": "1\n"}, "passed"),
        (
            {"state": "in production", "mark": "0/5000158"},
            "at most 88 bytes of what users wrote can be lost by promoting it",
        ),
        ({"state": "in production", "mark": None}, "how much of what users wrote can be lost was not measured"),
    ],
)
def test_a_death_is_told_with_the_most_that_is_lost(old: dict[str, Any], says: str) -> None:
    (check,) = kind("await_replication", **{"from": "old", "to": "new", "exactly": True}).checks(SCOPE)
    verdict = check.judge(stopped(**old), rows(STANDBY))
    assert verdict.finding == ("passed" if says == "passed" else "failed")
    assert says == "passed" or says in verdict.because


def test_what_is_burdened_is_not_stopped() -> None:
    check = kind("fence_postgres", database="old").checks(SCOPE)[-1]
    control = stopped("in production").commands[1]
    fine = {
        "standbys": 1, "base backups": 0, "prepared transactions": 0, "logical slots": 0, "faulty hba lines": 0,
        "sender timeout ms": 60_000, "standby settings of an older drill": 0,
    }  # fmt: skip

    def judged(**changed: Any) -> str:
        burdens = {**fine, **{name.replace("_", " "): value for name, value in changed.items()}}
        text = "".join(f"{name}|{value}\n" for name, value in burdens.items()).encode()
        replies = (CommandReply(0, show()), control, CommandReply(0, b"f\n"), CommandReply(0, text))
        verdict = check.judge(Reply(outcome="answered", commands=replies))
        return f"{verdict.finding}: {verdict.because}"

    assert judged() == "passed: old on alice is a primary with 1 standby streaming, wal_sender_timeout 60000 ms"
    assert "no standby that streams" in judged(standbys=0)
    assert "wal_sender_timeout is 0 ms, not within 5000 to 60000" in judged(sender_timeout_ms=0)
    for name in ("base backups", "prepared transactions", "logical slots", "faulty hba lines"):
        assert f"failed: old on alice should not be stopped now: 2 {name}" in judged(**{name: 2})
    assert judged(standbys="").startswith("unknown")


def test_two_goals_or_none_are_refused() -> None:
    for params in ({}, {"within": "1MB", "exactly": True}, {"exactly": True, "for": "3s"}):
        with pytest.raises(ValueError, match=r"takes one of|goes with"):
            kind("await_replication", **{"from": "old", "to": "new", **params})


def test_the_fence_is_put_and_lifted_by_sed_alone() -> None:
    put, lift = postgres.put_fence(OLD).argv, postgres.lift_fence(OLD).argv
    assert put[:4] == lift[:4] == ("sudo", "-n", "sed", "-i")
    assert all("\n" not in word for word in put)  # `1i` takes the lines as \n
