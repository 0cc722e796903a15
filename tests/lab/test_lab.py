"""The lab keeps its promises: hosts that are real, links that obey, a reset that resets, and no trace afterwards."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import place, topology
from tests.lab.host import wait_until
from tests.lab.lab import Lab
from tests.lab.place import LabError

pytestmark = pytest.mark.lab

CONNECT = """
import socket, sys, time
for _ in range(5):
    started = time.monotonic()
    socket.create_connection((sys.argv[1], 22), timeout=3).close()
    print((time.monotonic() - started) * 1000)
"""


def ssh(lab: Lab, target: str, *command: str, source: str = "op1") -> subprocess.CompletedProcess[str]:
    argv = ["ssh", "-o", "ConnectTimeout=3", target, *command]
    return lab.host(source).run(argv, user="deploy", check=False)


def connect_ms(lab: Lab, source: str, target: str) -> float:
    done = lab.host(source).run(["python3", "-c", CONNECT, lab.host(target).address])
    return statistics.median(map(float, done.stdout.split()))


def reachable(lab: Lab, source: str, target: str) -> bool:
    script = f"exec 3<>/dev/tcp/{lab.host(target).address}/22"
    return lab.host(source).run(["timeout", "1", "bash", "-c", script], check=False).returncode == 0


@pytest.fixture
def small_lab(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """A lab of another name beside the session's, to be taken up and down."""
    monkeypatch.setenv("CUTOVER_LAB", "small")
    lab = Lab()
    lab.down()
    yield lab
    lab.down()


def test_every_host_boots_with_nothing_failed(lab: Lab) -> None:
    for host in lab.hosts():
        assert host.systemctl("is-system-running", check=False) == "running", host.systemctl("--failed")
        assert host.run(["hostname"]).stdout.strip() == host.name


def test_hosts_are_machines_of_their_own(lab: Lab) -> None:
    ids = {host.read("/etc/machine-id").strip() for host in lab.hosts()}
    boots = {host.read("/proc/sys/kernel/random/boot_id").strip() for host in lab.hosts()}
    keys = {lab.host_key(name) for name in topology.HOSTS}
    assert len(ids) == len(boots) == len(keys) == len(topology.HOSTS)
    assert lab.host("alice").run(["ls", "-A", "/home"]).stdout.split() == ["deploy", "nosudo"]
    assert not lab.host("alice").exists(str(place.REPO))


def test_ssh_from_an_operators_host_with_strict_host_keys(lab: Lab) -> None:
    for name in topology.HOSTS:
        done = ssh(lab, name, "hostname; id -un; sudo -n id -u")
        assert done.stdout.split() == [name, "deploy", "0"], done.stderr
    assert "password is required" in ssh(lab, "nosudo@alice", "sudo -n true").stderr
    assert ssh(lab, "alice", "cat /var/lib/cutover/claim").returncode == 0


def test_an_operators_host_runs_the_checkout_read_only(fresh_lab: Lab) -> None:
    op1 = fresh_lab.host("op1")
    program = "import cutover, pathlib; pathlib.Path.home().joinpath('x').write_text(cutover.__file__)"
    op1.run([sys.executable, "-c", program], user="deploy", cwd=str(place.REPO))
    assert op1.read("/home/deploy/x") == str(place.REPO / "cutover/__init__.py")
    assert not fresh_lab.host("op2").exists("/home/deploy/x")
    assert "Read-only" in op1.run(["touch", str(place.REPO / "README.md")], check=False).stderr


@pytest.mark.parametrize(
    ("source", "target", "least", "most"),
    [("alice", "nixie", 85, 110), ("yakko", "fritz", 85, 110), ("op1", "alice", 18, 40), ("alice", "dot", 0, 10)],
)
def test_sites_are_as_far_apart_as_they_say(lab: Lab, source: str, target: str, least: int, most: int) -> None:
    assert least <= connect_ms(lab, source, target) <= most


def test_a_delay_changes_under_way(fresh_lab: Lab) -> None:
    fresh_lab.delay("basement", "hetzner", 300)
    assert 295 <= connect_ms(fresh_lab, "alice", "nixie") <= 340


