"""The lab by hand: `python -m tests.lab up`. See README.md."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time

from tests.lab.lab import Lab
from tests.lab.place import LabError
from tests.lab.topology import HOSTS, SITES


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m tests.lab", description="Real hosts on one machine, for tests.")
    verbs = top.add_subparsers(dest="verb", required=True)
    for verb, text in (("up", "boot hosts (all, if none is named)"), ("reset", "put hosts back to a fresh state")):
        command = verbs.add_parser(verb, help=text)
        command.add_argument("hosts", nargs="*", metavar="HOST")
        if verb == "up":
            command.add_argument("--services", action=argparse.BooleanOptionalAction, help="run the story's services")
    verbs.add_parser("down", help="take the whole lab down; nothing stays")
    verbs.add_parser("status", help="what is up").add_argument("--json", action="store_true")
    run = verbs.add_parser("exec", help="run a command on a host: exec HOST -- COMMAND ...")
    run.add_argument("--user", default="root")
    run.add_argument("host", choices=HOSTS, metavar="HOST")
    run.add_argument("argv", nargs=argparse.REMAINDER, metavar="COMMAND")
    ssh = verbs.add_parser("ssh", help="log in to a host by ssh, from an operators' host")
    ssh.add_argument("--from", dest="source", default="op1", choices=HOSTS, metavar="HOST")
    ssh.add_argument("host", choices=HOSTS, metavar="HOST")
    ssh.add_argument("argv", nargs=argparse.REMAINDER, metavar="COMMAND")
    link = verbs.add_parser("link", help="delay, cut or heal the link between two sites")
    link.add_argument("sites", nargs=2, choices=SITES, metavar="SITE")
    link.add_argument("--delay", type=float, metavar="MS", help="round trip in milliseconds")
    link.add_argument("--one-way", action="store_true", help="only from the first site to the second")
    state = link.add_mutually_exclusive_group()
    state.add_argument("--cut", dest="cut", action="store_true", default=None)
    state.add_argument("--heal", dest="cut", action="store_false")
    for verb in ("freeze", "thaw", "reboot", "poweroff"):
        verbs.add_parser(verb, help=f"{verb} a host").add_argument("host", choices=HOSTS, metavar="HOST")
    return top


def show(lab: Lab, as_json: bool) -> None:
    if not lab.is_up():
        print("{}" if as_json else "no lab is up")
        return
    status = lab.status()
    if as_json:
        print(json.dumps(status, indent=2))
        return
    for name, state in status["hosts"].items():
        print(f"{name:<8}{HOSTS[name].site:<10}{HOSTS[name].role:<6}{HOSTS[name].address:<12}{state}")
    for link in status["network"]["links"]:
        if link["from"] < link["to"] or link["cut"]:
            cut = "  cut" if link["cut"] else ""
            print(f"{link['from']:>10} - {link['to']:<10}{link['round_trip_ms']:6g} ms{cut}")


def inside(lab: Lab, arguments: argparse.Namespace) -> int:
    """`exec` and `ssh`: a command with this terminal."""
    argv = [word for index, word in enumerate(arguments.argv) if index or word != "--"]
    if arguments.verb == "exec":
        with lab.host(arguments.host).popen(argv or ["bash"], user=arguments.user, stdin=None) as process:
            return process.wait()
    ssh = ["ssh", "-F", str(lab.ssh_config), arguments.host, *argv]
    return subprocess.run(lab.host(arguments.source).netns_command(ssh), check=False).returncode


def act(lab: Lab, arguments: argparse.Namespace) -> int:
    started = time.monotonic()
    match arguments.verb:
        case "exec" | "ssh":
            return inside(lab, arguments)
        case "status":
            show(lab, arguments.json)
            return 0
        case "up":
            lab.up(*arguments.hosts, services=arguments.services)
        case "reset":
            lab.reset(*arguments.hosts)
        case "down":
            lab.down()
        case "link":
            lab.link(*arguments.sites, delay_ms=arguments.delay, cut=arguments.cut, one_way=arguments.one_way)
        case "poweroff":
            lab.power_off(arguments.host)
        case "freeze" | "thaw" | "reboot":
            getattr(lab, arguments.verb)(arguments.host)
    print(f"{arguments.verb}: done in {time.monotonic() - started:.1f} s", file=sys.stderr)
    return 0


def main() -> int:
    # So that an `up` that is told to end takes down what it made.
    for end in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(end, lambda *_: sys.exit(1))
    try:
        return act(Lab(), parser().parse_args())
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
