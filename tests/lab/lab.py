"""The lab as a whole: bring it up, disturb it, put it back, take it down without a trace."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.lab import base, network, place, stack, story, topology
from tests.lab import host as machinery
from tests.lab.client import LabHost
from tests.lab.place import LabError, cgroup_dir, host_dir, netns_file, run_dir, seed_dir

LOCK_WAIT = 10.0


def why_not() -> str | None:
    """Why there can be no lab on this machine at all, or None. Only root on Debian has one."""
    if os.geteuid() != 0:
        return "the lab needs root"
    if not Path("/etc/debian_version").exists():
        return "the lab needs Debian"
    return None


class Lab:
    """All that can be done with the lab that CUTOVER_LAB names (one lab per name; the default is `main`)."""

    def __init__(self) -> None:
        self._locks = 0

    # --- up and down ---------------------------------------------------------------------------------------------

    def up(self, *names: str, services: bool | None = None) -> None:
        """Boot the named hosts, or all; those that are up stay as they are.

        `services` says whether the story's services run on the hosts; a lab in which that changes is reset.
        """
        wanted = [LabHost(name).name for name in names] or list(topology.HOSTS)
        if reason := why_not():
            raise LabError(reason)
        with self.locked():
            if self._made():
                if services not in (None, stack.switched_on()):
                    stack.switch(bool(services))
                    self.reset()
                self._add(name for name in wanted if self.host(name).state() == "off")
                return
            self._destroy()  # what an `up` that was killed may have left
            try:
                self._make()
                stack.switch(bool(services))
                self._power_on(wanted)
            except BaseException:
                self._destroy()
                raise

    def _add(self, names: Iterable[str]) -> None:
        """Boot more hosts, or none of them."""
        adding = list(names)
        try:
            self._power_on(adding)
        except BaseException:
            for name in adding:
                machinery.power_off(name)
                machinery.remove(name)
            raise

    def down(self) -> None:
        with self.locked():
            self._destroy()

    def is_up(self) -> bool:
        return self._made()

    def reset(self, *names: str) -> None:
        """Put the named hosts, or all that are booted and the network, back to how they came up.

        (Databases that follow one another are reset together: half of a history would not be one.)
        """
        with self.locked():
            resetting = [LabHost(name).name for name in names] or self.booted()
            if stack.switched_on() and any(self.host(name).role == "db" for name in resetting):
                databases = {host.name for host in self.hosts(role="db")} & set(self.booted())
                resetting = [*resetting, *databases.difference(resetting)]
            for name in resetting:
                machinery.power_off(name)
                machinery.wipe(name)
            if not names:
                network.ask(do="reset")
            for name in resetting:
                network.ask(do="silence", host=name, on=False)
            self._power_on(resetting)

    def booted(self) -> list[str]:
        """The hosts that have been switched on, whatever state they are in now."""
        return [name for name in topology.HOSTS if host_dir(name).is_dir()]

    @contextlib.contextmanager
    def locked(self, wait: float = LOCK_WAIT) -> Iterator[None]:
        """Be the lab's only user for the length of a block; blocks may be nested."""
        with contextlib.ExitStack() as stack:
            if self._locks == 0:
                stack.enter_context(place.lock(wait))
            self._locks += 1
            try:
                yield
            finally:
                self._locks -= 1

    def _made(self) -> bool:
        return (run_dir() / "made").exists()

    def _make(self) -> None:
        """Everything but the hosts' processes: files, network."""
        subprocess.run([str(place.FILES / "packages.sh")], check=True)
        run = run_dir()
        run.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755,size=512m", "cutover-lab", str(run)], check=True)
        subprocess.run(["mount", "--make-private", str(run)], check=True)
        for part in ("hosts", "net", "log", "base/upper"):
            (run / part).mkdir(parents=True)
        base.build()
        self._start_network()
        (run / "made").touch()

    def _start_network(self) -> None:
        for name in topology.HOSTS:
            netns_file(name).touch()
            subprocess.run(["unshare", f"--net={netns_file(name)}", "true"], check=True)
        group, log = cgroup_dir("network"), run_dir() / "log/network"
        group.mkdir(parents=True)
        environment = {"PATH": machinery.PATH, "PYTHONPATH": str(place.REPO), "CUTOVER_LAB": place.lab_name()}
        machinery.launch([sys.executable, "-m", "tests.lab.network"], group, log, environment)
        try:
            machinery.wait_until(lambda: network.control_socket().exists(), 20)
        except TimeoutError:
            raise LabError(f"the network does not start: {log.read_text()[-2000:]}") from None
        network.ask(do="status")

    def _power_on(self, names: Iterable[str]) -> None:
        starting = list(names)
        machinery.check_room(len(starting))
        for name in starting:
            machinery.power_on(name)
        machinery.wait_ready(starting)
        if starting and stack.switched_on():
            story.wait_serving(self.booted())

    def _destroy(self) -> None:
        """Leave nothing: processes first, then mounts, then directories."""
        machinery.kill_cgroup(cgroup_dir())
        run = run_dir()
        if place.is_mounted(run) and subprocess.run(["umount", "-R", str(run)], check=False).returncode != 0:
            subprocess.run(["umount", "-R", "-l", str(run)], check=True)
        if run.exists():
            run.rmdir()
        with contextlib.suppress(OSError):  # other labs are there, or none ever was
            run.parent.rmdir()

    # --- hosts ---------------------------------------------------------------------------------------------------

    def host(self, name: str) -> LabHost:
        return LabHost(name)

    def hosts(self, *, site: str | None = None, role: str | None = None) -> list[LabHost]:
        return [
            LabHost(host.name)
            for host in topology.HOSTS.values()
            if site in (None, host.site) and role in (None, host.role)
        ]

    def freeze(self, name: str, *, silent: bool = True) -> None:
        """Stop all of a host's processes. Its kernel would still answer for them: `silent` drops its packets too."""
        if silent:
            self.silence(name)
        self._set_frozen(name, True)

    def thaw(self, name: str) -> None:
        self._set_frozen(name, False)
        self.silence(name, on=False)

    def _set_frozen(self, name: str, on: bool) -> None:
        group = cgroup_dir(LabHost(name).name)
        if not group.exists():
            raise LabError(f"host {name} is not up")
        (group / "cgroup.freeze").write_text(str(int(on)))
        machinery.wait_until(lambda: f"frozen {int(on)}" in (group / "cgroup.events").read_text(), 10)

    def reboot(self, name: str, *, hard: bool = False) -> None:
        """Reboot a host; what it wrote to disk stays. `hard` pulls the plug instead of asking."""
        host = LabHost(name)
        before = machinery.first_process(name)
        with self.locked():
            if hard or before is None:
                machinery.power_off(name)
                machinery.power_on(name)
            else:
                host.run(["systemctl", "reboot"], check=False)
                machinery.wait_until(lambda: machinery.first_process(name) not in (before, None), 60)
            machinery.wait_ready([name])

    def power_off(self, name: str) -> None:
        """Pull a host's plug, and leave it off until `up` or `reboot`."""
        with self.locked():
            machinery.power_off(LabHost(name).name)

    def change_host_key(self, name: str) -> str:
        """Give a host another ssh host key, which nobody knows; returns the public key."""
        script = "rm -f $0 $0.pub && ssh-keygen -q -t ed25519 -N '' -f $0 && systemctl restart ssh && cat $0.pub"
        return LabHost(name).run(["sh", "-c", script, "/etc/ssh/ssh_host_ed25519_key"]).stdout.strip()

    def restore_host_key(self, name: str) -> None:
        own = seed_dir(name) / "etc/ssh/ssh_host_ed25519_key"
        for suffix, mode in (("", "600"), (".pub", "644")):
            text = own.with_name(own.name + suffix).read_text()
            LabHost(name).write(f"/etc/ssh/ssh_host_ed25519_key{suffix}", text, mode=mode)
        LabHost(name).systemctl("restart", "ssh")

    def host_key(self, name: str) -> str:
        """The public host key that a host has in a fresh lab: `ssh-ed25519 AAAA...`."""
        return base.host_key(topology.HOSTS[LabHost(name).name])

    def change_machine_id(self, name: str) -> str:
        """Make a host look like another machine; returns its new machine id."""
        other = uuid.uuid4().hex
        LabHost(name).write("/etc/machine-id", f"{other}\n", mode="444")
        return other

    def restore_machine_id(self, name: str) -> None:
        LabHost(name).write("/etc/machine-id", f"{self.machine_id(name)}\n", mode="444")

    def machine_id(self, name: str) -> str:
        """The machine id that a host has in a fresh lab."""
        return base.machine_id(topology.HOSTS[LabHost(name).name])

    def fill_disk(self, name: str, *, leave: int = 0) -> None:
        """Let a host's disk be full but for `leave` bytes. (It shrinks to what is used: no memory is wasted.)"""
        disk = os.statvfs(host_dir(LabHost(name).name))
        self._resize_disk(name, str((disk.f_blocks - disk.f_bfree) * disk.f_frsize + leave))

    def free_disk(self, name: str) -> None:
        self._resize_disk(name, machinery.DISK_SIZE)

    def _resize_disk(self, name: str, size: str) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", str(host_dir(LabHost(name).name))], check=True)

    # --- network -------------------------------------------------------------------------------------------------

    def link(self, one: str, other: str, **what: Any) -> None:
        """Change the link between two sites: `delay_ms` (round trip), `cut`, `one_way` (only from one to other)."""
        network.ask(do="link", sites=[one, other], **what)

    def cut(self, one: str, other: str, *, one_way: bool = False) -> None:
        self.link(one, other, cut=True, one_way=one_way)

    def heal(self, one: str, other: str) -> None:
        self.link(one, other, cut=False)

    def delay(self, one: str, other: str, round_trip_ms: float) -> None:
        self.link(one, other, delay_ms=round_trip_ms)

    def silence(self, name: str, *, on: bool = True) -> None:
        """Drop every packet from and to one host."""
        network.ask(do="silence", host=LabHost(name).name, on=on)

    def status(self) -> dict[str, Any]:
        """Every host's state, and the network's."""
        hosts = {name: LabHost(name).state() for name in topology.HOSTS}
        return {"lab": place.lab_name(), "hosts": hosts, "network": network.ask(do="status")}

    @property
    def ssh_config(self) -> Path:
        """An ssh config for use on the machine itself; needs a host's network (`LabHost.netns_command`)."""
        return run_dir() / "ssh_config"
