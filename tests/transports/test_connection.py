"""Connections: whom they trust, how they break, and how they come back."""

import asyncio
import signal
import socket
import time
from pathlib import Path

import asyncssh
import pytest

from cutover.model.effects import Command
from cutover.transports.clock import RealClock
from cutover.transports.secrets import Secrets
from cutover.transports.ssh import Target
from cutover.transports.world import RealWorld
from tests.transports.host import Host, outputs, reads, sh
from tests.transports.sshd import Sshd, this_machine


def world_of(sshd: Sshd, *, pinned: bool = True, machine_id: str | None = None) -> RealWorld:
    """A world that leads to this sshd."""
    return RealWorld({"web1": sshd.target(machine_id, pinned)}, Secrets(), RealClock(), sshd.config)


def connect(world: RealWorld) -> tuple[str, str]:
    """Code and detail of the reply to connecting."""

    async def main() -> tuple[str, str]:
        try:
            reply = (await world.connect(["web1"]))["web1"]
            return reply.code or reply.outcome, reply.detail
        finally:
            await world.close()
            # A ProxyCommand ends when its pipe is closed; asyncssh does not wait for it.
            await asyncio.sleep(0.2)

    return asyncio.run(main())


def record(sshd: Sshd, name: str, key: str | None = None) -> None:
    """Write a known_hosts line."""
    (sshd.directory / "known_hosts").write_text(f"{name} {key or sshd.public_key}\n")


def test_a_pinned_key_is_trusted_and_a_changed_one_is_not(own_sshd: Sshd) -> None:
    world = world_of(own_sshd)
    assert connect(world)[0] == "answered"
    world, pinned = world_of(own_sshd), own_sshd.public_key
    own_sshd.stop()
    own_sshd.new_host_key()
    own_sshd.start()
    code, detail = connect(world)
    assert code == "host-key"
    old, new = (asyncssh.import_public_key(key).get_fingerprint() for key in (pinned, own_sshd.public_key))
    assert "CHANGED" in detail
    assert old in detail
    assert new in detail
    assert "cutover pin" in detail


def test_a_changed_key_of_another_type_is_told_as_changed(own_sshd: Sshd) -> None:
    world = world_of(own_sshd)
    own_sshd.stop()
    key = asyncssh.generate_private_key("ecdsa-sha2-nistp256")
    key.write_private_key(own_sshd.directory / "host_key")
    key.write_public_key(own_sshd.directory / "host_key.pub")
    own_sshd.start()
    code, detail = connect(world)
    assert code == "host-key"
    assert "CHANGED" in detail


def test_an_unknown_key_is_never_trusted_on_first_use(own_sshd: Sshd) -> None:
    code, detail = connect(world_of(own_sshd, pinned=False))
    assert code == "host-key"
    assert "is unknown" in detail
    assert asyncssh.import_public_key(own_sshd.public_key).get_fingerprint() in detail
    assert (own_sshd.directory / "known_hosts").read_text() == ""


def test_known_hosts_by_name_is_trusted_by_address_is_not(own_sshd: Sshd) -> None:
    record(own_sshd, "web1")
    assert connect(world_of(own_sshd, pinned=False))[0] == "answered"
    for address in ("127.0.0.1", f"[127.0.0.1]:{own_sshd.port}"):
        record(own_sshd, address)
        code, detail = connect(world_of(own_sshd, pinned=False))
        assert (code, "is unknown" in detail) == ("host-key", True), address
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    (own_sshd.directory / "known_hosts").write_text(f"web1 {other}127.0.0.1 {own_sshd.public_key}\n")
    code, detail = connect(world_of(own_sshd, pinned=False))
    assert (code, "CHANGED" in detail, "ssh-keygen -R web1" in detail) == ("host-key", True, True)


def test_user_known_hosts_file_none_does_not_turn_the_check_off(own_sshd: Sshd) -> None:
    text = own_sshd.config.read_text().replace(f"{own_sshd.directory}/known_hosts", "none")
    own_sshd.config.write_text(text)
    assert connect(world_of(own_sshd, pinned=False))[0] == "host-key"


def test_another_machine_behind_the_right_key_is_refused(own_sshd: Sshd) -> None:
    code, detail = connect(world_of(own_sshd, machine_id="f" * 32))
    assert code == "identity"
    assert this_machine() in detail


def test_a_login_that_is_refused_names_the_keys_and_the_agent(own_sshd: Sshd) -> None:
    (own_sshd.directory / "authorized_keys").write_text("")
    code, detail = connect(world_of(own_sshd))
    assert code == "login"
    assert "ssh-add" in detail


def test_a_bad_line_in_the_configuration_is_shown_with_its_place(own_sshd: Sshd) -> None:
    own_sshd.write_config("  ConnectTimeout 5s\n")
    code, detail = connect(world_of(own_sshd))
    assert code == "unreachable"
    assert f"{own_sshd.config} line 7" in detail


def test_nobody_listening_is_unreachable(own_sshd: Sshd) -> None:
    own_sshd.stop()
    assert connect(world_of(own_sshd))[0] == "unreachable"


def test_a_server_that_never_answers_is_given_up_by_the_deadline(own_sshd: Sshd) -> None:
    own_sshd.stop()
    with socket.socket() as mute:
        mute.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        mute.bind(("127.0.0.1", own_sshd.port))
        mute.listen()
        world = world_of(own_sshd)

        async def main() -> None:
            started = time.monotonic()
            reply = await world.perform(reads(Command(("true",)), timeout=1.0))
            assert (reply.outcome, reply.code) == ("refused", "unreachable")
            assert time.monotonic() - started < 5
            await world.close()

        asyncio.run(main())


