"""`cutover pin` when a host is no longer who it was: the old pins must not keep the new ones from being found."""

from pathlib import Path

import pytest

from cutover.__main__ import main
from cutover.cli import hosts
from cutover.model.pins import HostPins, Pins
from cutover.model.plan import Plan
from cutover.planning import pins

RUNBOOK = """\
title: t
sites: {a: {web: [alice]}}
steps:
  - look: {command: {on: alice, do: [uptime], harmless: true}}
"""


def test_a_changed_identity_is_found_by_known_hosts_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "move.yaml"
    file.write_text(RUNBOOK)
    gone = HostPins(machine_id="0" * 32, host_keys=("ssh-ed25519 AAAA",))
    file.with_suffix(".pins").write_text(pins.written(Pins(version=1, hosts={"alice": gone})))

    async def found(plan: Plan) -> Pins:
        assert not plan.pinned, "the connection would be checked against the pins that are to be replaced"
        return Pins(version=1, hosts={"alice": HostPins(machine_id="1" * 32, host_keys=("ssh-ed25519 AAAA",))})

    monkeypatch.setattr(hosts, "collect_pins", found)
    assert main(["pin", str(file)]) == 0
    assert "1" * 32 in capsys.readouterr().out
    assert "1" * 32 in file.with_suffix(".pins").read_text()
