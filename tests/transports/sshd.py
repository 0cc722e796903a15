"""A real sshd of the tests' own on loopback: its keys, its configuration, its state directory."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh

from cutover.transports.ssh import Target

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
MACHINE_ID = Path("/etc/machine-id")


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Sshd:
    """One running sshd, the client's configuration for it, and a state directory for the wrapper."""

    directory: Path
    settings: Sequence[str] = ()
    shell: str = "/bin/sh"
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.state = self.directory / "state"
        self.state.mkdir(exist_ok=True)
        (self.state / "claim").touch()
        self.new_host_key()
        key = asyncssh.generate_private_key("ssh-ed25519")
        key.write_private_key(self.directory / "id")
        key.write_public_key(self.directory / "authorized_keys")
        for name in ("id", "authorized_keys"):
            (self.directory / name).chmod(0o600)
        (self.directory / "known_hosts").touch()
        self.write_config()

    @property
    def config(self) -> Path:
        """The client's configuration."""
        return self.directory / "ssh_config"

    @property
    def public_key(self) -> str:
        """The host key as `type base64`."""
        return " ".join((self.directory / "host_key.pub").read_text().split()[:2])

    def new_host_key(self) -> None:
        """Another key, as after a new installation; takes effect at the next start."""
        key = asyncssh.generate_private_key("ssh-ed25519")
        key.write_private_key(self.directory / "host_key")
        (self.directory / "host_key").chmod(0o600)
        key.write_public_key(self.directory / "host_key.pub")

    def write_config(self, extra: str = "") -> None:
        """The destination `web1` leads here."""
        self.config.write_text(
            f"Host web1 other\n  HostName 127.0.0.1\n  Port {self.port}\n  HostKeyAlias web1\n"
            f"  IdentityFile {self.directory}/id\n  UserKnownHostsFile {self.directory}/known_hosts\n{extra}"
        )

    def target(self, machine_id: str | None = None, pinned: bool = True) -> Target:
        """This host as a plan knows it."""
        return Target(
            "web1", "web1", (self.public_key,) if pinned else (), machine_id or this_machine(), str(self.state)
        )

    def start(self) -> None:
        """Start it and wait until it answers."""
        Path("/run/sshd").mkdir(exist_ok=True)
        (self.directory / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.directory}/host_key\n"
            f"AuthorizedKeysFile {self.directory}/authorized_keys\nStrictModes no\nPidFile none\nUsePAM no\n"
            "PermitRootLogin yes\nPasswordAuthentication no\nMaxStartups 1000\nPerSourceMaxStartups none\n"
            + "".join(f"{line}\n" for line in self.settings)
        )
        # The login shell, in a mount namespace of sshd's own: the machine's /etc/passwd stays as it is.
        passwd = self.directory / "passwd"
        lines = (line.split(":") for line in Path("/etc/passwd").read_text().splitlines())
        passwd.write_text("".join(":".join([*f[:6], self.shell if f[2] == "0" else f[6]]) + "\n" for f in lines))
        private = [
            "unshare",
            "-m",
            "--propagation",
            "slave",
            "sh",
            "-c",
            'mount --bind "$0" /etc/passwd && exec "$@"',
            str(passwd),
        ]
        command = [*private, str(SSHD), "-D", "-e", "-f", str(self.directory / "sshd_config")]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                probe.settimeout(1)
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise RuntimeError(f"sshd did not start: {(self.directory / 'log').read_text()}")

    def sessions(self) -> list[int]:
        """The pids of the sshd processes that serve connections."""
        assert self.process is not None
        return [pid for pid in descendants(self.process.pid) if comm(pid) == "sshd"]

    def signal_sessions(self, number: int) -> None:
        """Signal every process that serves a connection, as when a host freezes."""
        for pid in self.sessions():
            os.kill(pid, number)

    def kill(self, pid: int) -> None:
        """End one process that this sshd started, if it is still there."""
        if pid in self.sessions():
            os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        """End the listener and what serves connections; what they started lives on."""
        if self.process is None:
            return
        for pid in self.sessions():
            os.kill(pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        self.process = None


def this_machine() -> str:
    """The machine id of the machine that the tests run on."""
    return MACHINE_ID.read_text().strip()


def comm(pid: int) -> str:
    """The name of a process, empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def descendants(root: int) -> list[int]:
    """All processes below `root`."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parents[int(entry.name)] = int(stat.rsplit(") ", 1)[1].split()[1])
    found, level = [], [root]
    while level:
        level = [pid for pid, parent in parents.items() if parent in level]
        found += level
    return found
