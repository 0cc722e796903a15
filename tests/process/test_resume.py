"""What a resumed engine finds: another plan, an edited runbook, a host that is another's, a disk without room."""

import asyncio
import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from cutover import wiring
from cutover.client import Client
from cutover.errors import EngineGone, ExitCode, PlanChanged
from cutover.journal.directory import RunDirectory
from cutover.journal.reserve import SIZE
from cutover.model.run_state import RunState
from tests.engine.harness import plan_of
from tests.process.worlds import Worlds

SOON = 30.0

RUNBOOK = """
title: waits in the middle
sites: {a: {web: [yakko]}, b: {web: [freud]}}
announcement: {waived: a test}
steps:
  - before: {command: {on: yakko, do: [touch, /tmp/before], undo: [rm, -f, /tmp/before]}}
  - ready: {ask: {question: "Go on?"}}
  - after: {command: {on: freud, do: [touch, /tmp/after], undo: [rm, -f, /tmp/after]}}
"""
PLAN = plan_of(RUNBOOK)


@contextmanager
def engine_of(run: RunDirectory) -> "Iterator[subprocess.Popen[bytes]]":
    """An engine that is killed at the end, if it lives then."""
    with wiring.spawn_engine(run) as process:
        try:
            yield process
        finally:
            process.kill()


def until(run: RunDirectory, holds: Callable[[RunState], object]) -> RunState:
    deadline = time.monotonic() + SOON
    while not holds(state := wiring.run_state(run)):
        assert time.monotonic() < deadline, (state.status, state.why, state.questions, run.log.read_text())
        time.sleep(0.02)
    return state


def tell(run: RunDirectory, verb: str, **args: str) -> dict:
    async def say() -> dict:
        client = await Client.connect(run.socket)
        try:
            return await client.command(wiring.new_command_id(), verb, args, "me@here")
        finally:
            await client.close()

    return asyncio.run(say())


def asks(state: RunState) -> bool:
    return "ready.ask.1" in state.questions


def acted(worlds: Worlds, world) -> list[str]:
    return [" ".join(done.argv) for done in worlds.fleet(world).history]


def test_a_version_that_plans_the_run_otherwise_does_not_touch_it(worlds: Worlds) -> None:
    world = worlds.serve(PLAN)
    run = wiring.create_run(replace(PLAN, hash="0" * 64), world=world.socket)
    with pytest.raises(PlanChanged, match="resume it with the version that started it"):
        wiring.run_engine(run)
    with pytest.raises(EngineGone, match="resume it with the version that started it"):
        wiring.spawn_engine(run)
    assert worlds.fleet(world).acting == 0


def test_a_runbook_that_was_edited_meanwhile_holds_and_the_run_goes_on_as_planned(
    worlds: Worlds, tmp_path: Path
) -> None:
    file = tmp_path / "move.yaml"
    file.write_text(RUNBOOK)
    plan = wiring.load_plan(file)
    world = worlds.serve(plan)
    run = wiring.create_run(plan, world=world.socket)
    with engine_of(run):
        until(run, asks)
    file.write_text(RUNBOOK.replace("/tmp/after", "/tmp/elsewhere"))
    with engine_of(run) as process:
        held = until(run, lambda state: state.status == "held")
        assert held.why.startswith(f"{file} changed since the run was started")
        assert f"goes on with plan {plan.short_hash}" in held.why
        assert tell(run, "release")["accepted"]
        assert tell(run, "answer", question="ready.ask.1", choice="go")["accepted"]
        assert process.wait(SOON) == ExitCode.OK
    assert acted(worlds, world) == ["touch /tmp/before", "touch /tmp/after"]


def test_a_second_engine_of_the_run_is_refused(worlds: Worlds) -> None:
    run = wiring.create_run(PLAN, world=worlds.serve(PLAN).socket)
    with engine_of(run) as process:
        until(run, asks)
        argv = [sys.executable, "-m", "cutover", "engine", run.id]
        second = subprocess.run(argv, capture_output=True, text=True, timeout=SOON, check=False)
        assert second.returncode == ExitCode.FAILED
        assert f"pid {process.pid}" in second.stderr
        assert tell(run, "note", text="still here")["accepted"]


