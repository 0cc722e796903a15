"""An engine that is stopped (SIGSTOP) is not dead: nobody may be told that nothing acts any more."""

import os
import signal
from pathlib import Path

import pytest

from cutover import wiring
from cutover.__main__ import main
from cutover.journal.lock import holder

RUNBOOK = """\
title: t
sites: {a: {web: [alice]}}
steps:
  - look: {ask: {question: "go?"}}
"""


def test_a_stopped_engine_is_told_from_a_dead_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CUTOVER_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr("cutover.client.CONNECT_TIMEOUT", 0.5)
    file = tmp_path / "move.yaml"
    file.write_text(RUNBOOK)
    plan = wiring.load_plan(file)
    with wiring.simulated_world(plan) as world:
        run = wiring.create_run(plan, world=str(world))
        engine = wiring.spawn_engine(run)
        try:
            assert holder(run.lock) == engine.pid
            os.kill(engine.pid, signal.SIGSTOP)
            assert main(["status", run.id]) == 0
            assert main(["ctl", run.id, "hold"]) != 0
            said = capsys.readouterr()
            assert f"process {engine.pid}) is there and does not answer" in said.out
            assert f"kill -CONT {engine.pid}" in said.err
            assert "NO ENGINE" not in said.out
        finally:
            engine.kill()
            engine.wait()
        assert holder(run.lock) is None
        assert main(["status", run.id]) == 0
        assert "NO ENGINE DRIVES IT" in capsys.readouterr().out
