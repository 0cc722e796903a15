"""What goes wrong where the engine itself runs: no room for its journal, a logout, a crash."""

from __future__ import annotations

import sys

import pytest

from tests.lab.client import LabHost
from tests.lab.cutover_on import FILE, HEAD, HOME, Operator, Run
from tests.lab.lab import Lab

pytestmark = pytest.mark.lab

STATE = f"{HOME}/state"
RAN = "/var/tmp/ran"
STEPS = f"""
  - stop: {{services: {{stop: [app-worker], on: yakko, stays_down: it is a test}}}}
  - ready: {{ask: {{question: "Go on?"}}}}
  - work: {{command: {{on: yakko, do: [sh, -c, "sleep 1; echo ran >>{RAN}"], undo: [rm, -f, {RAN}]}}}}
"""
# Talks to the engine without starting a program each time: what is accepted is in the journal.
NOTES = """
import asyncio, sys
from pathlib import Path
from cutover.client import Client
from cutover.errors import EngineGone

had = Path(sys.argv[1]).with_name("reserve").exists()

async def main():
    path = Path(sys.argv[1])
    client = await Client.connect(path)
    number = 0
    while number < 10 or (path.parent / "reserve").exists() == had:
        number += 1
        await client.command(f"n{number}", "note", {"text": "x" * 1900}, "deploy@op1")
    print("held")

try:
    asyncio.run(main())
except (EngineGone, ConnectionError):
    print("gone")
"""


@pytest.fixture
def op1(fresh_lab: Lab) -> Operator:
    """The runs are kept on a disk of their own, which is small."""
    operator = Operator(fresh_lab, CUTOVER_STATE_DIR=STATE)
    script = f"mkdir {STATE} && mount -t tmpfs -o size=40m,uid=2001,gid=2001,mode=700 small {STATE}"
    operator.host.run(["sh", "-c", script])
    return operator


@pytest.fixture
def yakko(fresh_lab: Lab) -> LabHost:
    return fresh_lab.host("yakko")


def fill(host: LabHost) -> None:
    script = f"dd if=/dev/zero of={STATE}/filler bs=4k oflag=append conv=notrunc 2>/dev/null; df --output=avail {STATE}"
    assert host.run(["sh", "-c", script]).stdout.split()[-1] == "0"


def fill_journal(run: Run) -> str:
    """Give the engine things to write down until it has no room, and holds or is gone; returns its last answer."""
    socket = f"{run.operator.path(run.id)}/engine.sock"
    argv = ["timeout", "60", sys.executable, "-c", NOTES, socket]
    return run.operator.host.run(argv, user="deploy", check=False, timeout=90).stdout.splitlines()[-1]


def test_a_full_disk_under_the_journal(op1: Operator, yakko: LabHost) -> None:
    op1.writes(STEPS)
    run = op1.runs()
    run.asks("ready.ask")
    assert op1.host.exists(f"{op1.path(run.id)}/reserve")
    fill(op1.host)
    assert fill_journal(run) == "held"
    why = run.held()
    assert "the disk under the journal is full; its reserve was freed for this hold" in why
    assert not op1.host.exists(f"{op1.path(run.id)}/reserve")
    run.ctl("abort")
    run.ends("rolled_back", code=4)
    assert yakko.is_active("app-worker.service")
    assert not yakko.exists(RAN)
    run.is_whole()


def test_a_full_disk_without_the_reserve(op1: Operator, yakko: LabHost) -> None:
    op1.writes(STEPS.replace("sleep 1", "sleep 10"))
    run = op1.runs()
    run.answer("ready.ask", "go")
    run.acts("work")
    op1.host.run(["rm", f"{op1.path(run.id)}/reserve"])
    fill(op1.host)
    assert fill_journal(run) == "gone"
    state = run.until(lambda state: not state["engine"])
    assert (state["exit_code"], state["ended"]) == (5, None)
    words = f"There is no room left for the journal under {op1.path(run.id)}, and no reserve: nothing more is done."
    assert words in run.log()
    assert f"Its last words: {words}" in op1.cutover("attach", run.id, code=5).stderr
    assert "There is no room for the journal's reserve" in run.resume(code=1)

    op1.host.run(["rm", f"{STATE}/filler"])
    assert "Begun, and nobody knows yet how it ended" in run.resume()
    run.ends("done", code=0)
    assert "its receipt says that every command ended well" in run.shown()
    assert yakko.read(RAN) == "ran\n"
    assert not yakko.is_active("app-worker.service")
    run.is_whole()


def test_it_survives_the_logout_of_whoever_started_it(fresh_lab: Lab, yakko: LabHost) -> None:
    op1 = Operator(fresh_lab)
    op1.writes(STEPS.replace("sleep 1", "sleep 3"))
    started = f"exec {sys.executable} -m cutover run {FILE}"
    login = fresh_lab.host("op2").popen(["ssh", "-tt", "op1", started], user="deploy", stdin=-1, stdout=-1, stderr=-1)
    assert login.stdin
    login.stdin.write("yes\n")
    login.stdin.flush()
    op1.host.run(["timeout", "20", "sh", "-c", f"until ls {op1.path()}/*/engine.sock 2>/dev/null; do sleep 0.1; done"])
    run = op1.latest()
    run.answer("ready.ask", "go")
    run.acts("work")
    op1.host.drop_ssh_sessions()
    out, _ = login.communicate(timeout=20)
    assert "The run goes on when this terminal closes." in out
    op1.host.run(["sh", "-c", "! pgrep -u deploy sshd"])
    run.ends("done", code=0)
    assert yakko.read(RAN) == "ran\n"


def test_it_says_when_it_would_not_survive_a_logout(fresh_lab: Lab) -> None:
    op1 = Operator(fresh_lab)
    op1.writes("\n  - ready: {ask: {question: 'Go on?'}}\n", head=HEAD)
    op1.host.write("/etc/systemd/logind.conf.d/kill.conf", "[Login]\nKillUserProcesses=yes\n")

    def told() -> str:
        done = op1.cutover("run", FILE, "--detach")
        Run(op1, done.stdout.strip()).ctl("abort")
        return done.stderr

    assert "KillUserProcesses=yes" in (said := told())
    assert "`loginctl enable-linger`" in said
    op1.host.write("/var/lib/systemd/linger/deploy", "")
    assert "The run goes on when this terminal closes." in told()
