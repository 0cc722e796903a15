"""The wrapper on a real host: who may act, what is left behind, and what survives which death."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from cutover.model.effects import Claim, ClaimHost, Command, Guard, Look, OnHost, Receipt, Reply, effect_to_json
from cutover.transports.world import RealWorld
from cutover.transports.wrapper import REMOTE_COMMAND, render_act, render_claim, render_look
from tests.transports.host import OWNER, Host, outputs, sh, tmpfs, unmount, until
from tests.transports.sshd import Sshd, comm, descendants, this_machine

SHELLS = [["dash"], ["bash", "--posix"], ["busybox", "sh"]]
OTHER = "sam@ops2:run-1:1"


def refused(reply: Reply) -> str:
    """The code of a refusal."""
    assert reply.outcome == "refused", reply
    return reply.code


def test_claims_are_issued_taken_over_and_given_back(host: Host) -> None:
    async def go(world: RealWorld) -> None:
        shown = await world.perform(host.claiming(mode="show"))
        assert (shown.token, shown.owner) == (0, None)
        first = await world.perform(host.claiming())
        assert (first.token, first.owner) == (1, OWNER)
        assert (await world.perform(host.claiming())).token == 1
        other = await world.perform(host.claiming(owner=OTHER))
        assert (refused(other), other.owner, other.token) == ("owned", OWNER, 1)
        for wrong in (1, 3):
            assert refused(await world.perform(host.claiming(mode="take", owner=OTHER, token=wrong))) == "token"
        taken = await world.perform(host.claiming(mode="take", owner=OTHER, token=2))
        assert (taken.token, taken.owner) == (2, OTHER)
        assert refused(await world.perform(host.claiming(mode="release", token=1))) == "token"
        released = await world.perform(host.claiming(mode="release", owner=OTHER, token=2))
        assert (released.token, released.owner) == (2, None)
        assert (await world.perform(host.claiming())).token == 3

    host.run(go)


def test_an_act_is_refused_to_anybody_but_the_holder_on_the_right_machine(host: Host) -> None:
    marker = host.state / "ran"
    touch = Command(("touch", str(marker)))

    async def go(world: RealWorld) -> None:
        assert refused(await world.perform(host.act(touch))) == "token"
        await host.claimed(world)
        for claim in (Claim(OWNER, 2), Claim(OWNER, 0), Claim(OTHER, 1)):
            reply = await world.perform(host.act(touch, claim=claim))
            assert (refused(reply), reply.owner, reply.token) == ("token", OWNER, 1)
        assert refused(await world.perform(host.act(touch, machine_id="0" * 32))) == "identity"
        assert refused(await world.perform(host.act(touch, receipt=Receipt("../up", "a", 1)))) == "bad-request"
        assert refused(await world.perform(host.act(touch, claim=None))) == "bad-request"
        assert not marker.exists()

    host.run(go)


def test_the_same_attempt_never_acts_twice(host: Host) -> None:
    count = host.state / "count"
    effect = host.act(sh(f"echo x >>{count}"))

    async def go(world: RealWorld) -> None:
        await host.claimed(world)
        assert (await world.perform(effect)).ok
        assert refused(await world.perform(effect)) == "receipt-exists"
        both = host.act(sh(f"echo y >>{count}; sleep 0.2"))
        replies = await asyncio.gather(world.perform(both), world.perform(both))
        assert sorted(reply.outcome for reply in replies) == ["answered", "refused"]
        assert count.read_text() == "x\ny\n"

    host.run(go)


def test_a_later_attempt_voids_an_earlier_one_that_never_began(host: Host) -> None:
    """The first attempt's call may be stuck on its way; once the second acts, it is too late for the first."""
    second = host.act(Command(("true",)), receipt=Receipt("run-1", "again", 2))
    first = replace(second, receipt=Receipt("run-1", "again", 1))

    async def go(world: RealWorld) -> None:
        await host.claimed(world)
        assert (await world.perform(host.look(first.receipt))).receipt == "none"
        assert (await world.perform(second)).ok
        assert refused(await world.perform(first)) == "receipt-exists"
        assert (await world.perform(host.look(first.receipt))).receipt == "none"
        running = asyncio.create_task(
            world.perform(replace(first, receipt=Receipt("run-1", "b", 1), commands=(sh("sleep 1"),)))
        )
        await until(lambda: (host.state / "runs/run-1/b.1").exists())
        await asyncio.sleep(0.2)
        assert refused(await world.perform(replace(first, receipt=Receipt("run-1", "b", 2)))) == "running"
        assert (await running).ok

    host.run(go)


