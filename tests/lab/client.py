"""What a test holds in its hands: a host of the lab, and a process that runs on it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.lab import host as machinery
from tests.lab import topology
from tests.lab.place import LabError, cgroup_dir, netns_file


class HostProcess(subprocess.Popen[str]):
    """A process on a host. Use it like any Popen: signals reach the process itself.

    (`Popen.pid` is the pid of the `nsenter` that stands before it and hands on its exit status.)
    """

    @property
    def real_pid(self) -> int:
        """The process's pid as the machine counts."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")

        def started() -> bool:
            return self.poll() is not None or bool(children.read_text())

        machinery.wait_until(started, 5)
        if self.returncode is not None:
            raise ProcessLookupError(f"the process has ended ({self.returncode})")
        return int(children.read_text().split()[0])

    @property
    def inner_pid(self) -> int:
        """The process's pid as its host counts."""
        pid = machinery.inner_pid(self.real_pid)
        if pid is None:
            raise ProcessLookupError("the process has ended")
        return pid

    def send_signal(self, sig: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.real_pid, sig)
            # nsenter stops itself when its child is stopped: wait for that, so that it cannot happen after a SIGCONT.
            if sig == signal.SIGSTOP:
                machinery.wait_until(lambda: _state(self.pid) == "T", 5)
            if sig in (signal.SIGCONT, signal.SIGKILL):
                super().send_signal(signal.SIGCONT)


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


class LabHost:
    """One host of the lab, up or not."""

    def __init__(self, name: str) -> None:
        if name not in topology.HOSTS:
            raise LabError(f"no host {name!r} in the lab; there are {', '.join(topology.HOSTS)}")
        self.name = name
        self.address = topology.HOSTS[name].address
        self.site = topology.HOSTS[name].site
        self.role = topology.HOSTS[name].role

    def popen(
        self, argv: Sequence[str], *, user: str = "root", cwd: str | None = None,
        env: Mapping[str, str] | None = None, **popen: Any,
    ) -> HostProcess:  # fmt: skip
        """Start `argv` on the host, in an environment made of nothing but the user's own and `env`."""
        command = machinery.enter_command(self.name, list(argv), user, cwd, dict(env or {}))
        popen.setdefault("stdin", subprocess.DEVNULL)
        popen.setdefault("text", True)
        return HostProcess(command, **popen)

    def run(
        self, argv: Sequence[str], *, check: bool = True, input: str | None = None, timeout: float = 60, **popen: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run `argv` on the host to its end; its output is captured, and with `check` a failure is a LabError."""
        if input is not None:
            popen["stdin"] = subprocess.PIPE
        with self.popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **popen) as process:
            try:
                out, err = process.communicate(input, timeout)
            except BaseException:
                process.kill()
                raise
        if check and process.returncode != 0:
            raise LabError(f"{self.name}: {' '.join(argv)} exited with {process.returncode}: {(err or out).strip()}")
        return subprocess.CompletedProcess(list(argv), process.returncode, out, err)

    def netns_command(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` on the machine, but with this host's network."""
        return ["nsenter", f"--net={netns_file(self.name)}", "--", *argv]

    def read(self, path: str) -> str:
        return self.run(["cat", "--", path]).stdout

    def write(self, path: str, text: str, *, mode: str = "644", owner: str = "root") -> None:
        """Put `text` into a file of the host; its directory is made if need be."""
        script = 'mkdir -p -- "$(dirname -- "$1")" && cat >"$1" && chown -- "$2" "$1" && chmod -- "$3" "$1"'
        self.run(["sh", "-c", script, "sh", path, owner, mode], input=text)

    def exists(self, path: str) -> bool:
        return self.run(["test", "-e", path], check=False).returncode == 0

    def systemctl(self, *argv: str, check: bool = True) -> str:
        return self.run(["systemctl", *argv], check=check).stdout.strip()

    def is_active(self, unit: str) -> bool:
        return self.systemctl("is-active", unit, check=False) == "active"

    def drop_ssh_sessions(self) -> None:
        """End every ssh session that this host serves, as an sshd that dies would; new ones can be made."""
        self.run(["pkill", "-KILL", "-f", r"^sshd: [a-z]+( \[priv\]|@)"], check=False)

    def state(self) -> str:
        """off, booting, up or frozen."""
        freezer = cgroup_dir(self.name) / "cgroup.freeze"
        if not freezer.exists():
            return "off"
        if freezer.read_text().strip() == "1":
            return "frozen"
        if machinery.is_ready(self.name):
            return "up"
        return "booting" if (cgroup_dir(self.name) / "cgroup.procs").read_text() else "off"
