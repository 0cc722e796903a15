"""Where a lab keeps its things on the machine, and the lock that keeps two users of one lab apart.

Everything a lab makes is in two places, so that taking it down is a matter of emptying them: the tmpfs at `run`
(files, mounts, network namespaces) and the tree of control groups at `cgroup` (processes).
"""

from __future__ import annotations

import os
import re
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FILES = Path(__file__).resolve().parent
REPO = FILES.parents[1]


class LabError(Exception):
    """The lab cannot do what was asked; the message says why."""


def lab_name() -> str:
    """The lab's name: several labs live side by side when CUTOVER_LAB names them differently."""
    name = os.environ.get("CUTOVER_LAB", "main")
    if not re.fullmatch(r"[a-z0-9]{1,16}", name):
        raise LabError(f"CUTOVER_LAB={name!r}: a lab's name is 1 to 16 of a-z and 0-9")
    return name


def run_dir() -> Path:
    return Path("/run/cutover-lab") / lab_name()


def host_dir(name: str) -> Path:
    """The tmpfs with everything that host `name` has written since its last reset."""
    return run_dir() / "hosts" / name


def seed_dir(name: str) -> Path:
    """The overlay layer with what is host `name`'s own from the start: its name, machine id, keys, units."""
    return run_dir() / "seed" / name


def netns_file(name: str) -> Path:
    return run_dir() / "net" / name


def cgroup_root() -> Path:
    """The machine's cgroup2 mount: /sys/fs/cgroup, or a small one beside the v1 mounts."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, kind = line.partition(" - ")
        if kind.startswith("cgroup2 "):
            return Path(fields.split()[4])
    raise LabError("this machine has no cgroup2 mount")


def cgroup_dir(*parts: str) -> Path:
    return cgroup_root().joinpath(f"cutover-lab-{lab_name()}", *parts)


def is_mounted(path: Path) -> bool:
    return any(line.split()[1] == str(path) for line in Path("/proc/mounts").read_text().splitlines())


@contextmanager
def lock(wait: float = 0.0) -> Iterator[None]:
    """Be the lab's only user. An abstract socket: gone with its holder, however it dies, and no file to leave."""
    deadline = time.monotonic() + wait
    address = f"\0cutover-lab-{lab_name()}"
    while True:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as held:
            try:
                held.bind(address)
            except OSError:
                if time.monotonic() >= deadline:
                    raise LabError(f"the lab {lab_name()!r} is in use by {_holder(address)}") from None
            else:
                held.listen(1)
                yield
                return
        time.sleep(0.2)


def _holder(address: str) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(1)
        try:
            asking.connect(address)
            credentials = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            pid = struct.unpack("3i", credentials)[0]
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return "another process"
    return f"process {pid} ({command.strip()[:100]})"
