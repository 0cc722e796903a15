"""One host: boot it, stop it, find its systemd, and the command that enters it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.lab import base, stack
from tests.lab.place import FILES, LabError, cgroup_dir, host_dir, is_mounted, netns_file, run_dir, seed_dir
from tests.lab.topology import HOSTS

DISK_SIZE = "512m"
READY_WAIT = 60.0
INOTIFY_PER_HOST = 5
HOMES = {"root": "/root", "deploy": "/home/deploy", "nosudo": "/home/nosudo"}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def power_on(name: str) -> None:
    """Start booting host `name`; `wait_ready` tells when it is up. What its disk holds stays."""
    disk = host_dir(name)
    disk.mkdir(parents=True, exist_ok=True)
    if not is_mounted(disk):
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_SIZE},mode=755", "lab-disk", str(disk)], check=True)
        stack.furnish(name, disk / "upper")
    guest = guest_cgroup(name)
    guest.mkdir(parents=True, exist_ok=True)
    environment = {
        "PATH": PATH,
        "LAB_NAME": name,
        "LAB_LAYERS": ":".join(map(str, (*stack.layers(name), seed_dir(name), base.base_layer(), "/"))),
        "LAB_DISK": str(disk),
        "LAB_BINDS": "\n".join(map(str, base.binds(HOSTS[name]))),
    }
    loop = [str(FILES / "hostloop.sh"), str(guest), str(netns_file(name)), str(FILES / "hostinit.sh")]
    launch(loop, cgroup_dir(name), run_dir() / "log" / name, environment)


def launch(command: list[str], cgroup: Path, log: Path, environment: dict[str, str]) -> None:
    """Start a process that outlives this one, in `cgroup`, so that whoever comes later can end it."""
    with log.open("ab") as output:
        subprocess.run(
            ["/bin/sh", "-c", 'echo 0 >"$0/cgroup.procs" && { setsid "$@" & }', str(cgroup), *command],
            check=True, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment,
        )  # fmt: skip


def guest_cgroup(name: str) -> Path:
    """The control group that host `name` takes for the root of all."""
    return cgroup_dir(name, "guest")


def first_process(name: str) -> int | None:
    """The pid, as the machine counts, of the host's systemd."""
    guest = guest_cgroup(name)
    for group in (guest / "init.scope", guest):
        with contextlib.suppress(OSError):
            for pid in (group / "cgroup.procs").read_text().split():
                if inner_pid(int(pid)) == 1:
                    return int(pid)
    return None


def inner_pid(pid: int) -> int | None:
    """The number that process `pid` has inside its host."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("NSpid:") and len(line.split()) > 2:
                return int(line.split()[-1])
    return None


def is_ready(name: str) -> bool:
    pid = first_process(name)
    return pid is not None and os.path.exists(f"/proc/{pid}/root/run/lab-ready")


def wait_ready(names: Iterable[str]) -> None:
    waiting = list(names)
    with contextlib.suppress(TimeoutError):
        wait_until(lambda: not [name for name in waiting if not is_ready(name)], READY_WAIT)
        return
    late = [name for name in waiting if not is_ready(name)]
    log = (run_dir() / "log" / late[0]).read_text(errors="replace")[-2000:] if late else ""
    raise LabError(f"not booted after {READY_WAIT:.0f} s: {', '.join(late)}; the first one's log ends:\n{log}")


def wait_until(true: Callable[[], bool], timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.05)


def power_off(name: str) -> None:
    """Pull the plug: every process of the host dies at once; its disk stays."""
    kill_cgroup(cgroup_dir(name))


def wipe(name: str) -> None:
    """Forget what a host that is off has written since its last reset."""
    disk = host_dir(name)
    if is_mounted(disk):
        subprocess.run(["umount", str(disk)], check=True)


def remove(name: str) -> None:
    """Make a host that is off one that was never on."""
    wipe(name)
    with contextlib.suppress(FileNotFoundError):
        host_dir(name).rmdir()


def check_room(hosts: int) -> None:
    """A host takes some inotify instances, of which root has few; without them services fail in odd ways."""
    setting = "fs.inotify.max_user_instances"
    limit = int(Path("/proc/sys", *setting.split(".")).read_text())
    used = sum(map(_inotify_instances, Path("/proc").glob("[0-9]*")))
    needed = used + hosts * INOTIFY_PER_HOST
    if needed > limit:
        raise LabError(
            f"no room for {hosts} more hosts: {used} of {limit} inotify instances are in use; "
            f"take another lab down, or: sysctl {setting}={needed}"
        )


def _inotify_instances(process: Path) -> int:
    with contextlib.suppress(OSError):
        if process.stat().st_uid == 0:
            return [os.readlink(handle) for handle in (process / "fd").iterdir()].count("anon_inode:inotify")
    return 0


def kill_cgroup(group: Path, timeout: float = 10.0) -> None:
    """Kill all processes in a tree of control groups, and remove it."""
    if not group.exists():
        return
    (group / "cgroup.kill").write_text("1")

    def gone() -> bool:
        for directory, _, _ in os.walk(group, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(directory)
        return not group.exists()

    try:
        wait_until(gone, timeout)
    except TimeoutError:
        raise LabError(f"processes in {group} do not die") from None


def enter_command(name: str, argv: list[str], user: str, cwd: str | None, env: dict[str, str]) -> list[str]:
    """The command line that runs `argv` inside host `name`: in all its namespaces and in its control group."""
    pid = first_process(name)
    if pid is None:
        raise LabError(f"host {name} is not up")
    if user not in HOMES:
        raise LabError(f"no user {user!r} on the lab's hosts; there are {', '.join(HOMES)}")
    group = guest_cgroup(name) / "lab.exec"
    group.mkdir(exist_ok=True)
    variables = {"HOME": HOMES[user], "USER": user, "LOGNAME": user, "SHELL": "/bin/bash", "PATH": PATH,
                 "LANG": "C.UTF-8", "TERM": os.environ.get("TERM", "dumb"), **env}  # fmt: skip
    return [
        "/bin/sh", "-c", 'echo 0 >"$0/cgroup.procs" && exec "$@"', str(group),
        "nsenter", f"--target={pid}", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd", "--",
        "setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--",
        "env", "-i", "-C", cwd or HOMES[user], *(f"{key}={value}" for key, value in variables.items()), *argv,
    ]  # fmt: skip
