"""Ways in, as OpenSSH has them: an agent, a user's certificate, a host's certificate, hashed names, a locked key."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.transports.sshd import Sshd
from tests.transports.test_connection import connect, record, world_of


def keygen(*arguments: str | Path) -> None:
    subprocess.run(["ssh-keygen", "-q", *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An ssh-agent of the test's own, ended by its pid."""
    said = subprocess.run(
        ["ssh-agent", "-s", "-a", str(tmp_path / "a")], capture_output=True, text=True, check=True
    ).stdout
    found = re.search(r"SSH_AGENT_PID=(\d+)", said)
    assert found is not None
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "a"))
    yield
    os.kill(int(found[1]), signal.SIGTERM)


def test_a_key_that_only_the_agent_holds(own_sshd: Sshd, agent: None) -> None:
    key = own_sshd.directory / "id"
    subprocess.run(["ssh-add", str(key)], check=True, capture_output=True)
    key.unlink()
    own_sshd.config.write_text(own_sshd.config.read_text().replace(f"  IdentityFile {key}\n", ""))
    assert connect(world_of(own_sshd)) == ("answered", "")


def test_a_users_certificate(own_sshd: Sshd) -> None:
    folder = own_sshd.directory
    keygen("-t", "ed25519", "-N", "", "-f", folder / "ca")
    (folder / "id.pub").write_text((folder / "authorized_keys").read_text())
    keygen("-s", folder / "ca", "-I", "me", "-n", "root", folder / "id.pub")
    (folder / "authorized_keys").write_text(f"cert-authority {(folder / 'ca.pub').read_text()}")
    assert connect(world_of(own_sshd)) == ("answered", "")
    (folder / "id-cert.pub").unlink()
    assert connect(world_of(own_sshd))[0] == "login"


def test_a_hosts_certificate_by_its_authority(own_sshd: Sshd) -> None:
    folder = own_sshd.directory
    keygen("-t", "ed25519", "-N", "", "-f", folder / "ca")
    keygen("-s", folder / "ca", "-I", "web1", "-h", "-n", "web1", folder / "host_key.pub")
    own_sshd.stop()
    own_sshd.settings = [f"HostCertificate {folder}/host_key-cert.pub"]
    own_sshd.start()
    (folder / "known_hosts").write_text(f"@cert-authority web1 {(folder / 'ca.pub').read_text()}")
    assert connect(world_of(own_sshd, pinned=False)) == ("answered", "")
    (folder / "known_hosts").write_text(f"@cert-authority web2 {(folder / 'ca.pub').read_text()}")
    assert connect(world_of(own_sshd, pinned=False))[0] == "host-key"


def test_known_hosts_with_hashed_names(own_sshd: Sshd) -> None:
    record(own_sshd, "web1")
    keygen("-H", "-f", own_sshd.directory / "known_hosts")
    assert "web1" not in (own_sshd.directory / "known_hosts").read_text()
    assert connect(world_of(own_sshd, pinned=False)) == ("answered", "")


def test_a_key_with_a_passphrase_and_no_agent_says_what_to_do(own_sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    keygen("-p", "-N", "locked", "-P", "", "-f", own_sshd.directory / "id")
    code, detail = connect(world_of(own_sshd))
    assert code == "login"
    assert "ssh-add" in detail
