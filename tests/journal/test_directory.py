"""Where runs live, and how they are found again."""

import os
from pathlib import Path
from random import Random

import pytest

from cutover.errors import JournalError, RunNotFound
from cutover.journal.directory import (
    VARIABLE,
    list_runs,
    new_run_id,
    resolve_run,
    run_directory,
    state_directory,
)


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    state = tmp_path / "state"
    monkeypatch.setenv(VARIABLE, str(state))
    return state


def made(run: str, started: int) -> None:
    directory = run_directory(run)
    directory.path.mkdir()
    directory.journal.touch()
    directory.lock.touch()
    os.utime(directory.lock, (started, started))


def test_it_is_made_for_its_owner_only(state: Path) -> None:
    before = os.umask(0)
    try:
        assert state_directory() == state
    finally:
        os.umask(before)
    assert state.stat().st_mode & 0o777 == 0o700


def test_without_the_variable_it_is_the_platform_s_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    found = state_directory()
    assert found.is_relative_to(tmp_path)
    assert found.name == "cutover"


def test_an_open_mode_is_narrowed_where_that_shuts_nobody_out(state: Path) -> None:
    state.mkdir(mode=0o755)
    state.chmod(0o755)
    state_directory()
    assert state.stat().st_mode & 0o777 == 0o700
    (state / "runs").mkdir()
    state.chmod(0o775)
    state_directory()
    assert state.stat().st_mode & 0o777 == 0o700


def test_somebody_else_s_open_directory_is_left_as_it_is(state: Path) -> None:
    state.mkdir()
    state.chmod(0o755)
    (state / "photos").mkdir()
    with pytest.raises(JournalError, match=r"open to others \(mode 755\) and holds other things"):
        state_directory()
    (state / "runs").mkdir()
    state.chmod(0o1777)
    with pytest.raises(JournalError, match="mode 1777"):
        state_directory()
    assert state.stat().st_mode & 0o7777 == 0o1777


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a directory away")
def test_another_user_s_directory_is_refused(state: Path) -> None:
    state.mkdir(mode=0o700)
    os.chown(state, 12345, 12345)
    with pytest.raises(JournalError, match=r"belongs to another user \(uid 12345\)"):
        state_directory()


def test_a_file_in_its_place_is_an_error_in_plain_words(state: Path) -> None:
    state.write_text("")
    with pytest.raises(JournalError, match="cannot be made"):
        state_directory()


def test_the_names_in_a_run_s_directory(state: Path) -> None:
    run = run_directory("7f3a9c")
    assert run.id == "7f3a9c"
    names = [file.name for file in (run.journal, run.lock, run.reserve, run.socket, run.log)]
    assert names == ["journal.db", "lock", "reserve", "engine.sock", "engine.log"]
    assert run.path == state / "runs" / "7f3a9c"


@pytest.mark.parametrize("name", ["", "../etc", "7f3a9", "7F3A9C", "7f3a9c/", "7f3a9\n"])
def test_what_is_no_id_is_no_path(state: Path, name: str) -> None:
    with pytest.raises(RunNotFound, match="six hexadecimal digits"):
        run_directory(name)


def test_a_new_id_is_taken_at_once_and_collisions_are_retried(state: Path) -> None:
    first = new_run_id(Random(4))
    second = new_run_id(Random(4))
    assert first != second
    assert run_directory(first).path.stat().st_mode & 0o777 == 0o700
    dice = Random(4)
    assert [f"{dice.getrandbits(24):06x}" for _ in range(2)] == [first, second]


def test_runs_are_listed_with_the_latest_first(state: Path) -> None:
    assert list_runs() == []
    made("7f3a9c", 100)
    made("7f0000", 300)
    made("00ab12", 200)
    new_run_id(Random(1))
    (state / "runs" / "notes").mkdir()
    assert [run.id for run in list_runs()] == ["7f0000", "00ab12", "7f3a9c"]
    assert resolve_run("last").id == "7f0000"


def test_a_run_is_found_by_what_its_id_begins_with(state: Path) -> None:
    with pytest.raises(RunNotFound, match="no runs yet"):
        resolve_run("last")
    made("7f3a9c", 100)
    made("7f0000", 300)
    assert resolve_run("7f3a9c").id == resolve_run("7f3").id == resolve_run("7F3A").id == "7f3a9c"
    with pytest.raises(RunNotFound, match="'7f' could be any of 7f0000, 7f3a9c"):
        resolve_run("7f")
    with pytest.raises(RunNotFound, match=r"no run '7f3a9d': did you mean '7f3a9c'\?"):
        resolve_run("7f3a9d")
    with pytest.raises(RunNotFound, match=r"did you mean 'last'\?"):
        resolve_run("lsat")
    with pytest.raises(RunNotFound, match="the latest is 7f0000"):
        resolve_run("")
    with pytest.raises(RunNotFound, match=r"no run '\.\./\\x1b"):
        resolve_run("../\x1b[2J")
