"""Many hosts on one machine: an sshd of its own for each, with its own key and configuration, on a loopback address.

Needs root (an sshd lets its own user in, and only root may be made without touching the machine's users) and Linux,
where all of 127.0.0.0/8 answers. Ends exactly the processes that it started.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
USER = "root"
PORT = 22022
_START_SECONDS = 30.0


def why_not() -> str | None:
    """Why no farm can be had here, or None."""
    if not SSHD:
        return "there is no sshd (package openssh-server)"
    return None if os.geteuid() == 0 and os.uname().sysname == "Linux" else "it needs root on Linux"


@dataclass
class Farm:
    """`size` sshd under `directory`. As a context: started at its beginning, ended at its end.

    Contenders find in the directory: `id` (the login's key), `known_hosts`, `ssh_config` and the lists below.
    """

    directory: Path
    size: int
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def addresses(self) -> list[str]:
        """Where each sshd listens."""
        return [address(number) for number in range(self.size)]

    @property
    def key(self) -> Path:
        """The login's key."""
        return self.directory / "id"

    @property
    def known_hosts(self) -> Path:
        """The host keys, by address and port."""
        return self.directory / "known_hosts"

    @property
    def ssh_config(self) -> Path:
        """The client's configuration, for those that read one."""
        return self.directory / "ssh_config"

    @property
    def host_keys(self) -> list[str]:
        """The host keys in the order of the addresses, as `type base64`."""
        return [line.split(maxsplit=1)[1] for line in self.known_hosts.read_text().splitlines()]

    def __enter__(self) -> "Farm":
        self._write()
        Path("/run/sshd").mkdir(exist_ok=True)
        try:
            for number in range(self.size):
                argv = [*self._private(), str(SSHD), "-D", "-e", "-f", str(self.directory / f"sshd_config.{number}")]
                with (self.directory / f"log.{number}").open("wb") as log:
                    self.processes.append(subprocess.Popen(argv, stderr=log, stdin=subprocess.DEVNULL))
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            if process.poll() is not None:
                continue
            process.send_signal(signal.SIGSTOP)  # so that it takes in nobody else, and no number is used again
            for pid in _children(process.pid):
                os.kill(pid, signal.SIGTERM)
            process.kill()
            process.wait()

    def _private(self) -> list[str]:
        """A mount namespace in which the login shell is /bin/sh: what another's start-up files do is not measured."""
        passwd = self.directory / "passwd"
        return ["unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc/passwd && exec "$@"', str(passwd)]

    def _write(self) -> None:
        login = asyncssh.generate_private_key("ssh-ed25519")
        login.write_private_key(self.key)
        self.key.chmod(0o600)
        login.write_public_key(self.directory / "authorized_keys")
        users = [line.split(":") for line in Path("/etc/passwd").read_text().splitlines()]
        shells = [":".join([*user[:6], "/bin/sh" if user[0] == USER else user[6]]) for user in users]
        (self.directory / "passwd").write_text("\n".join(shells) + "\n")
        known = []
        for number, host in enumerate(self.addresses):
            key = asyncssh.generate_private_key("ssh-ed25519")
            key.write_private_key(self.directory / f"host_key.{number}")
            (self.directory / f"host_key.{number}").chmod(0o600)
            known.append(f"[{host}]:{PORT} {' '.join(key.export_public_key().decode().split()[:2])}\n")
            (self.directory / f"sshd_config.{number}").write_text(
                f"ListenAddress {host}:{PORT}\nHostKey {self.directory}/host_key.{number}\n"
                f"AuthorizedKeysFile {self.directory}/authorized_keys\nStrictModes no\nPidFile none\nUsePAM no\n"
                "PermitRootLogin yes\nPasswordAuthentication no\nMaxStartups 1000\n"
            )
        self.known_hosts.write_text("".join(known))
        self.ssh_config.write_text(
            f"Host 127.*\n  Port {PORT}\n  User {USER}\n  IdentityFile {self.key}\n"
            f"  UserKnownHostsFile {self.known_hosts}\n  StrictHostKeyChecking yes\n"
        )

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        for number, host in enumerate(self.addresses):
            while not _answers(host):
                if time.monotonic() > deadline:
                    raise RuntimeError(f"no sshd answers at {host}")
                time.sleep(0.02)
            if self.processes[number].poll() is not None:  # another one answers
                raise RuntimeError(f"no sshd at {host}: {(self.directory / f'log.{number}').read_text()}")


def address(number: int) -> str:
    """The loopback address of one sshd."""
    return f"127.77.{number // 250}.{number % 250 + 1}"


def _answers(host: str) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, PORT)) == 0


def _children(pid: int) -> Iterator[int]:
    """The processes of an sshd that serve connections."""
    yield from map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
