"""Every end has a sentence and a code; a crash file says where, never what with."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cutover.cli.ending import Guarded
from cutover.errors import ExitCode, JournalCorrupt, RunNotFound


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CUTOVER_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.mark.parametrize(
    ("problem", "code", "said"),
    [
        (RunNotFound("There is no run 'x'."), ExitCode.USAGE, "There is no run 'x'.\n"),
        (JournalCorrupt(), ExitCode.VIOLATION, "The journal's chain is broken.\n"),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED, "Interrupted.\n"),
    ],
)
def test_an_error_is_a_sentence(
    problem: BaseException, code: ExitCode, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with Guarded("run") as guarded:
        raise problem
    assert guarded.code == code
    assert capsys.readouterr().err == said


def test_a_bug_leaves_a_file_without_values(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def open_the_vault(password: str) -> None:
        try:
            raise KeyError(password)
        except KeyError as problem:
            raise ValueError(f"wrong: {password}") from problem

    with Guarded("run") as guarded:
        open_the_vault("hunter2-canary")
    assert guarded.code == ExitCode.BUG
    said = capsys.readouterr().err
    (file,) = (state / "crashes").iterdir()
    text = file.read_text()
    assert str(file) in said
    assert "ValueError" in said
    assert "builtins.ValueError" in text
    assert "builtins.KeyError" in text
    assert "open_the_vault" in text
    assert "hunter2-canary" not in text + said
    assert file.parent.stat().st_mode & 0o077 == 0


def test_a_request_of_the_interpreter_goes_on() -> None:
    with pytest.raises(SystemExit), Guarded("run"):
        raise SystemExit(3)


def test_nobody_reading_is_no_crash(state: Path) -> None:
    script = f"(sleep 0.5; {sys.executable} -m cutover schema) | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env={**os.environ})
    assert done.stderr == ""
    assert done.returncode == 141
    assert not (state / "crashes").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["status", "nosuch"], 2, "There are no runs yet under"),
        (["check", "nosuch.yaml"], 2, "nosuch.yaml cannot be read: No such file or directory"),
        (["ctl", "7f", "hold"], 2, "There are no runs yet under"),
        (["run", "nosuch.yaml", "--var", "x"], 2, ""),
    ],
)
def test_usual_slips_of_the_whole_command(words: list[str], code: int, said: str) -> None:
    done = subprocess.run([sys.executable, "-m", "cutover", *words], capture_output=True, text=True, env={**os.environ})
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
