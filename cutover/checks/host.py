"""What is read of a host as a whole, and how its answers are quoted in a sentence."""

import shlex
from collections.abc import Iterable, Sequence

from cutover.model.effects import Command, CommandReply, OnHost, Reply
from cutover.model.kind import Check
from cutover.model.text import visible_bytes, visible_line
from cutover.model.verdict import Verdict, failed, passed, unknown

READ_TIMEOUT = 10.0
"""Seconds after which a reading is given up: a hung host is a red host."""

AS_ROOT = ("sudo", "-n")

_LONGEST = 200


def reading(host: str, *argvs: Sequence[str], timeout: float = READ_TIMEOUT) -> OnHost:
    """Commands that change nothing, in one call."""
    commands = tuple(Command(tuple(argv)) for argv in argvs)
    return OnHost(host=host, commands=commands, timeout=min(timeout, READ_TIMEOUT), reads=True)


def shown_argv(argv: Sequence[str]) -> str:
    """A command for a sentence, on one line and not too long."""
    line = visible_line(shlex.join(argv))
    return line if len(line) <= 80 else line[:79] + "…"


def said(command: CommandReply) -> str:
    """The first line that a command wrote to stderr, or to stdout where that is empty, as the end of a sentence."""
    for stream in (command.stderr, command.stdout):
        for line in visible_bytes(stream).splitlines():
            if line.strip():
                return f": {line.strip()[:_LONGEST]}"
    return " and said nothing"


def first_failure(host: str, argvs: Iterable[Sequence[str]], reply: Reply) -> str | None:
    """The sentence about the command that failed; None when all exited 0. argvs: as a person knows them."""
    for argv, answered in zip(argvs, reply.commands, strict=False):
        if answered.exit != 0:
            return f"`{shown_argv(argv)}` exited {answered.exit} on {host}{said(answered)}"
    return None


def sudo(host: str, key: str, user: str | None = None, timeout: float = READ_TIMEOUT) -> Check:
    """Whether the login user may act as `user` (root where None) without a password."""
    who = user or "root"
    argv = ("sudo", "-n", "-u", user, "--", "true") if user else (*AS_ROOT, "systemctl", "--version")

    def judge(reply: Reply) -> Verdict:
        if not reply.commands:
            return unknown(f"whether sudo works on {host} cannot be read")
        if reply.commands[0].exit != 0:
            return failed(f"the login user may not act as {who} on {host} without a password{said(reply.commands[0])}")
        return passed(f"sudo to {who} works on {host} without a password")

    title = f"sudo to {who} works on {host} without a password"
    return Check(key=key, title=title, host=host, effect=reading(host, argv, timeout=timeout), judge=judge)
