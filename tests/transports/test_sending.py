"""What is sent arrives, whatever it holds, and what comes back is told apart."""

import asyncio
import base64
import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cutover.model.effects import Command, Guard, OnHost, SecretRef
from cutover.model.runbook import SecretSource
from cutover.transports.quoting import quote
from cutover.transports.world import RealWorld
from tests.transports.host import Host, outputs, reads, sh
from tests.transports.sshd import Sshd

NASTY = "a'b\"c$(touch /tmp/x)`id`\\n!\n\t{}[]*?~#&|;<>% =\x01\x7f\u202eé漢🙂"
WORDS = st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), max_size=40)


@pytest.mark.parametrize("acting", [False, True])
def test_any_text_arrives_byte_identical(host: Host, acting: bool) -> None:
    loop = asyncio.new_event_loop()
    world = loop.run_until_complete(_claimed(host))

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(words=st.lists(WORDS, max_size=4), stdin=WORDS)
    def arrives(words: list[str], stdin: str) -> None:
        show = Command(("sh", "-c", 'printf "%s\\0" "$@"; cat >&2', "sh", *words), (stdin,))
        effect = host.act(show) if acting else reads(show)
        reply = loop.run_until_complete(world.perform(effect))
        sent = "".join(f"{word}\0" for word in words).encode() or b"\0"
        assert outputs(reply) == [(0, sent, stdin.encode())]

    try:
        arrives()
        arrives.hypothesis.inner_test(words=[NASTY, "", "-n", "end"], stdin=NASTY)  # type: ignore[attr-defined]
    finally:
        loop.run_until_complete(world.close())
        loop.close()


async def _claimed(host: Host) -> RealWorld:
    world = host.world()
    await host.claimed(world)
    return world


@pytest.mark.parametrize("bad", ["a\0b", "\ud800"])
def test_what_no_argv_can_hold_is_refused(host: Host, bad: str) -> None:
    with pytest.raises(ValueError, match=r"NUL|surrogates"):
        quote(bad)
    reply = host.run(lambda world: world.perform(reads(Command(("echo", bad)))))
    assert (reply.outcome, reply.code) == ("refused", "bad-request")


@pytest.mark.usefixtures("needs_sshd")
@pytest.mark.parametrize("shell", ["/bin/bash", "/usr/bin/tcsh", "/usr/bin/fish"])
def test_any_login_shell_will_do(tmp_path: Path, shell: str) -> None:
    if not os.access(shell, os.X_OK):
        pytest.skip(f"{shell} is not installed")
    sshd = Sshd(tmp_path, shell=shell)
    sshd.start()
    try:
        reply = Host(sshd).run(lambda world: world.perform(reads(Command(("printf", "%s", NASTY)))))
        assert outputs(reply) == [(0, NASTY.encode(), b"")]
    finally:
        sshd.stop()


@pytest.mark.usefixtures("needs_sshd")
def test_a_login_without_a_shell_is_refused(tmp_path: Path) -> None:
    sshd = Sshd(tmp_path, shell="/usr/sbin/nologin")
    sshd.start()
    try:
        reply = Host(sshd).run(lambda world: world.connect(["web1"]))["web1"]
        assert (reply.outcome, reply.code) == ("refused", "shell")
        assert "not available" in reply.detail
    finally:
        sshd.stop()


@pytest.mark.parametrize("acting", [False, True])
def test_exits_and_streams_apart_stopping_at_the_first_failure(host: Host, acting: bool) -> None:
    commands = (
        sh("cat; echo err >&2", ("in\n",)),
        sh("printf out; exit 3"),
        Command(("touch", str(host.state / "never"))),
    )

    async def go(world: RealWorld) -> None:
        await host.claimed(world)
        reply = await world.perform(host.act(*commands) if acting else reads(*commands))
        assert reply.outcome == "answered"
        assert outputs(reply) == [(0, b"in\n", b"err\n"), (3, b"out", b"")]
        assert not (host.state / "never").exists()
        killed = sh("kill -TERM $$")
        reply = await world.perform(host.act(killed) if acting else reads(killed))
        assert outputs(reply)[0][0] == 143
        missing = Command(("no-such-program-here",))
        reply = await world.perform(host.act(missing) if acting else reads(missing))
        assert reply.commands[0].exit == 127

    host.run(go)


@pytest.mark.parametrize("acting", [False, True])
def test_a_guard_that_does_not_hold_refuses_before_anything_runs(host: Host, acting: bool) -> None:
    marker = host.state / "ran"
    guards = (Guard(("printf", "one\\n"), "one"), Guard(("echo", "no"), "yes", "the role has changed"))

    async def go(world: RealWorld) -> None:
        await host.claimed(world)
        touch = Command(("touch", str(marker)))
        effect = host.act(touch, guards=guards) if acting else reads(touch, guards=guards)
        reply = await world.perform(effect)
        assert (reply.outcome, reply.code) == ("refused", "guard")
        assert reply.detail == "the role has changed (wanted 'yes', found 'no')"
        assert not marker.exists()

    host.run(go)


@pytest.mark.parametrize("acting", [False, True])
def test_a_flood_of_output_is_cut_and_drained_quickly(host: Host, acting: bool) -> None:
    flood = sh("head -c 300000000 /dev/zero | tr '\\0' x; echo end >&2; exit 5")

    async def go(world: RealWorld) -> None:
        await host.claimed(world)
        started = time.monotonic()
        reply = await world.perform(host.act(flood, cap=1000) if acting else reads(flood, cap=1000))
        assert time.monotonic() - started < 15
        command = reply.commands[0]
        assert (command.exit, command.stdout, command.stdout_cut) == (5, b"x" * 1000, True)
        assert (command.stderr, command.stderr_cut) == (b"end\n", False)
        spools = [file for file in (host.state / "spool").rglob("*") if file.is_file()] if acting else []
        assert sum(file.stat().st_size for file in spools) < 4096

    host.run(go)


