"""The kind `services` against a real systemd: what is held down stays down, whoever tries, and comes back exactly.

No engine here: the acts' commands are executed as they are, as the login user, and the kind judges the real answers.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from cutover.checks import units
from cutover.model.effects import CommandReply, Effect, OnHost, Reply, sealed_text
from cutover.model.kind import Act, Acts, Check, Poll, Scope
from cutover.model.verdict import Probed, Verdict
from cutover.steps.services import Services
from tests.lab.lab import Lab

pytestmark = pytest.mark.lab

SCOPE = Scope(
    sites={"basement": {"web": ("yakko", "dot")}, "hetzner": {"web": ("freud", "fritz")}}, step="s", timeout=20
)
WEB, WORKER, TIMER, CRON = "app-web.service", "app-worker.service", "app-cron.timer", "app-cron.service"


def services(**params: Any) -> Services:
    return Services.model_validate_json(json.dumps(params))


class Hands:
    """Performs effects on the lab's hosts, and walks a step forward and back."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.before: dict[str, Reply] = {}

    def perform(self, effect: Effect, stop_after: int | None = None) -> Reply:
        assert isinstance(effect, OnHost)
        host = self.lab.host(effect.host)
        for guard in effect.guards:
            found = host.run(guard.argv, user="deploy", check=False).stdout
            if found.removesuffix("\n") != guard.want:
                return Reply(outcome="refused", code="guard", detail=guard.says)
        replies = []
        for command in effect.commands[:stop_after]:
            done = host.run(command.argv, user="deploy", check=False, input=sealed_text(command.stdin))
            replies.append(CommandReply(done.returncode, done.stdout.encode(), done.stderr.encode()))
            if done.returncode:
                break
        return Reply(outcome="answered", commands=tuple(replies))

    def act(self, act: Act) -> Verdict:
        if act.before and act.key not in self.before:
            self.before[act.key] = self.perform(act.before)
        reply = self.perform(act.effect)
        assert reply.outcome == "answered", reply
        assert act.judge
        return act.judge(reply)

    def probe(self, act: Act) -> Probed:
        assert act.probe
        return act.probe.judge(self.perform(act.probe.effect), self.before.get(act.key))

    def check(self, check: Check) -> Verdict:
        return check.judge(self.perform(check.effect))

    def poll(self, poll: Poll, deadline: float = 8.0) -> Verdict:
        end, green = time.monotonic() + deadline, None
        while True:
            verdict = next((v for v in map(self.check, poll.checks) if not v.passed), Verdict("passed", "all"))
            now = time.monotonic()
            green = (green or now) if verdict.passed else None
            if now > end or (green is not None and now - green >= poll.steady):
                return verdict
            time.sleep(poll.interval)

    def forward(self, step: Services) -> None:
        for stage in step.unfold(SCOPE):
            if isinstance(stage, Acts):
                assert_all_passed(self.at_once(self.act, stage.acts))
            elif isinstance(stage, Poll):
                assert_all_passed([self.poll(stage)])

    def back(self, step: Services) -> list[str]:
        """Walk the way back twice: nothing more may happen the second time. Returns the titles of what was undone."""
        undone = [undo for act in reversed(acts(step)) if act.undo and (undo := act.undo(self.before.get(act.key)))]
        for undo in (*undone, *undone):
            assert_all_passed([self.act(undo)])
            assert self.probe(undo).done == "done"
        return [undo.title for undo in undone]

    @staticmethod
    def at_once(do: Callable[[Act], Verdict], items: Iterable[Act]) -> list[Verdict]:
        with ThreadPoolExecutor(16) as pool:
            return list(pool.map(do, items))


def acts(step: Services) -> list[Act]:
    return [act for stage in step.unfold(SCOPE) if isinstance(stage, Acts) for act in stage.acts]


def polls(step: Services) -> dict[str, Poll]:
    return {stage.key: stage for stage in step.unfold(SCOPE) if isinstance(stage, Poll)}


