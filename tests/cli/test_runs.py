"""Whole runs from the command line, in the simulated world: answered, detached from, killed, resumed."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cutover import wiring
from tests.cli.terminal import Terminal

RUNBOOK = """
title: A small move
announcement: {waived: nobody is there}
downtime: {announced: 10m, budget: 5m}
sites: {old: {web: alice}, new: {web: nixie}}
steps:
  - ready: {ask: {question: "Now?"}}
  - stop-old: {services: {stop: [app-web], on: alice}}
  - look: {ask: {question: "On?"}}
  - start-new: {services: {start: [app-web], on: nixie}}
"""


class Desk:
    """A person's machine: a state directory, a runbook, a world."""

    def __init__(self, folder: Path, world: Path) -> None:
        self.folder = folder
        self.world = world
        self.environ = {**os.environ, "CUTOVER_STATE_DIR": str(folder / "state"), "TERM": "xterm", "NO_COLOR": "1"}
        self.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # a dozen commands: let them be compiled once

    def cutover(self, *words: str, code: int | None = 0) -> "subprocess.CompletedProcess[str]":
        """Run a command without a terminal."""
        done = subprocess.run(
            [sys.executable, "-m", "cutover", *words],
            capture_output=True, text=True, stdin=subprocess.DEVNULL, env=self.environ, cwd=self.folder, timeout=60,
        )  # fmt: skip
        assert code is None or done.returncode == code, done.stdout + done.stderr
        return done

    def run(self, *words: str) -> tuple[str, ...]:
        """The words of `cutover run` in this world."""
        return ("run", str(self.folder / "move.yaml"), "--world", str(self.world), *words)

    def engine(self, run: str = "last") -> int:
        """The process id of a run's latest engine."""
        events = self.cutover("audit", "show", run, "--json").stdout.splitlines()
        started = [event for event in map(json.loads, events) if event["type"] == "engine.started"]
        return int(started[-1]["body"]["pid"])


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    (tmp_path / "move.yaml").write_text(RUNBOOK)
    plan = wiring.load_plan(tmp_path / "move.yaml")
    with wiring.simulated_world(plan) as world:
        desk = Desk(tmp_path, world)
        yield desk
        for run in map(json.loads, desk.cutover("runs", "--json").stdout.splitlines()):
            if run["engine"]:
                os.kill(desk.engine(run["run"]), signal.SIGKILL)


def test_answers_given_ahead_bring_it_to_its_end(desk: Desk) -> None:
    (desk.folder / "answers.yaml").write_text("ready: go\nlook: go\n")
    done = desk.cutover(*desk.run("--answers", str(desk.folder / "answers.yaml")))
    assert "acts on alice, nixie" in done.stderr
    assert "the run is done: every step is done" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr
    assert "✓ stop-old" in done.stdout
    status = desk.cutover("status", "--exit-code").stdout
    assert "done since" in status
    assert "each following from the one before" in desk.cutover("audit", "verify", "last").stdout
    assert "answers go" in desk.cutover("audit", "show", "last").stdout


def test_without_a_terminal_it_ends_with_3_and_waits_on(desk: Desk) -> None:
    done = desk.cutover(*desk.run("--json"), code=3)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["type"] == "question.asked"
    assert "waits for a person" in done.stderr
    run = events[0]["run"]
    assert "cutover ctl " + run + " answer ready.ask.1 WORD" in desk.cutover("status", run[:4]).stdout
    assert "is no answer" in desk.cutover("ctl", run, "answer", "ready.ask.1", "maybe", code=1).stderr
    assert "accepted" in desk.cutover("ctl", run, "answer", "ready.ask.1", "back", "--reason", "rain").stdout
    attached = desk.cutover("attach", run, code=4)
    assert "rolled back" in attached.stdout
    assert json.loads(desk.cutover("status", run, "--json").stdout)["exit_code"] == 4
    commanded = desk.cutover("ctl", run, "hold", code=1)
    assert commanded.stderr == f"Run {run} is rolled back; there is nothing to command.\n"
    assert desk.cutover("runs", "--ids").stdout == f"{run}\n"


