"""One reading effect on each of 10, 50 and 200 hosts, beside what others take to run one command there.

Cold: from the engine's start (a script's first line) to the last answer, connecting included; starting the interpreter
and importing is told apart. Held: the same over the connections that are open. cutover checks the pinned machine id of
each host when it connects, judges each answer and makes every verdict durable; nobody else does any of that. All take
turns on one farm of sshd, which shares the machine's cores with them; the ratios are those of the medians.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.contenders import COMMAND, CONTENDERS
from benchmarks.farm import PORT, USER, Farm, why_not
from benchmarks.figures import figure, ratio, remark

SIZES = (10, 50, 200)
ROUNDS = 5
HELD_ROUNDS = 5
BARE = "asyncssh"


@dataclass
class Times:
    """What one contender took, in seconds by the clock and of the processor, over all rounds."""

    startup: list[float] = field(default_factory=list)
    cold: list[float] = field(default_factory=list)
    cold_processor: list[float] = field(default_factory=list)
    held: list[float] = field(default_factory=list)
    held_processor: list[float] = field(default_factory=list)

    def add_cold(self, wall: float, processor: float) -> None:
        """One more cold sample."""
        self.cold.append(wall)
        self.cold_processor.append(processor)

    def add_held(self, wall: float, processor: float) -> None:
        """One more held sample."""
        self.held.append(wall)
        self.held_processor.append(processor)


def run() -> None:
    """Measure every size."""
    if why := why_not():
        remark(f"skipped: {why}")
        return
    for size in SIZES:
        with TemporaryDirectory(prefix="farm-") as directory, Farm(Path(directory), size) as farm:
            _report(size, _measure(farm))


def _measure(farm: Farm) -> dict[str, Times]:
    times: dict[str, Times] = defaultdict(Times)
    for _ in range(ROUNDS):
        for name in CONTENDERS:
            _script(farm, name, times[name])
        _ansible(farm, times["ansible"])
        _pyinfra(farm, times["pyinfra"])
    return times


def _script(farm: Farm, name: str, times: Times) -> None:
    """A contender of `contenders.py`: it tells its own times from its first line on."""
    started = time.monotonic()
    arguments = [name, str(farm.directory), str(farm.size), str(HELD_ROUNDS)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.contenders", *arguments], check=True, capture_output=True, text=True
    )
    told = json.loads(done.stdout)
    times.startup.append(told["began"] - started)
    (wall, processor), *held = told["laps"]
    times.add_cold(wall, processor)
    for lap in held:
        times.add_held(*lap)


def _ansible(farm: Farm, times: Times) -> None:
    """Ad hoc, `raw`: the least that Ansible can do on a host. Held is a second command over the persisting masters."""
    sockets = farm.directory / "cp"
    inventory = farm.directory / "hosts.ini"
    inventory.write_text("".join(f"{host}\n" for host in farm.addresses))
    (farm.directory / "ansible.cfg").write_text(
        f"[defaults]\nforks = {farm.size}\nhost_key_checking = True\n[ssh_connection]\npipelining = True\n"
        f"control_path_dir = {sockets}\n"
        f"ssh_args = -F {farm.ssh_config} -o ControlMaster=auto -o ControlPersist=60s\n"
    )
    home = {"ANSIBLE_CONFIG": str(farm.directory / "ansible.cfg"), "ANSIBLE_HOME": str(farm.directory / "ansible")}
    command = [_installed("ansible"), "all", "-i", str(inventory), "-m", "raw", "-a", COMMAND]
    times.startup.append(_program([_installed("ansible"), "--version"], home)[0])
    with _masters_ended(sockets):
        times.add_cold(*_program(command, home))
        times.add_held(*_program(command, home))


@contextmanager
def _masters_ended(sockets: Path) -> Iterator[None]:
    """Afterwards end the masters that Ansible left behind."""
    try:
        yield
    finally:
        for socket in sockets.iterdir() if sockets.exists() else ():
            subprocess.run(["ssh", "-o", f"ControlPath={socket}", "-O", "exit", "-"], capture_output=True, check=False)
        shutil.rmtree(sockets, ignore_errors=True)


def _pyinfra(farm: Farm, times: Times) -> None:
    data = {
        "ssh_port": PORT,
        "ssh_user": USER,
        "ssh_key": str(farm.key),
        "ssh_known_hosts_file": str(farm.known_hosts),
        "ssh_strict_host_key_checking": "yes",
        "ssh_config_file": os.devnull,
    }
    inventory = farm.directory / "inventory.py"
    inventory.write_text(f"hosts = ({farm.addresses!r}, {data!r})\n")
    times.startup.append(_program([_installed("pyinfra"), "--version"], {})[0])
    times.add_cold(*_program([_installed("pyinfra"), "-y", str(inventory), "exec", "--", *COMMAND.split()], {}))


def _program(argv: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """A whole program with its children: seconds by the clock and of the processor."""
    started = time.monotonic()
    with TemporaryDirectory() as directory, Path(directory, "said").open("w+") as said:
        process = subprocess.Popen(
            argv, env={**os.environ, **environment}, cwd=directory, stdin=subprocess.DEVNULL, stdout=said, stderr=said
        )
        _, status, used = os.wait4(process.pid, 0)
        wall = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise RuntimeError(f"{argv[0]} ended with exit {process.returncode}: {said.read()[-1000:]}")
    return wall, used.ru_utime + used.ru_stime


def _installed(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def _report(size: int, times: dict[str, Times]) -> None:
    for name, taken in times.items():
        for what, seconds in vars(taken).items():
            if seconds:
                said = {"startup": "start-up"}.get(what, what.replace("_processor", ", processor"))
                figure(f"ssh {size}: {name}, {said}", statistics.median(seconds) * 1000, "ms")
    ours, bare, ansible = times["cutover"], times[BARE], times["ansible"]
    large = "<=1.3" if size >= 50 else ""
    figure(f"ssh {size}: cold / bare asyncssh", ratio(ours.cold, bare.cold), "times", large)
    figure(f"ssh {size}: cold / asyncssh with QUICKACK", ratio(ours.cold, times["asyncssh-quickack"].cold), "times")
    without = [cold - start for cold, start in zip(ansible.cold, ansible.startup, strict=True)]
    figure(f"ssh {size}: cold / Ansible, its start-up left out", ratio(ours.cold, without), "times", "<=0.5")
    figure(f"ssh {size}: held / bare asyncssh", ratio(ours.held, bare.held), "times", "<=1.5")
    figure(f"ssh {size}: held / Ansible", ratio(ours.held, ansible.held), "times")
    cold_processor = ratio(ours.cold_processor, bare.cold_processor)
    held_processor = ratio(ours.held_processor, bare.held_processor)
    figure(f"ssh {size}: processor, cold / bare asyncssh", cold_processor, "times", "<=1.5")
    figure(f"ssh {size}: processor, held / bare asyncssh", held_processor, "times", "<=1.5")
