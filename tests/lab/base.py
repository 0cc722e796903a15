"""The read-only layers below the hosts' file systems: one base for all, and one small seed per host.

A host sees, from top to bottom: what it wrote itself, its seed, the base, and the machine's own `/`. A reset throws
away the first and nothing else, so names, keys and machine ids stay what they were.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab.place import FILES, REPO, LabError, lab_name, run_dir, seed_dir
from tests.lab.topology import DOMAIN, HOSTS, SERVING_SITE, Host

# Directories of the machine that are empty in the hosts, but for what the layers put there. What the machine has
# enabled for itself (units, init scripts, sudo rules, users' homes) is none of the hosts' business.
HIDDEN = (
    "etc/systemd/system", "etc/systemd/user", "etc/init.d", "etc/sudoers.d", "etc/ssh/sshd_config.d",
    "etc/ssh/ssh_config.d", "etc/cron.d", "home", "root", "mnt", "media", "srv", "opt", "var/tmp",
    "var/log/journal", "var/lib/cutover", "etc/postgresql", "var/lib/postgresql",
)  # fmt: skip
SYSTEM = {"bin", "boot", "dev", "etc", "lib", "lib64", "proc", "run", "sbin", "sys", "tmp", "usr", "var"}


def binds(host: Host) -> list[Path]:
    """What an operators' host shows of the machine, read-only: the checkout, and the Python that runs it."""
    if host.role != "ops":
        return []
    interpreter = (REPO / ".venv/bin/python").resolve().parents[1]
    wanted = {REPO, (REPO / ".venv").resolve(), interpreter, *map(Path, (sys.prefix, sys.base_prefix))}
    shown = {path for path in wanted if path.is_dir() and path not in (Path("/"), Path("/usr"))}
    return sorted(path for path in shown if shown.isdisjoint(path.parents))


def hidden_dirs() -> list[str]:
    """HIDDEN and the checkout, with all that lies beside it unless that is part of the system."""
    top = REPO.parts[1]
    return [*HIDDEN, str(REPO.relative_to("/")) if top in SYSTEM else top]


def build() -> None:
    """Make the lab's key pair, the base layer and every host's seed."""
    keys = run_dir() / "keys"
    keys.mkdir()
    make_key(keys / "id_ed25519", f"lab-{lab_name()}")
    build_base((keys / "id_ed25519.pub").read_text())
    for host in HOSTS.values():
        seed_identity(host)
    known = "".join(f"{host.name},{host.address} {host_key(host)}\n" for host in HOSTS.values())
    (run_dir() / "known_hosts").write_text(known)
    (run_dir() / "ssh_config").write_text(ssh_config(keys / "id_ed25519", run_dir() / "known_hosts"))
    for host in HOSTS.values():
        if host.role == "web":
            seed_app(host)
        if host.role == "ops":
            seed_operator(host, known)


def make_key(path: Path, comment: str) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)], check=True)


def build_base(public_key: str) -> None:
    layer = base_layer()
    for name in hidden_dirs():
        hide(layer / name)
    names = "".join(f"{host.address} {host.name} {host.name}.{DOMAIN}\n" for host in HOSTS.values())
    write(layer / "etc/hosts", f"127.0.0.1 localhost\n{names}")
    write(layer / "usr/local/lib/app/app-web.py", (FILES / "files/app-web.py").read_text())
    with merged(layer) as root:
        command = ["chroot", str(root), "/bin/sh", "-c", (FILES / "base.sh").read_text()]
        done = subprocess.run(command, input=public_key, text=True, capture_output=True, check=False)
    if done.returncode != 0:
        raise LabError(f"the base layer cannot be built: {done.stderr.strip()}")


def base_layer() -> Path:
    return run_dir() / "base/upper"


@contextmanager
def merged(layer: Path, *below: Path) -> Iterator[Path]:
    """`layer` over those `below` and the machine's `/`, writable, for as long as the block lasts."""
    work, root = layer.parent / "work", layer.parent / "root"
    work.mkdir()
    root.mkdir()
    options = f"lowerdir={':'.join(map(str, (*below, '/')))},upperdir={layer},workdir={work}"
    subprocess.run(["mount", "-t", "overlay", "-o", options, "lab-base", str(root)], check=True)
    try:
        subprocess.run(["mount", "--bind", "/dev", str(root / "dev")], check=True)
        yield root
    finally:
        subprocess.run(["umount", "-R", str(root)], check=True)
        shutil.rmtree(work)


def hide(path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o1777 if path.name == "tmp" else 0o755)
    os.setxattr(path, "trusted.overlay.opaque", b"y")


def write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def machine_id(host: Host) -> str:
    """The same for a host in every lab, and no two hosts' alike."""
    return hashlib.sha256(f"cutover-lab {host.name}".encode()).hexdigest()[:32]


def host_key(host: Host) -> str:
    kind, key, *_ = (seed_dir(host.name) / "etc/ssh/ssh_host_ed25519_key.pub").read_text().split()
    return f"{kind} {key}"


def seed_identity(host: Host) -> None:
    etc = seed_dir(host.name) / "etc"
    write(etc / "hostname", f"{host.name}\n")
    write(etc / "machine-id", f"{machine_id(host)}\n", 0o444)
    (etc / "ssh").mkdir()
    make_key(etc / "ssh/ssh_host_ed25519_key", f"root@{host.name}")


def seed_app(host: Host) -> None:
    """The sample units; enabled, so that they run from boot, on the serving site only."""
    etc, usr = (seed_dir(host.name) / place / "systemd/system" for place in ("etc", "usr/lib"))
    for directory, unit, target in (
        (etc, "app-web.service", "multi-user.target"),
        (usr, "app-worker.service", "multi-user.target"),
        (usr, "app-cron.timer", "timers.target"),
        (usr, "app-cron.service", None),
    ):
        write(directory / unit, (FILES / "files" / unit).read_text())
        if target and host.site == SERVING_SITE:
            wants = etc / f"{target}.wants"
            wants.mkdir(exist_ok=True)
            (wants / unit).symlink_to(Path("/", (directory / unit).relative_to(seed_dir(host.name))))


def ssh_config(key: Path | str, known_hosts: Path | str) -> str:
    entries = "".join(f"Host {host.name}\n  HostName {host.address}\n" for host in HOSTS.values())
    return (
        f"{entries}Host *\n  User deploy\n  IdentityFile {key}\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {known_hosts}\n  GlobalKnownHostsFile /dev/null\n"
        "  StrictHostKeyChecking yes\n  BatchMode yes\n"
    )


def seed_operator(host: Host, known_hosts: str) -> None:
    """An operators' host can log in everywhere, as deploy and as root; its homes are its own."""
    config = ssh_config("~/.ssh/id_ed25519", "~/.ssh/known_hosts")
    private = (run_dir() / "keys/id_ed25519").read_text()
    for home, uid in (("root", 0), ("home/deploy", 2001)):
        ssh = seed_dir(host.name) / home / ".ssh"
        write(ssh / "config", config)
        write(ssh / "known_hosts", known_hosts)
        write(ssh / "id_ed25519", private, 0o600)
        ssh.chmod(0o700)
        for path in (ssh.parent, ssh, *ssh.iterdir()):
            os.chown(path, uid, uid)
    # The interpreter may lie below /root: others may pass through, not look.
    (seed_dir(host.name) / "root").chmod(0o711)