def test_a_cut_link_is_silent_until_it_is_healed(fresh_lab: Lab) -> None:
    fresh_lab.cut("basement", "hetzner")
    assert not reachable(fresh_lab, "alice", "nixie")
    assert reachable(fresh_lab, "alice", "dot")
    assert reachable(fresh_lab, "op1", "nixie")
    fresh_lab.heal("basement", "hetzner")
    assert reachable(fresh_lab, "alice", "nixie")


def test_a_held_connection_lives_through_a_short_cut(fresh_lab: Lab) -> None:
    argv = ["ssh", "alice", "while read line; do echo $line; done"]
    with fresh_lab.host("op1").popen(argv, user="deploy", stdin=subprocess.PIPE, stdout=subprocess.PIPE) as held:
        assert held.stdin is not None
        assert held.stdout is not None
        for word in ("before", "through"):
            held.stdin.write(f"{word}\n")
            held.stdin.flush()
            fresh_lab.heal("ops", "basement")
            assert held.stdout.readline() == f"{word}\n"
            fresh_lab.cut("ops", "basement")
        fresh_lab.heal("ops", "basement")
        held.stdin.close()
        assert held.wait(10) == 0


def test_a_frozen_host_is_silent_and_goes_on_when_thawed(fresh_lab: Lab) -> None:
    fresh_lab.freeze("alice")
    assert fresh_lab.host("alice").state() == "frozen"
    assert not reachable(fresh_lab, "op1", "alice")
    fresh_lab.thaw("alice")
    assert ssh(fresh_lab, "alice", "hostname").stdout == "alice\n"


def test_a_changed_host_key_is_refused(fresh_lab: Lab) -> None:
    fresh_lab.change_host_key("alice")
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in ssh(fresh_lab, "alice", "true").stderr
    fresh_lab.restore_host_key("alice")
    assert ssh(fresh_lab, "alice", "true").returncode == 0


def test_a_changed_machine_id_shows(fresh_lab: Lab) -> None:
    other = fresh_lab.change_machine_id("alice")
    assert fresh_lab.host("alice").read("/etc/machine-id").strip() == other != fresh_lab.machine_id("alice")
    fresh_lab.restore_machine_id("alice")
    assert fresh_lab.host("alice").read("/etc/machine-id").strip() == fresh_lab.machine_id("alice")


def test_a_full_disk_takes_nothing_until_it_is_freed(fresh_lab: Lab) -> None:
    fresh_lab.fill_disk("alice")
    assert "No space left" in ssh(fresh_lab, "alice", "echo x | sudo tee /var/lib/cutover/claim").stderr
    fresh_lab.free_disk("alice")
    assert ssh(fresh_lab, "alice", "echo x | sudo tee /var/lib/cutover/claim").stdout == "x\n"


@pytest.mark.parametrize("hard", [False, True])
def test_a_reboot_keeps_the_disk_and_forgets_the_rest(fresh_lab: Lab, hard: bool) -> None:
    yakko = fresh_lab.host("yakko")
    boot = yakko.read("/proc/sys/kernel/random/boot_id")
    for path in ("/etc/kept", "/var/lib/kept", "/run/lost"):
        yakko.write(path, "x")
    yakko.systemctl("mask", "--now", "app-worker")
    fresh_lab.reboot("yakko", hard=hard)
    assert [yakko.exists(path) for path in ("/etc/kept", "/var/lib/kept", "/run/lost")] == [True, True, False]
    assert yakko.read("/proc/sys/kernel/random/boot_id") != boot
    assert not yakko.is_active("app-worker")
    assert yakko.is_active("app-web")
    assert ssh(fresh_lab, "yakko", "true").returncode == 0


def test_the_sample_app_runs_on_the_serving_site_only(lab: Lab) -> None:
    for host in lab.hosts(role="web"):
        for unit in ("app-web.service", "app-worker.service", "app-cron.timer"):
            assert host.is_active(unit) is (host.site == topology.SERVING_SITE), (host.name, unit)
    fetch = "import urllib.request as u; r = u.urlopen('http://yakko:3000/'); print(r.headers['X-App-Host'], r.read())"
    assert lab.host("fra1").run(["python3", "-c", fetch]).stdout == "yakko b'yakko\\n'\n"
    assert "already exists" in lab.host("yakko").run(["systemctl", "mask", "app-web"], check=False).stderr