def test_output_of_exactly_the_cap_is_whole(host: Host) -> None:
    async def go(world: RealWorld) -> None:
        await host.claimed(world)
        for cap, size, cut in ((512, 512, False), (512, 513, True), (1000, 1000, False), (1000, 1001, True)):
            reply = await world.perform(host.act(sh(f"head -c {size} /dev/zero"), cap=cap))
            assert (len(reply.commands[0].stdout), reply.commands[0].stdout_cut) == (cap, cut)

    host.run(go)


def test_a_secret_is_in_no_argv_and_no_environment_and_scrubbed_from_the_answer(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "kanarie-Vogel'42$x"
    monkeypatch.setenv("CANARY_SOURCE", secret)
    spy = sh(
        "read -r value; all=$(cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | "
        "grep -v ^CANARY_SOURCE=); case $all in '') ;; *\"$value\"*) echo leaked;; *) echo clean;; esac; "
        'echo "$value"; printf %s "xx$value" | base64 >&2',
        (SecretRef("canary"), "\n"),
    )

    async def go(world: RealWorld) -> None:
        await host.claimed(world)
        for effect in (host.act(spy), reads(spy)):
            reply = await world.perform(effect)
            assert reply.commands[0].stdout == b"clean\n${secret:canary}\n", reply
            assert b"${secret:canary}" in reply.commands[0].stderr
            assert base64.b64encode(secret.encode())[2:-4] not in reply.commands[0].stderr
        assert secret not in "".join(file.read_text() for file in (host.state / "runs").rglob("*") if file.is_file())

    host.run(go, secrets={"canary": SecretSource(env="CANARY_SOURCE")})


def test_the_environment_is_the_c_locale_and_the_logins_umask(host: Host) -> None:
    ask = sh("echo $LC_ALL; umask")

    async def go(world: RealWorld) -> None:
        await host.claimed(world)
        plain, acted = await world.perform(reads(ask)), await world.perform(host.act(ask))
        assert plain.commands == acted.commands
        assert plain.commands[0].stdout.startswith(b"C\n")

    host.run(go)


@pytest.mark.usefixtures("needs_sshd")
def test_a_chatty_login_file_is_not_taken_for_output(tmp_path: Path) -> None:
    chatty = tmp_path / "chatty"
    chatty.write_text('#!/bin/sh\necho welcome\necho "@0 end acted yes"\necho trouble >&2\nexec /bin/sh "$@"\n')
    chatty.chmod(0o755)
    sshd = Sshd(tmp_path / "sshd", shell=str(chatty))
    sshd.start()
    host = Host(sshd)

    async def go(world: RealWorld) -> None:
        await host.claimed(world)
        assert (await world.perform(reads(sh("echo a")))).commands[0].stdout == b"a\n"
        assert outputs(await world.perform(host.act(sh("echo a")))) == [(0, b"a\n", b"")]

    try:
        host.run(go)
    finally:
        sshd.stop()


def test_a_daemon_that_keeps_the_output_open_does_not_hold_up_the_act(host: Host) -> None:
    async def go(world: RealWorld) -> None:
        await host.claimed(world)
        started = time.monotonic()
        reply = await world.perform(host.act(sh("echo started; sleep 8 &"), sh("echo second")))
        assert time.monotonic() - started < 6
        assert outputs(reply) == [(0, b"started\n", b""), (0, b"second\n", b"")]

    host.run(go)


def test_many_acts_of_one_token_run_side_by_side(host: Host) -> None:
    async def go(world: RealWorld) -> None:
        await host.claimed(world)
        started = time.monotonic()
        replies = await asyncio.gather(*(world.perform(host.act(Command(("sleep", "1")))) for _ in range(3)))
        assert all(reply.ok for reply in replies), replies
        assert time.monotonic() - started < 2.5

    host.run(go)


def test_more_calls_than_channels_wait_their_turn(host: Host) -> None:
    async def go(world: RealWorld) -> None:
        calls = (world.perform(reads(sh("sleep 0.2; echo $0"))) for _ in range(30))
        assert all(reply.ok for reply in await asyncio.gather(*calls))

    host.run(go)


def test_a_long_acts_output_comes_while_it_runs(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY_SOURCE", "kanarie-vogel-42")
    seen: list[tuple[int, bytes]] = []
    long = sh("echo one; echo bad >&2; sleep 2.5; read -r v; echo $v; sleep 1", (SecretRef("canary"),))

    async def go(world: RealWorld) -> None:
        await host.claimed(world)
        act = asyncio.create_task(
            world.perform(host.act(long, sh("echo two")), lambda stream, data: seen.append((stream, data)))
        )
        await asyncio.sleep(2.0)
        assert (1, b"one\n") in seen or b"one" in b"".join(data for _, data in seen)
        assert not act.done()
        assert (await act).ok
        for stream, whole in ((1, b"one\n${secret:canary}\ntwo\n"), (2, b"bad\n")):
            assert b"".join(data for number, data in seen if number == stream) == whole

    host.run(go, secrets={"canary": SecretSource(env="CANARY_SOURCE")})


def test_a_host_that_is_not_in_the_plan_is_refused(host: Host) -> None:
    effect = OnHost(host="nobody", commands=(Command(("true",)),), timeout=1, reads=True)
    assert host.run(lambda world: world.perform(effect)).code == "unreachable"