def assert_all_passed(verdicts: Iterable[Verdict]) -> None:
    assert [verdict.because for verdict in verdicts if not verdict.passed] == []


@pytest.fixture
def hands(fresh_lab: Lab) -> Hands:
    return Hands(fresh_lab)


def test_held_down_whoever_tries_and_back_exactly(hands: Hands) -> None:
    yakko, step = hands.lab.host("yakko"), services(on=["yakko"], stop=[WEB, WORKER, TIMER, CRON])
    assert_all_passed(map(hands.check, step.checks(SCOPE)))
    hands.forward(step)  # four units at once on one host, so their daemon-reloads and stops overlap
    assert all(hands.probe(act).done == "done" for act in acts(step) if act.key.startswith("stop"))
    yakko.write(
        "/etc/systemd/system/needs.service", f"[Unit]\nRequires={WEB}\nAfter={WEB}\n[Service]\nExecStart=/bin/true\n"
    )

    def tries() -> None:
        for unit in step.stop:
            for verb in ("start", "restart", "reload-or-restart"):
                refused = yakko.run(["systemctl", verb, unit], check=False)
                assert refused.returncode != 0
                assert "Assertion failed" in refused.stderr
        assert yakko.run(["systemctl", "start", "needs.service"], check=False).returncode != 0
        yakko.run(["systemctl", "isolate", "multi-user.target"], check=False)
        assert [unit for unit in step.stop if yakko.is_active(unit)] == []

    tries()
    hands.lab.reboot("yakko")
    tries()
    hands.lab.reboot("yakko", hard=True)
    tries()
    hands.back(step)
    assert [yakko.is_active(unit) for unit in step.stop] == [True, True, True, False]
    assert yakko.run(["find", "/etc/systemd/system", "-name", "*.d"]).stdout == ""
    hands.lab.reboot("yakko")
    assert [yakko.is_active(unit) for unit in step.stop[:3]] == [True, True, True]


@pytest.mark.slow
def test_units_of_one_host_are_taken_back_at_once(hands: Hands) -> None:
    """What one act removes from /etc/systemd/system must not make another one fail."""
    step = services(on=["yakko"], stop=[WEB, WORKER, TIMER, CRON])
    for _ in range(8):
        hands.before.clear()
        hands.forward(step)
        undone = [undo for act in acts(step) if act.undo and (undo := act.undo(hands.before.get(act.key)))]
        assert_all_passed(hands.at_once(hands.act, undone))


def test_a_timer_does_not_start_what_is_held(hands: Hands) -> None:
    yakko, step = hands.lab.host("yakko"), services(on=["yakko"], stop=[CRON])
    yakko.run(["timeout", "10", "sh", "-c", "until [ -s /var/lib/app/cron.log ]; do sleep 0.1; done"])
    assert_all_passed(map(hands.check, step.checks(SCOPE)))
    hands.forward(step)
    lines = yakko.read("/var/lib/app/cron.log")
    time.sleep(4)  # the timer fires every three seconds
    assert yakko.is_active(TIMER)
    assert yakko.read("/var/lib/app/cron.log") == lines
    assert hands.back(step) == ["have app-cron on yakko down, not held, as before"]
    yakko.run(["systemctl", "start", CRON])
    assert yakko.read("/var/lib/app/cron.log") != lines


def test_the_way_back_is_what_was_there(hands: Hands) -> None:
    freud, step = hands.lab.host("freud"), services(on=["freud"], stop=[WEB, WORKER])
    freud.run(["systemctl", "start", WORKER])
    hands.forward(step)
    assert hands.back(step) == ["start app-worker on freud again", "have app-web on freud down, not held, as before"]
    assert (freud.is_active(WEB), freud.is_active(WORKER)) == (False, True)
    freud.run(["systemctl", "start", WEB])  # not held any more
    held = Hands(hands.lab)
    held.forward(step)
    again = Hands(hands.lab)
    again.forward(step)
    assert again.back(step) == []
    start = services(on=["freud"], start=[WEB], one_site_only=False)
    again.forward(start)
    assert freud.is_active(WEB)
    assert again.back(start) == ["stop app-web on freud and hold it down again"]
    assert freud.run(["systemctl", "start", WEB], check=False).returncode != 0