def test_reset_puts_a_host_back(fresh_lab: Lab) -> None:
    yakko, dot = fresh_lab.host("yakko"), fresh_lab.host("dot")
    for host in (yakko, dot):
        host.systemctl("disable", "--now", "app-web")
        host.write("/etc/left", "x")
    fresh_lab.cut("basement", "ops")
    fresh_lab.reset("yakko")
    assert yakko.is_active("app-web")
    assert not yakko.exists("/etc/left")
    assert dot.exists("/etc/left")
    assert not reachable(fresh_lab, "op1", "yakko")
    fresh_lab.reset()
    assert not dot.exists("/etc/left")
    assert ssh(fresh_lab, "yakko", "true").returncode == 0


def test_signals_reach_the_process_on_the_host(lab: Lab) -> None:
    op1 = lab.host("op1")
    with op1.popen(["sleep", "100"], user="deploy") as process:
        assert op1.run(["ps", "-o", "comm=", "-p", str(process.inner_pid)]).stdout == "sleep\n"
        process.send_signal(signal.SIGSTOP)
        assert op1.run(["ps", "-o", "stat=", "-p", str(process.inner_pid)]).stdout.startswith("T")
        process.send_signal(signal.SIGCONT)
        assert op1.run(["ps", "-o", "stat=", "-p", str(process.inner_pid)]).stdout.startswith("S")
        process.send_signal(signal.SIGSTOP)
        process.kill()
        assert process.wait(5) == -signal.SIGKILL
    assert op1.run(["pgrep", "sleep"], check=False).stdout == ""


def test_a_dropped_ssh_session_ends_and_leaves_sshd(lab: Lab) -> None:
    with lab.host("op1").popen(["ssh", "alice", "echo in; sleep 100"], stdout=subprocess.PIPE) as held:
        assert held.stdout is not None
        assert held.stdout.readline() == "in\n"
        lab.host("alice").drop_ssh_sessions()
        assert held.wait(10) == 255
    assert ssh(lab, "alice", "true").returncode == 0


def test_down_leaves_nothing(small_lab: Lab) -> None:
    interfaces = os.listdir("/sys/class/net")
    small_lab.up("alice", "op1")
    run, group = place.run_dir(), place.cgroup_dir()
    assert small_lab.booted() == ["alice", "op1"]
    pids = [pid for directory, _, _ in os.walk(group) for pid in Path(directory, "cgroup.procs").read_text().split()]
    assert os.listdir("/sys/class/net") == interfaces
    small_lab.down()
    assert not run.exists()
    assert not group.exists()
    assert str(run) not in Path("/proc/mounts").read_text()
    wait_until(lambda: not [pid for pid in pids if Path("/proc", pid).exists()], 5)  # the last are being reaped
    assert "lab" not in subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout


def test_a_failed_up_leaves_nothing(small_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.lab.host.READY_WAIT", 0.1)
    with pytest.raises(LabError, match="not booted"):
        small_lab.up("alice")
    assert not place.run_dir().exists()
    assert not place.cgroup_dir().exists()


def test_a_failed_up_of_more_hosts_leaves_those_that_were_up(small_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    small_lab.up("alice")
    monkeypatch.setattr("tests.lab.host.READY_WAIT", 0.1)
    with pytest.raises(LabError, match="not booted"):
        small_lab.up("alice", "op1")
    assert small_lab.booted() == ["alice"]
    assert small_lab.host("alice").systemctl("is-system-running") == "running"
    assert small_lab.host("op1").state() == "off"


def test_no_host_boots_where_there_is_no_room(small_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.lab.host.INOTIFY_PER_HOST", 1_000_000_000)
    with pytest.raises(LabError, match=r"no room .* sysctl fs\.inotify\.max_user_instances="):
        small_lab.up("alice")
    assert not place.run_dir().exists()


def test_an_up_after_one_that_was_killed_starts_over(small_lab: Lab) -> None:
    small_lab.up("alice")
    (place.run_dir() / "made").unlink()
    small_lab.up("alice")
    assert small_lab.host("alice").run(["hostname"]).stdout == "alice\n"


def test_two_users_of_one_lab_do_not_collide(small_lab: Lab) -> None:
    with small_lab.locked(), pytest.raises(LabError, match=f"in use by process {os.getpid()}"), place.lock():
        pass
