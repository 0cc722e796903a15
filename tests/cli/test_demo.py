"""The demo leaves nothing behind that lives: however it ends, its engine ends with it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "CUTOVER_STATE_DIR": str(tmp_path / "state"), "PATH": "/usr/bin:/bin"}


def demo(environ: dict[str, str]) -> "subprocess.Popen[str]":
    argv = [sys.executable, "-m", "cutover", "demo"]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ)


def engines(environ: dict[str, str]) -> list[int]:
    """The engines of runs in this state directory."""
    named = f"CUTOVER_STATE_DIR={environ['CUTOVER_STATE_DIR']}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if b"\0engine\0" in (process / "cmdline").read_bytes() and named in (process / "environ").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


def left(environ: dict[str, str]) -> list[str]:
    return [path.name for path in Path(environ["CUTOVER_STATE_DIR"], "runs").iterdir()]


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are looked for in /proc")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, None], ids=str)
def test_a_demo_that_is_interrupted_ends_its_engine(how: int | None, environ: dict[str, str]) -> None:
    process = demo(environ)
    assert process.stdout is not None
    process.stdout.readline()
    assert len(engines(environ)) == 1
    if how is None:
        process.stdout.close()  # `| head -1`
        assert process.stderr is not None
        process.stderr.read()
        process.stderr.close()
    else:
        process.send_signal(how)
        assert "goes on" not in process.communicate(timeout=30)[1]
    assert process.wait(30) == (141 if how is None else 130)
    assert engines(environ) == left(environ) == []


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are looked for in /proc")
def test_a_whole_demo_is_kept_and_says_how_to_see_it(environ: dict[str, str]) -> None:
    _, said = (process := demo(environ)).communicate(timeout=60)
    assert process.returncode == 0
    end = time.monotonic() + 5
    while engines(environ) and time.monotonic() < end:
        time.sleep(0.05)
    assert engines(environ) == []
    (run,) = left(environ)
    shown = next(line for line in said.splitlines() if line.endswith(f"audit show {run}")).partition(": ")[2]
    told = subprocess.run(shown.split(), capture_output=True, text=True, env=environ, timeout=30)
    assert told.returncode == 0
    assert "the run is done" in told.stdout