def test_an_engine_that_dies_is_missed_and_replaced(desk: Desk) -> None:
    run = desk.cutover(*desk.run("--detach")).stdout.strip()
    argv = [sys.executable, "-m", "cutover", "attach", run]
    attached = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=desk.environ)
    assert attached.stdout is not None
    assert attached.stdout.readline().startswith("▶")
    os.kill(desk.engine(), signal.SIGKILL)
    _, err = attached.communicate(timeout=30)
    assert attached.returncode == 5
    assert f"`cutover resume {run}` starts a new engine" in err
    assert "its engine is gone" in err
    assert "NO ENGINE DRIVES IT" in desk.cutover("status", run, "--exit-code", code=5).stdout
    assert "no engine answers" in desk.cutover("ctl", run, "hold", code=1).stderr
    resumed = desk.cutover("resume", run, code=3)
    assert "Asked and not answered: ready.ask.1." in resumed.stderr
    assert "takes the run up again" in resumed.stdout
    assert "◆ ready: Now?" in resumed.stdout


def test_a_person_answers_by_typing_a_word(desk: Desk) -> None:
    with Terminal(*desk.run(), environ=desk.environ) as terminal:
        terminal.until("Start it? Type yes: ")
        terminal.type("yes\n")
        terminal.until("type the word and press Enter")
        terminal.type("\r\r yes\r")
        assert "is no answer and no command" in terminal.until("commands are:")
        terminal.type("goo")
        terminal.until("> goo")
        terminal.type("\x7f\r")
        terminal.until("answers go\n")
        terminal.until("◆ look: On?")
        terminal.type("abort\r")
        terminal.until("abort would take back, in this order: stop-old.")
        terminal.type("back it is late\r")
        terminal.until("the run is rolled back")
        assert terminal.end() == 4
        assert all(len(row) < 80 for row in terminal.rows() if row[8:12] == "Z · ")


def test_saying_anything_but_yes_starts_nothing(desk: Desk) -> None:
    with Terminal(*desk.run(), environ=desk.environ) as terminal:
        terminal.until("Start it? Type yes: ")
        terminal.type("\n")
        assert terminal.end() == 130
        assert "Nothing was started." in terminal.shown
    assert desk.cutover("runs", "--ids").stdout == ""


def test_ctrl_c_detaches_and_the_run_goes_on(desk: Desk) -> None:
    with Terminal(*desk.run("--yes"), environ=desk.environ) as terminal:
        terminal.until("asks: go, back")
        terminal.type("go")  # not sent: no Enter
        terminal.until("> go")
        terminal.type("\x03")
        assert terminal.end() == 130
        assert "Detached; the run goes on." in terminal.shown
    assert json.loads(desk.cutover("status", "--json").stdout)["engine"] is True
    assert list(json.loads(desk.cutover("status", "--json").stdout)["steps"]) == [
        "ready",
        "stop-old",
        "look",
        "start-new",
    ]
    with Terminal("attach", environ=desk.environ, columns=60) as terminal:
        terminal.until("◆ ready: Now?")
        terminal.type("\x04")
        assert terminal.end() == 130


def test_a_second_run_is_refused_with_the_owner(desk: Desk) -> None:
    desk.cutover(*desk.run("--detach"))
    refused = desk.cutover(*desk.run("--wait"), code=1)
    assert "refused, and nothing was done: " in refused.stdout
    assert "claimed by" in refused.stdout


def test_last_is_the_run_under_way_and_never_a_refused_one(desk: Desk) -> None:
    run = desk.cutover(*desk.run("--detach")).stdout.strip()
    desk.cutover(*desk.run("--wait"), code=1)
    assert f"{run}: hold is accepted" in desk.cutover("ctl", "last", "hold").stdout
    os.kill(desk.engine(run), signal.SIGKILL)
    assert json.loads(desk.cutover("status", "--json").stdout)["run"] == run


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("create_run", "Nothing was started."),
        ("last_seq", "Nothing was started."),
        ("start_engine", "Detached; the run goes on. `cutover attach "),
        ("await_engine", "Detached; the run goes on. `cutover attach "),
    ],
)
def test_ctrl_c_while_it_starts_says_whether_it_did(desk: Desk, step: str, said: str) -> None:
    """Pressed in the middle of each thing that is done between the yes and the first line."""
    script = (
        "import os, signal, sys; from cutover import wiring; from cutover.__main__ import main\n"
        f"real = wiring.{step}\n"
        "def pressed(*a, **k):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    return real(*a, **k)\n"
        f"wiring.{step} = pressed\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    argv = [sys.executable, "-c", script, *desk.run("--yes")]
    done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=desk.environ, timeout=60)
    assert done.returncode == 130
    assert said in done.stderr.splitlines()[-1]
    runs = desk.cutover("runs", "--ids").stdout.split()
    assert len(runs) == (step != "create_run")
    if "Detached" in said:
        assert runs[0] in done.stderr
        for _ in range(100):
            if json.loads(desk.cutover("status", "--json").stdout)["engine"]:
                return
        pytest.fail("no engine came up")