@pytest.mark.parametrize(
    "jumping",
    ["ProxyJump jump", "ProxyJump jump,jump2", "ProxyCommand ssh -F {config} -W 127.0.0.1:{port} jump"],
    ids=["one", "two", "command"],
)
def test_jumps_and_proxy_commands(own_sshd: Sshd, tmp_path: Path, jumping: str) -> None:
    jump = Sshd(tmp_path / "jump")
    jump.start()
    try:
        (own_sshd.directory / "known_hosts").write_text(f"jump,jump2 {jump.public_key}\n")
        hop = (
            f"Host jump jump2\n  HostName 127.0.0.1\n  Port {jump.port}\n  IdentityFile {jump.directory}/id\n"
            f"  UserKnownHostsFile {own_sshd.directory}/known_hosts\n"
        )
        hops = "".join(hop.replace("jump jump2", name) + f"  HostKeyAlias {name}\n" for name in ("jump", "jump2"))
        line = jumping.format(port=own_sshd.port, config=own_sshd.config)
        own_sshd.write_config(f"  {line}\n{hops}")
        assert connect(world_of(own_sshd)) == ("answered", "")
        if "Jump" in jumping:
            (own_sshd.directory / "known_hosts").write_text("")
            code, detail = connect(world_of(own_sshd))
            assert code == "host-key"
            assert "jump host jump" in detail
    finally:
        jump.stop()


def test_a_frozen_host_is_unknown_by_the_deadline_and_the_connection_heals(own_sshd: Sshd) -> None:
    host = Host(own_sshd)

    async def go(world: RealWorld) -> None:
        await host.claimed(world)
        act = asyncio.create_task(world.perform(host.act(sh("sleep 1"), timeout=2.5)))
        await asyncio.sleep(0.5)
        own_sshd.signal_sessions(signal.SIGSTOP)
        try:
            started = time.monotonic()
            reply = await act
            assert reply.outcome == "unknown"
            assert time.monotonic() - started < 6
            reply = await world.perform(host.act(sh("true"), timeout=1.0))
            assert (reply.outcome, reply.code) == ("refused", "unreachable")
        finally:
            own_sshd.signal_sessions(signal.SIGCONT)
        assert (await world.perform(reads(sh("echo back")))).ok

    host.run(go)


def test_a_dead_connection_is_noticed_within_eight_seconds(own_sshd: Sshd) -> None:
    host = Host(own_sshd)

    async def go(world: RealWorld) -> None:
        await host.claimed(world)
        act = asyncio.create_task(world.perform(host.act(sh("sleep 60"), timeout=60.0)))
        await asyncio.sleep(0.5)
        frozen = own_sshd.sessions()
        own_sshd.signal_sessions(signal.SIGSTOP)
        started = time.monotonic()
        reply = await act
        assert reply.outcome == "unknown"
        assert time.monotonic() - started < 9.0
        again = await world.perform(reads(sh("echo back")))
        assert again.ok, again
        for pid in frozen:
            own_sshd.kill(pid)

    host.run(go)


def test_a_cut_connection_is_unknown_and_opened_again_with_its_checks(own_sshd: Sshd) -> None:
    host = Host(own_sshd)

    async def go(world: RealWorld) -> None:
        await host.claimed(world)
        effect = host.act(sh("sleep 1; echo done"))
        act = asyncio.create_task(world.perform(effect))
        await asyncio.sleep(0.5)
        own_sshd.signal_sessions(signal.SIGKILL)
        assert (await act).outcome == "unknown"
        assert (await world.perform(host.look(effect.receipt))).receipt == "running"
        await asyncio.sleep(1.0)
        look = await world.perform(host.look(effect.receipt))
        assert (look.receipt, outputs(look)) == ("finished", [(0, b"done\n", b"")])
        own_sshd.stop()
        assert (await world.perform(reads(sh("true")))).code == "unreachable"
        own_sshd.new_host_key()
        own_sshd.start()
        reply = await world.perform(reads(sh("true")))
        assert (reply.outcome, reply.code) == ("refused", "host-key")

    host.run(go)


def test_a_cancelled_call_leaves_the_connection_usable(own_sshd: Sshd) -> None:
    host = Host(own_sshd)

    async def go(world: RealWorld) -> None:
        await host.claimed(world)
        marker = host.state / "marker"
        for delay in (0.0, 0.001, 0.003, 0.01, 0.03, 0.3):
            task = asyncio.create_task(world.perform(reads(sh("sleep 5"))))
            await asyncio.sleep(delay)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        act = asyncio.create_task(world.perform(host.act(sh(f"sleep 0.5; touch {marker}"))))
        await asyncio.sleep(0.3)
        act.cancel()
        assert (await world.perform(reads(sh("echo still")))).ok
        await asyncio.sleep(0.6)
        assert marker.exists()

    host.run(go)


def test_acts_that_were_given_up_do_not_use_up_the_sessions(own_sshd: Sshd) -> None:
    host = Host(own_sshd)

    async def go(world: RealWorld) -> None:
        await host.claimed(world)
        given_up = (world.perform(host.act(sh("sleep 4"), timeout=0.7)) for _ in range(12))
        assert {reply.outcome for reply in await asyncio.gather(*given_up)} <= {"unknown", "refused"}
        reply = await world.perform(reads(sh("echo room")))
        assert reply.ok, reply

    host.run(go)


def test_a_host_without_a_way_in_does_not_hold_up_the_others(own_sshd: Sshd) -> None:
    targets = {"web1": own_sshd.target(), "gone": Target("gone", "nowhere.invalid")}

    async def main() -> None:
        world = RealWorld(targets, Secrets(), RealClock(), own_sshd.config)
        replies = await world.connect(targets)
        assert replies["web1"].ok
        assert replies["gone"].code == "unreachable"
        await world.close()

    asyncio.run(main())
