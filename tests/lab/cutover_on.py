"""`cutover` as its users have it: commands given on an operators' host of the lab, as deploy."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from subprocess import CompletedProcess
from typing import Any

from tests.lab.client import HostProcess, LabHost
from tests.lab.lab import Lab

HOME = "/home/deploy"
FILE = "move.yaml"
UNITS = ("app-web.service", "app-worker.service", "app-cron.timer")
HEAD = """\
title: A move in the lab
announcement: {waived: it is a test}
downtime: {announced: 30m, budget: 20m}
sites:
  basement: {web: [yakko, dot]}
  hetzner: {web: [freud, fritz]}
steps:
"""

State = dict[str, Any]


class Operator:
    """Somebody on an operators' host, with a runbook in the home directory."""

    def __init__(self, lab: Lab, host: str = "op1", **env: str) -> None:
        self.host: LabHost = lab.host(host)
        self.env = env

    def cutover(self, *words: str, code: int | None = 0, input: str | None = None) -> CompletedProcess[str]:
        """Give a command, which must end with exit `code` (None: with any)."""
        done = self.host.run(_argv(words), user="deploy", env=self.env, check=False, input=input, timeout=120)
        assert code is None or done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        return done

    def start(self, *words: str, **popen: Any) -> HostProcess:
        """Give a command that goes on."""
        return self.host.popen(_argv(words), user="deploy", env=self.env, **popen)

    def writes(self, steps: str, *, pinned: bool = True, head: str = HEAD) -> None:
        """Write the runbook (`steps`: as YAML, below `head`) and pin it."""
        self.host.write(f"{HOME}/{FILE}", head + steps, owner="deploy")
        if pinned:
            self.cutover("pin", FILE)

    def runs(self, *options: str, code: int | None = 0) -> Run:
        """Start a run that nobody is attached to."""
        return Run(self, self.cutover("run", FILE, "--detach", *options, code=code).stdout.strip())

    def latest(self) -> Run:
        """The run that was started last."""
        return Run(self, Run(self, "last").state()["run"])

    def refused(self, *options: str) -> str:
        """Start a run that must be refused; returns why."""
        run = Run(self, self.cutover("run", FILE, "--detach", *options).stdout.strip())
        return str(run.ends("refused", code=1)["why"])

    def path(self, run: str = "") -> str:
        """Where runs are kept, or one of them."""
        return f"{self.env.get('CUTOVER_STATE_DIR', f'{HOME}/.local/state/cutover')}/runs/{run}".rstrip("/")


class Run:
    """A run on an operators' host, by its id."""

    def __init__(self, operator: Operator, run: str) -> None:
        self.operator = operator
        self.id = run

    def state(self) -> State:
        """What `status --json` says."""
        state: State = json.loads(self.operator.cutover("status", self.id, "--json").stdout)
        return state

    def until(self, true: Callable[[State], object], timeout: float = 40) -> State:
        """Wait until something is true of the state."""
        deadline = time.monotonic() + timeout
        while not true(state := self.state()):
            assert time.monotonic() < deadline, (state, self.log())
            time.sleep(0.1)
        return state

    def acts(self, step: str) -> State:
        """Wait until a step is on its way."""
        return self.until(lambda state: state["steps"][step]["status"] == "acting")

    def asks(self, base: str, timeout: float = 60) -> str:
        """Wait for a question; returns all that it says."""
        state = self.until(lambda state: _asked(state, base), timeout)
        question = _asked(state, base)
        return " ".join([question["what"], *question["known"]])

    def answer(self, base: str, choice: str, reason: str = "") -> None:
        """Answer a question once it is asked."""
        self.asks(base)
        self.ctl("answer", _asked(self.state(), base)["id"], choice, *(["--reason", reason] if reason else []))

    def held(self, timeout: float = 40) -> str:
        """Wait until the run is held; returns why."""
        return str(self.until(lambda state: state["status"] in ("held", "back_held"), timeout)["why"])

    def ends(self, status: str, *, code: int, timeout: float = 60) -> State:
        """Wait for the end, which must be this one."""
        state = self.until(lambda state: state["ended"] and not state["engine"], timeout)
        assert (state["status"], state["exit_code"]) == (status, code), (state, self.shown())
        return state

    def ctl(self, *words: str, code: int | None = 0) -> str:
        """Command the engine; returns what it says."""
        done = self.operator.cutover("ctl", self.id, *words, code=code)
        return done.stdout + done.stderr

    def resume(self, *options: str, code: int | None = 0) -> str:
        """Start another engine; returns what is said."""
        done = self.operator.cutover("resume", self.id, "--detach", *options, code=code)
        return done.stdout + done.stderr

    def engine(self) -> str:
        """The pid of the latest engine, as its host counts."""
        return str(self.events("engine.started")[-1]["body"]["pid"])

    def signal(self, name: str) -> None:
        """Send a signal to the engine; after KILL it is gone."""
        pid = self.engine()
        self.operator.host.run(["kill", f"-{name}", pid])
        if name == "KILL":
            self.operator.host.run(["timeout", "5", "sh", "-c", 'while [ -e "/proc/$0" ]; do sleep 0.02; done', pid])

    def events(self, *types: str) -> list[dict[str, Any]]:
        """What is in the journal, of these types or all."""
        lines = self.operator.cutover("audit", "show", self.id, "--json").stdout.splitlines()
        return [event for event in map(json.loads, lines) if not types or event["type"] in types]

    def intents(self) -> list[str]:
        """The titles of all acts that were begun, in order."""
        return [event["body"]["title"] for event in self.events("act.intent")]

    def shown(self) -> str:
        """What `audit show` says."""
        return self.operator.cutover("audit", "show", self.id).stdout

    def log(self) -> str:
        """What the engine's process said to nobody else."""
        return self.operator.host.read(f"{self.operator.path(self.id)}/engine.log")

    def is_whole(self) -> None:
        """The journal must be."""
        self.operator.cutover("audit", "verify", self.id)


def active(host: LabHost) -> list[bool]:
    """Which of the app's units are up."""
    return [host.is_active(unit) for unit in UNITS]


def held_down(host: LabHost) -> str:
    """The drop-ins that hold units down."""
    return host.run(["find", "/etc/systemd/system", "-name", "cutover-held.conf"]).stdout


def receipts(host: LabHost) -> str:
    """All receipts on a host."""
    return host.run(["sh", "-c", "cat /var/lib/cutover/runs/*/* 2>/dev/null"], check=False).stdout


def _argv(words: tuple[str, ...]) -> list[str]:
    return [sys.executable, "-m", "cutover", *words]


def _asked(state: State, base: str) -> dict[str, Any]:
    return next((asked for asked in state["questions"] if asked["id"].rpartition(".")[0] == base), {})