def test_look_tells_running_finished_none_and_died(host: Host) -> None:
    effect = host.act(sh("echo early; sleep 1; exit 4"))

    async def go(world: RealWorld) -> None:
        await host.claimed(world)
        assert (await world.perform(host.look(effect.receipt))).receipt == "none"
        act = asyncio.create_task(world.perform(effect))
        await asyncio.sleep(0.5)
        running = await world.perform(host.look(effect.receipt))
        assert running.receipt == "running"
        reply = await act
        finished = await world.perform(host.look(effect.receipt))
        assert finished.receipt == "finished"
        assert finished.commands == reply.commands
        assert outputs(finished) == [(4, b"early\n", b"")]
        text = host.receipt_text(effect)
        died = host.state / "runs/run-1/gone.1"
        died.write_text(text.replace("finished\n", "").replace("rc 1 4\n", ""))
        assert (await world.perform(host.look(Receipt("run-1", "gone", 1)))).receipt == "died"

    host.run(go)


CLIENT = """
import asyncio, sys
from cutover.model.effects import effect_from_json
import json
from cutover.transports.clock import RealClock
from cutover.transports.secrets import Secrets
from cutover.transports.ssh import Target
from cutover.transports.world import RealWorld
target, config, effect = json.loads(sys.argv[1])
target["host_keys"] = tuple(target["host_keys"])
world = RealWorld({"web1": Target(**target)}, Secrets(), RealClock(), config)
asyncio.run(world.perform(effect_from_json(effect)))
"""


def test_both_commands_run_to_their_end_when_the_client_is_killed(host: Host) -> None:
    effect = host.act(sh("sleep 1; echo one"), sh("sleep 0.5; echo two"))
    target = asdict(host.sshd.target()) | {"state_directory": str(host.state)}
    words = json.dumps([target, str(host.sshd.config), effect_to_json(effect)])

    async def go(world: RealWorld) -> None:
        await host.claimed(world)
        client = subprocess.Popen([sys.executable, "-c", CLIENT, words])
        receipt = host.state / "runs" / "run-1" / f"{effect.receipt.act}.1" if effect.receipt else Path()
        await until(lambda: receipt.exists() and "pid 1" in receipt.read_text())
        client.kill()
        client.wait()
        assert (await world.perform(host.look(effect.receipt))).receipt == "running"
        started = time.monotonic()
        taken = await world.perform(host.claiming(mode="take", owner=OTHER, token=2))
        assert taken.token == 2, taken
        assert time.monotonic() - started > 0.5
        look = await world.perform(host.look(effect.receipt))
        assert (look.receipt, outputs(look)) == ("finished", [(0, b"one\n", b""), (0, b"two\n", b"")])

    host.run(go)


def test_a_take_over_waits_beside_a_running_act_and_gives_up_in_time(host: Host) -> None:
    async def go(world: RealWorld) -> None:
        await host.claimed(world)
        act = asyncio.create_task(world.perform(host.act(sh("sleep 4"))))
        await asyncio.sleep(0.5)
        started = time.monotonic()
        reply = await world.perform(host.claiming(mode="take", owner=OTHER, token=2, timeout=3.0))
        assert (refused(reply), reply.owner) == ("busy", OWNER)
        assert time.monotonic() - started < 3.0
        assert (await act).ok

    host.run(go)