def test_an_act_cut_short_is_seen_and_done_again(fresh_lab: Lab) -> None:
    up, step = fresh_lab.host("yakko").is_active, services(on=["yakko"], stop=[WEB])
    (stop, _) = acts(step)
    whole = len(stop.effect.commands) if isinstance(stop.effect, OnHost) else 0
    for commands in range(whole + 1):
        hands = Hands(fresh_lab)
        hands.before[stop.key] = hands.perform(stop.before) if stop.before else Reply(outcome="unknown")
        hands.perform(stop.effect, stop_after=commands)
        assert hands.probe(stop).done == ["not_done", "not_done", "not_done", "partly", "done", "done"][commands]
        assert up(WEB) == (commands < 4)
        undo = stop.undo(hands.before[stop.key]) if stop.undo else None
        assert undo
        assert_all_passed([hands.act(stop), hands.act(undo), hands.act(stop)])
        hands.perform(undo.effect, stop_after=commands + 1)
        assert hands.probe(undo).done == ("done" if commands == 5 else "not_done")
        assert_all_passed([hands.act(undo)])
        assert up(WEB)


def test_the_proof_starts_nothing(hands: Hands) -> None:
    """Neither what the unit wants, nor the unit itself when the hold is not there after all."""
    yakko = hands.lab.host("yakko")
    yakko.write("/etc/systemd/system/helper.service", "[Service]\nExecStart=/bin/sleep infinity\n")
    yakko.write(f"/etc/systemd/system/{WEB}.d/wants.conf", "[Unit]\nWants=helper.service\nRequires=helper.service\n")
    yakko.run(["systemctl", "daemon-reload"])
    step = services(on=["yakko"], stop=[WEB])
    hands.forward(step)
    assert not yakko.is_active("helper.service")
    refuse = acts(step)[-1]
    yakko.run(["rm", units.hold_file(WEB)])
    assert hands.perform(refuse.effect).code == "guard"
    yakko.write(units.hold_file(WEB), units.hold_text(WEB))
    yakko.run(["systemctl", "daemon-reload"])
    assert_all_passed([hands.act(refuse)])
    yakko.write(units.hold_file(WEB), "[Unit]\n")
    yakko.run(["systemctl", "daemon-reload"])
    assert hands.perform(refuse.effect).code == "guard"
    assert not yakko.is_active(WEB)
    hands.back(step)
    assert yakko.run(["ls", f"/etc/systemd/system/{WEB}.d"]).stdout.split() == ["wants.conf"]


def test_one_that_comes_back_is_noticed(hands: Hands) -> None:
    yakko, step = hands.lab.host("yakko"), services(on=["yakko"], stop=[WORKER], hold_down=False)
    supervisor = yakko.popen(["sh", "-c", f"while sleep 0.5; do systemctl start {WORKER}; done"])
    try:
        assert_all_passed([hands.act(acts(step)[0])])
        verdict = hands.poll(polls(step)["down"], deadline=3.0)
        assert verdict.because == "app-worker on yakko is active (running); expected down"
        held = services(on=["yakko"], stop=[WORKER])
        hands.forward(held)
        time.sleep(1.5)
        assert not yakko.is_active(WORKER)
    finally:
        supervisor.kill()
        supervisor.wait()


def test_started_only_when_it_is_down_at_the_other_site(hands: Hands) -> None:
    stop, start = services(on=["basement.web"], stop=["app-web.service"]), services(on=["freud"], start=[WEB])
    elsewhere = polls(start)["elsewhere"]
    assert hands.poll(elsewhere, deadline=0).because.startswith(
        "app-web on yakko is active (running); it must not be up"
    )
    hands.forward(stop)
    hands.forward(start)
    assert hands.lab.host("freud").is_active(WEB)
    assert hands.back(start) == ["stop app-web on freud again"]
    assert len(hands.back(stop)) == 2
    assert hands.lab.host("dot").is_active(WEB)