def test_a_host_that_another_run_holds_is_refused_with_its_owner_also_a_dead_one(worlds: Worlds) -> None:
    world = worlds.serve(PLAN)
    first, second = (wiring.create_run(PLAN, world=world.socket) for _ in range(2))
    with engine_of(first):
        owner = until(first, asks).owner
    with engine_of(second) as process:
        refused = until(second, lambda state: state.status == "refused" and not state.engine_up)
        assert f"is claimed by {owner}" in refused.why
        assert "--take-over" in refused.why
        assert process.wait(SOON) == ExitCode.FAILED
    assert acted(worlds, world) == ["touch /tmp/before"]
    with engine_of(first) as process:
        tell(first, "answer", question="ready.ask.1", choice="go")
        assert process.wait(SOON) == ExitCode.OK


def test_sigterm_holds_the_run(worlds: Worlds) -> None:
    run = wiring.create_run(PLAN, world=worlds.serve(PLAN).socket)
    with engine_of(run) as process:
        until(run, asks)
        process.terminate()
        held = until(run, lambda state: state.status == "held")
        assert "SIGTERM" in held.why
        assert process.poll() is None
        tell(run, "abort")
        assert process.wait(SOON) == ExitCode.ROLLED_BACK


# --- a full disk under the journal


@pytest.fixture
def disk(state: Path) -> Iterator[Path]:
    """The state directory on a file system of 40 MiB."""
    state.mkdir(mode=0o700)
    command = ["mount", "-t", "tmpfs", "-o", "size=40m,mode=700", "tmpfs", str(state)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs root, to mount a small file system")
    yield state
    subprocess.run(["umount", "--lazy", str(state)], check=True)


def fill(disk: Path) -> Path:
    ballast = disk / "runs" / "ballast"
    with ballast.open("ab", buffering=0) as file:
        for size in (2**20, 4096, 1):
            try:
                while file.write(b"x" * size) == size:
                    pass
            except OSError as full:
                assert full.errno == errno.ENOSPC  # noqa: PT017
    return ballast


def chatter(run: RunDirectory, *, on: bool = False) -> None:
    """Notes until the reserve is gone (`on`: and further): the journal has some room of its own. Raises EngineGone."""

    async def notes() -> None:
        client = await Client.connect(run.socket)
        try:
            for _ in range(3_000):
                await client.command(wiring.new_command_id(), "note", {"text": "x" * 2_000}, "me@here")
                if not (on or run.reserve.exists()):
                    return
        finally:
            await client.close()

    asyncio.run(notes())


def test_a_full_disk_holds_the_run_with_room_for_the_way_back(worlds: Worlds, disk: Path) -> None:
    world = worlds.serve(PLAN)
    run = wiring.create_run(PLAN, world=world.socket)
    with engine_of(run) as process:
        until(run, asks)
        fill(disk)
        assert run.reserve.stat().st_size == SIZE
        chatter(run)
        held = until(run, lambda state: state.status == "held")
        assert held.why == "the disk under the journal is full; its reserve was freed for this hold"
        assert tell(run, "abort", reason="no room")["accepted"]
        assert process.wait(SOON) == ExitCode.ROLLED_BACK
    assert acted(worlds, world) == ["touch /tmp/before", "rm -f /tmp/before"]


def test_without_the_reserve_the_engine_says_so_and_ends_and_a_resume_goes_on(worlds: Worlds, disk: Path) -> None:
    world = worlds.serve(PLAN)
    run = wiring.create_run(PLAN, world=world.socket)
    with engine_of(run) as process:
        until(run, asks)
        run.reserve.rename(disk / "runs" / "not-the-reserve")
        ballast = fill(disk)
        with pytest.raises(EngineGone):
            chatter(run, on=True)
        assert process.wait(SOON) == ExitCode.STUCK
    assert "There is no room left for the journal" in run.log.read_text()
    assert acted(worlds, world) == ["touch /tmp/before"]
    ballast.unlink()
    (disk / "runs" / "not-the-reserve").unlink()
    with engine_of(run) as process:
        until(run, asks)
        assert tell(run, "answer", question="ready.ask.1", choice="go")["accepted"]
        assert process.wait(SOON) == ExitCode.OK
    assert acted(worlds, world) == ["touch /tmp/before", "touch /tmp/after"]