def test_a_wrapper_frozen_between_check_and_act_holds_off_the_new_owner(host: Host) -> None:
    """SIGSTOP while a guard runs: the check has passed, the act has not begun."""
    marker = host.state / "pids"
    guard = Guard(("sh", "-c", f"echo $PPID >{marker}.new; mv {marker}.new {marker}; sleep 0.5"), "")

    async def go(world: RealWorld) -> None:
        await host.claimed(world)
        act = asyncio.create_task(world.perform(host.act(Command(("true",)), guards=(guard,))))
        await until(marker.exists)
        # The guard's parent is the wrapper's subshell; its parent is the wrapper.
        stat = Path(f"/proc/{marker.read_text().strip()}/stat").read_text()
        wrapper = int(stat.rsplit(") ", 1)[1].split()[1])
        pids = [wrapper, *descendants(wrapper)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            reply = await world.perform(host.claiming(mode="take", owner=OTHER, token=2, timeout=3.0))
            assert refused(reply) == "busy"
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        assert (await act).ok
        assert (await world.perform(host.claiming(mode="take", owner=OTHER, token=2))).token == 2
        assert refused(await world.perform(host.act(Command(("true",))))) == "token"

    host.run(go)


def test_a_command_whose_supervisor_was_killed_keeps_claims_away(host: Host) -> None:
    effect = host.act(sh("sleep 2"))

    async def go(world: RealWorld) -> None:
        await host.claimed(world)
        act = asyncio.create_task(world.perform(effect))
        receipt = host.state / "runs/run-1" / f"{effect.receipt.act}.1" if effect.receipt else Path()
        await until(lambda: receipt.exists() and "pid 1" in receipt.read_text())
        started, running = receipt.read_text().splitlines()[:2]
        os.kill(int(started.split()[4]), signal.SIGKILL)
        reply = await act
        assert reply.outcome == "unknown"
        assert (await world.perform(host.look(effect.receipt))).receipt == "running"
        for mode, owner, token in (("take", OTHER, 2), ("claim", OWNER, 0)):
            reply = await world.perform(host.claiming(mode=mode, owner=owner, token=token))
            assert refused(reply) == "running"
            assert running.split()[2] in reply.detail
        await until(lambda: not comm(int(running.split()[2])))
        assert (await world.perform(host.look(effect.receipt))).receipt == "died"
        assert (await world.perform(host.claiming(mode="take", owner=OTHER, token=2))).token == 2

    host.run(go)


def test_on_a_full_disk_only_what_may_be_repeated_acts(own_sshd: Sshd) -> None:
    host = Host(own_sshd)
    own_sshd.stop()
    tmpfs(host.state, "64k")
    own_sshd.start()
    (host.state / "claim").touch()
    marker = host.sshd.directory / "full-marker"

    async def go(world: RealWorld) -> None:
        await host.claimed(world)
        subprocess.run(["sh", "-c", f"cat /dev/zero >{host.state}/filler 2>/dev/null"], check=False)
        touch = sh(f"touch {marker}; echo done; exit 3")
        reply = await world.perform(host.act(touch))
        assert refused(reply) == "no-receipt"
        assert not marker.exists()
        reply = await world.perform(host.act(touch, idempotent=True))
        assert (reply.outcome, reply.receipt_written) == ("answered", False)
        assert outputs(reply) == [(3, b"done\n", b"")]
        assert marker.exists()
        assert not list(Path("/dev/shm").glob("cutover.*"))

    try:
        host.run(go)
    finally:
        own_sshd.stop()
        unmount(host.state)


def test_without_a_state_directory_nothing_acts_and_the_way_out_is_said(host: Host) -> None:
    (host.state / "claim").unlink()

    async def go(world: RealWorld) -> None:
        for effect in (host.claiming(), host.act(Command(("true",))), host.claiming(mode="show")):
            reply = await world.perform(effect)
            assert refused(reply) == "no-state-directory"
            assert "install -d -m 2770" in reply.detail

    host.run(go)


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
class TestTheWrapperAlone:
    """Fed straight into each shell that a host may have as /bin/sh."""

    @pytest.fixture
    def directory(self, tmp_path: Path, shell: list[str]) -> Path:
        """A claimed state directory."""
        try:
            subprocess.run([*shell, "-c", ":"], check=True)
        except FileNotFoundError:
            pytest.skip(f"{shell[0]} is not installed")
        (tmp_path / "claim").touch()
        claim = render_claim(ClaimHost(host="h", mode="claim", owner=OWNER, timeout=5), "N", str(tmp_path))
        done = subprocess.run(shell, input=claim, capture_output=True, check=True)
        assert done.stdout.endswith(b"@N end claimed 1 " + OWNER.encode() + b"\n"), done
        return tmp_path

    def act(self, directory: Path, *commands: Command, attempt: int = 1) -> bytes:
        """An act as text."""
        effect = OnHost(
            host="h",
            commands=commands,
            timeout=5,
            machine_id=this_machine(),
            claim=Claim(OWNER, 1),
            receipt=Receipt("r", "a", attempt),
            cap=20,
        )
        stdins = ["".join(str(piece) for piece in command.stdin) for command in commands]
        return render_act(effect, stdins, "N", str(directory))

    def test_acts_and_answers(self, shell: list[str], directory: Path) -> None:
        text = self.act(
            directory, sh("cat; echo err >&2", ("in'\n\n",)), sh("head -c 3000 /dev/zero | tr '\\0' y; exit 3")
        )
        done = subprocess.run(shell, input=text, capture_output=True, check=True)
        assert done.stdout == (
            b"@N begin\n@N rc 1 0\n@N out 1 1 5 whole\nin'\n\n\n@N out 1 2 4 whole\nerr\n\n"
            b"@N rc 2 3\n@N out 2 1 20 cut\n" + b"y" * 20 + b"\n@N end acted yes\n"
        )
        assert done.stderr == b""
        receipt = (directory / "runs/r/a.1").read_text().splitlines()
        assert [line.split()[0] for line in receipt] == ["started", "pid", "rc", "pid", "rc", "cut", "finished"]
        look = render_look(Look(host="h", receipt=Receipt("r", "a", 1), timeout=5, cap=20), "N", str(directory))
        shown = subprocess.run(shell, input=look, capture_output=True, check=True).stdout
        assert shown == done.stdout.replace(b"end acted yes", b"end receipt finished")

    def test_cut_short_anywhere_nothing_acts(self, shell: list[str], directory: Path) -> None:
        marker = directory / "acted"
        text = self.act(directory, Command(("touch", str(marker)), ("some input",)), Command(("touch", str(marker))))
        group = text.rindex(b"\n{\n")
        for end in [*range(0, group, 97), *range(group, len(text) - 2)]:
            subprocess.run(shell, input=text[:end], capture_output=True, check=False)
            assert not marker.exists(), text[:end][-60:]
        subprocess.run(shell, input=text, capture_output=True, check=True)
        assert marker.exists()

    def test_at_most_two_syncs(self, shell: list[str], directory: Path) -> None:
        trace = directory / "trace"
        try:
            watch = ["strace", "-f", "-o", str(trace), "-e", "trace=fsync,fdatasync,sync,syncfs", *shell]
            subprocess.run(watch, input=self.act(directory, Command(("true",))), capture_output=True, check=True)
        except FileNotFoundError:
            pytest.skip("strace is not installed")
        assert sum("sync(" in line for line in trace.read_text().splitlines()) <= 2


def test_no_login_shell_sees_a_quote() -> None:
    assert REMOTE_COMMAND == "exec /bin/sh"
