"""The network between the lab's hosts: one process that carries every packet, and how to speak with it.

Each host has one interface, `eth0`, a TUN device in a network namespace of its own; this process holds the other ends.
So it decides for each packet when it arrives, or that it never does, and no interface exists in the machine's own
network namespace: nothing leaves the lab. (The kernel's own delay, sch_netem, is missing on many machines.)
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import heapq
import json
import os
import select
import socket
import struct
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.lab import topology
from tests.lab.place import LabError, netns_file, run_dir

TUNSETIFF = 0x400454CA
IFF_TUN_NO_PI = 0x0001 | 0x1000
CLONE_NEWNET = 0x40000000
IPV4 = 4
BURST = 64  # packets read from one host before the others get their turn

Pair = tuple[str, str]


def control_socket() -> Path:
    return run_dir() / "network.sock"


def ask(**request: Any) -> dict[str, Any]:
    """Send one request to the network process and return its answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(10)
        try:
            connection.connect(str(control_socket()))
            connection.send(json.dumps(request).encode())
            answer: dict[str, Any] = json.loads(connection.recv(65536))
        except OSError as error:
            raise LabError(f"the lab's network does not answer ({error}); is the lab up?") from None
    if "error" in answer:
        raise LabError(answer["error"])
    return answer


def enter(netns: Path) -> None:
    """Move this process into a network namespace (os.setns exists only from Python 3.12)."""
    with netns.open() as handle:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(handle.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {netns}")


def open_tun(host: topology.Host) -> int:
    """Give `host` its eth0 and return the end of it that is ours. Call inside the host's namespace."""
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", b"eth0", IFF_TUN_NO_PI))
    commands = f"""link set lo up
        link set eth0 txqueuelen 2000
        addr add {host.address}/{topology.PREFIX_LENGTH} dev eth0
        link set eth0 up"""
    Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("1")
    subprocess.run(["ip", "-batch", "-"], input=commands, text=True, check=True)
    return tun


class Network:
    """Delays, cuts and silences, and the packets under way."""

    def __init__(self) -> None:
        self.by_address: dict[bytes, topology.Host] = {
            socket.inet_aton(host.address): host for host in topology.HOSTS.values()
        }
        self.tuns: dict[str, int] = {}
        self.under_way: list[tuple[float, int, topology.Host, topology.Host, bytes]] = []
        self.count = 0
        self.reset()

    def reset(self) -> None:
        """Every link whole and as far as the topology says, every host heard."""
        self.one_way: dict[Pair, float] = {
            (a, b): topology.round_trip_ms(a, b) / 2000 for a in topology.SITES for b in topology.SITES
        }
        self.cut: set[Pair] = set()
        self.silent: set[str] = set()

    def lost(self, source: topology.Host, target: topology.Host) -> bool:
        return (source.site, target.site) in self.cut or not self.silent.isdisjoint((source.name, target.name))

    def take(self, tun: int) -> None:
        """Read what one host has sent, and put it on its way."""
        for _ in range(BURST):
            try:
                packet = os.read(tun, 65536)
            except BlockingIOError:
                return
            if packet[0] >> 4 != IPV4:
                continue
            source, target = self.by_address.get(packet[12:16]), self.by_address.get(packet[16:20])
            if source is None or target is None:
                continue
            due = time.monotonic() + self.one_way[source.site, target.site]
            self.count += 1
            heapq.heappush(self.under_way, (due, self.count, source, target, packet))

    def deliver(self) -> float | None:
        """Hand over what is due; return how long until the next packet is, or None."""
        while self.under_way:
            wait = self.under_way[0][0] - time.monotonic()
            if wait > 0:
                return wait
            _, _, source, target, packet = heapq.heappop(self.under_way)
            if not self.lost(source, target):
                with contextlib.suppress(OSError):  # a full queue drops, as queues do
                    os.write(self.tuns[target.name], packet)
        return None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        match request:
            case {"do": "reset"}:
                self.reset()
            case {"do": "link", "sites": [str(a), str(b)], **what}:
                self.change_link(a, b, what)
            case {"do": "silence", "host": str(host), "on": bool(on)} if host in self.tuns:
                self.silent = self.silent | {host} if on else self.silent - {host}
            case {"do": "status"}:
                pass
            case _:
                return {"error": f"the network does not understand {request}"}
        return self.state()

    def change_link(self, a: str, b: str, what: dict[str, Any]) -> None:
        if unknown := {a, b} - set(topology.SITES):
            raise LabError(f"no such site: {', '.join(sorted(unknown))}; there are {', '.join(topology.SITES)}")
        pairs = {(a, b)} if what.get("one_way") else {(a, b), (b, a)}
        if (delay := what.get("delay_ms")) is not None:
            self.one_way.update(dict.fromkeys(pairs, delay / 2000))
        if (cut := what.get("cut")) is not None:
            self.cut = self.cut | pairs if cut else self.cut - pairs

    def state(self) -> dict[str, Any]:
        links = [
            {"from": a, "to": b, "round_trip_ms": round(delay * 2000, 3), "cut": (a, b) in self.cut}
            for (a, b), delay in self.one_way.items()
            if a != b
        ]
        return {"links": links, "silent": sorted(self.silent), "packets": self.count}

    def serve(self, control: socket.socket) -> None:
        """One caller, one request, one answer."""
        connection, _ = control.accept()
        with connection, contextlib.suppress(OSError):
            connection.settimeout(1)
            try:
                answer = self.answer(json.loads(connection.recv(65536)))
            except (LabError, TypeError, ValueError) as error:
                answer = {"error": str(error)}
            connection.send(json.dumps(answer).encode())

    def run(self, control: socket.socket) -> None:
        wait: float | None = None
        while True:
            # select, because epoll rounds its timeout up to whole milliseconds
            ready, _, _ = select.select([control.fileno(), *self.tuns.values()], [], [], wait)
            for handle in ready:
                if handle == control.fileno():
                    self.serve(control)
                else:
                    self.take(handle)
            wait = self.deliver()


def main() -> None:
    network = Network()
    with open("/proc/self/ns/net") as own:
        for host in topology.HOSTS.values():
            enter(netns_file(host.name))
            network.tuns[host.name] = open_tun(host)
        enter(Path(f"/proc/self/fd/{own.fileno()}"))
    os.nice(-10)  # a network does not slow down when its hosts are busy
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as control:
        control.bind(str(control_socket()))
        control.listen(16)
        network.run(control)


if __name__ == "__main__":
    main()