def test_what_would_be_wrong_is_said_before(hands: Hands) -> None:
    yakko = hands.lab.host("yakko")
    yakko.write("/etc/systemd/system/door.socket", "[Socket]\nListenStream=127.0.0.1:9999\n")
    yakko.write("/etc/systemd/system/door.service", "[Service]\nExecStart=/bin/sleep infinity\n")
    yakko.write(
        "/etc/systemd/system/part.service", "[Unit]\nPartOf=door.service\n[Service]\nExecStart=/bin/sleep infinity\n"
    )
    yakko.write(
        "/etc/systemd/system/other.service", "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nAlias=nick.service\n"
    )
    yakko.run(["systemctl", "daemon-reload"])
    yakko.run(["systemctl", "enable", "other.service"])
    yakko.run(["systemctl", "start", "door.socket", "part.service"])
    yakko.run(["systemctl", "mask", WORKER])
    step = services(on=["yakko"], stop=["door.service", "nick.service", "gone.service", WORKER])
    said = [verdict.because for check in step.checks(SCOPE) if not (verdict := hands.check(check)).passed]
    assert said == [
        "nick.service on yakko is only another name of other.service; name that one",
        "there is no unit gone.service on yakko",
        "app-worker on yakko is masked: it can be neither started nor provably held down; unmask it first",
        "door on yakko: door.socket would start it again; part.service stops with it, and is not started again on the "
        "way back: stop that in this step too, before or with it",
    ]
    whole = services(on=["yakko"], stop=["door.service", "door.socket", "part.service"])
    assert_all_passed(map(hands.check, whole.checks(SCOPE)))
    yakko.run(["systemctl", "start", "door.service"])
    hands.forward(whole)
    hands.back(whole)
    assert [yakko.is_active(unit) for unit in whole.stop] == [True, True, True]


def test_a_unit_that_does_not_come_up(hands: Hands) -> None:
    freud = hands.lab.host("freud")
    freud.write("/etc/systemd/system/bad.service", "[Service]\nExecStart=/bin/sh -c 'sleep 0.4; exit 3'\n")
    freud.write(
        "/etc/systemd/system/never.service", "[Unit]\nConditionPathExists=/nowhere\n[Service]\nExecStart=/bin/sleep 9\n"
    )
    freud.write("/etc/systemd/system/once.service", "[Service]\nType=oneshot\nExecStart=/bin/true\n")
    freud.write(
        "/etc/systemd/system/watcher.path",
        "[Path]\nPathExists=/nowhere\nUnit=once.service\n[Install]\nWantedBy=paths.target\n",
    )
    freud.run(["systemctl", "daemon-reload"])
    bad = services(on=["freud"], start=["bad.service"])
    assert_all_passed([hands.act(acts(bad)[0])])
    assert hands.poll(polls(bad)["up"], deadline=3).because == "bad on freud is failed (exit-code); expected up"
    never = services(on=["freud"], start=["never.service"])
    assert "a condition in its unit file is not met" in hands.act(acts(never)[0]).because
    once = services(on=["freud"], start=["once.service"])
    hands.forward(once)
    assert hands.probe(acts(once)[0]).done == "unknown"  # it is unloaded at once, and with it what it did
    freud.run(["systemctl", "enable", "--now", "watcher.path"])  # which keeps it loaded
    again = Hands(hands.lab)
    again.forward(once)
    assert again.probe(acts(once)[0]).done == "done"


def test_without_sudo_nothing_is_done_and_said_so(hands: Hands) -> None:
    yakko, step = hands.lab.host("yakko"), services(on=["yakko"], stop=[WEB])
    yakko.run(["rm", "-rf", "/etc/sudoers.d"])
    sudo = hands.check(step.checks(SCOPE)[0])
    assert (sudo.finding, "password" in sudo.because) == ("failed", True)
    stop = acts(step)[0]
    assert "install" in hands.act(stop).because
    assert hands.probe(stop).done == "not_done"
    assert yakko.is_active(WEB)
