"""Pins: written and read again, compared, and found by reading only."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from cutover.model.effects import Command, CommandReply, Effect, OnHost, Reply, is_reading
from cutover.model.pins import HostPins, Pins, UnitPin
from cutover.model.plan import Plan
from cutover.planning import pins, planner
from cutover.planning.problems import Refused, pins_file
from cutover.ports import Output
from tests.planning.toys import KINDS, planned, source

STEPS = """
  - stop: {units: {on: alice, stop: [web.service]}}
  - start: {units: {on: nixie, start: [web.service]}}
"""
ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample"
RSA = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQExample"


def host(number: int) -> HostPins:
    unit = UnitPin(fragment="/etc/systemd/system/web.service", sha256=f"{number:064x}")
    return HostPins(
        machine_id=f"{number:032d}", host_keys=(ED25519, RSA), systemd="systemd 252", units={"web.service": unit}
    )


SOME = Pins(version=1, hosts={"nixie": host(2), "alice": host(1)})


def test_what_is_written_is_read_again() -> None:
    text = pins.written(SOME)
    again, found = pins.read(text, "x.pins", ["alice", "nixie"])
    assert not found
    assert again == SOME
    assert text.startswith("# ")
    assert text.index('"alice"') < text.index('"nixie"')
    assert pins.written(again) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version: 2\nhosts: {}\n", "version: expected 1"),
        ("hosts: {}\n", "needs 'version'"),
        ("version: 1\nhosts: {alice: {machine_id: x, host_keys: [a]}}\n", "hosts.alice.machine_id: expected text that"),
        ("version: 1\nhosts: {alice: {machine_id: 1}}\n", "hosts.alice needs 'host_keys'"),
        (pins.written(SOME).replace('"alice"', '"alise"'), "'alise' is pinned, and the runbook has no such host."),
        ("", "There is nothing in this file."),
        ("[", "never closed"),
    ],
)
def test_pins_that_are_wrong(text: str, said: str) -> None:
    with pytest.raises(Refused) as caught:
        planner.plan(source(STEPS, pins=text), KINDS)
    assert said in str(caught.value)
    assert caught.value.diagnostics[0].file == "move.pins"


def test_where_the_pins_are() -> None:
    assert pins_file("a/basement.yaml") == "a/basement.pins"
    assert pins_file("basement") == "basement.pins"
    assert pins_file("") == ".pins"


def test_a_pinned_plan_knows_who_its_hosts_are() -> None:
    bare = planned(STEPS)
    some = planned(STEPS, pins=pins.written(SOME))
    every = planned(STEPS, pins=pins.written(Pins(version=1, hosts=dict.fromkeys(bare.hosts, host(1)))))
    assert not bare.pinned
    assert not some.pinned, "the other hosts are not"
    assert every.pinned
    assert some.hosts["alice"].machine_id == f"{1:032d}"
    assert some.hosts["alice"].host_keys == (ED25519, RSA)
    assert len({bare.hash, some.hash, every.hash}) == 3


def test_a_difference_is_said_line_by_line() -> None:
    assert pins.diff(SOME, SOME) == []
    assert len(pins.diff(None, SOME)) == 2 * 5
    changed = SOME.hosts["alice"].model_copy(update={"machine_id": "f" * 32, "host_keys": (ED25519,)})
    lines = pins.diff(SOME, Pins(version=1, hosts={"alice": changed, "nixie": host(2)}))
    assert lines == [
        f"- alice host key ssh-rsa: {RSA.split()[1]}",
        f"~ alice machine id: was {1:032d}, is {'f' * 32}",
    ]


class Fake:
    """Hosts that answer what a healthy host answers, unless told otherwise."""

    def __init__(self, **replies: Reply) -> None:
        self.effects: list[OnHost] = []
        self.replies = replies

    async def perform(self, effect: Effect, output: Output | None = None) -> Reply:
        """Answer."""
        assert isinstance(effect, OnHost)
        self.effects.append(effect)
        if effect.host in self.replies:
            return self.replies[effect.host]
        return Reply(outcome="answered", commands=tuple(self._command(effect.host, each) for each in effect.commands))

    def _command(self, name: str, command: Command) -> CommandReply:
        match command.argv:
            case ("cat", "/etc/machine-id"):
                return CommandReply(0, b"0123456789abcdef0123456789abcdef\n")
            case ("cat", *_):
                return CommandReply(
                    1, f"{RSA} root@{name}\n{ED25519} root@{name}\n".encode(), b"cat: ...: No such file"
                )
            case ("systemctl", "--version"):
                return CommandReply(0, b"systemd 252 (252.38-1~deb12u1)\n+PAM +AUDIT\n")
            case ("systemctl", "show", *_, "--", _):
                return CommandReply(0, b"Id=web.service\nFragmentPath=/etc/systemd/system/web.service\n")
            case ("sha256sum", "--", path):
                return CommandReply(0, f"{'a' * 64}  {path}\n".encode())
        raise AssertionError(command)

    async def connect(self, hosts: Iterable[str]) -> dict[str, Reply]:
        """Be connected."""
        return {}

    async def close(self) -> None:
        """Do nothing."""


@pytest.fixture
def plan() -> Plan:
    made = planned(STEPS)
    return replace(made, hosts={name: made.hosts[name] for name in ("alice", "nixie")})


@pytest.mark.anyio
async def test_pins_are_found_by_reading_only(plan: Plan) -> None:
    world = Fake()
    found = await pins.collect(world, plan)
    assert found.hosts["alice"] == HostPins(
        machine_id="0123456789abcdef0123456789abcdef",
        host_keys=(ED25519, RSA),
        systemd="systemd 252",
        units={"web.service": UnitPin(fragment="/etc/systemd/system/web.service", sha256="a" * 64)},
    )
    assert all(is_reading(effect) for effect in world.effects)
    assert pins.read(pins.written(found), "x", ["alice", "nixie"])[0] == found


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(outcome="refused", code="host-key", detail="the host key changed"), "alice: the host key changed"),
        (Reply(outcome="unknown", detail="the connection was lost"), "alice: the connection was lost"),
        (Reply(outcome="answered", commands=(CommandReply(1, b"", b"cat: \x1b[31mno"),)), "alice: cat: \\x1b[31mno"),
        (Reply(outcome="answered", commands=(CommandReply(0, b"x"),) * 4), "alice has no unit web.service."),
    ],
)
async def test_every_host_that_cannot_be_pinned_is_named(plan: Plan, reply: Reply, said: str) -> None:
    with pytest.raises(pins.PinningFailed) as caught:
        await pins.collect(Fake(alice=reply, nixie=reply), plan)
    assert str(caught.value) == f"{said}\n{said.replace('alice', 'nixie')}"


@pytest.mark.anyio
async def test_a_host_that_answers_nonsense(plan: Plan) -> None:
    nonsense = Reply(outcome="answered", commands=(CommandReply(0, b"x"),) * 3)
    with pytest.raises(pins.PinningFailed, match="did not answer as a host with systemd and OpenSSH does"):
        await pins.collect_host(Fake(alice=nonsense), "alice", (), timeout=1.0)
