"""What hosts print is shown and kept, but commands no terminal and gives away no secret."""

from __future__ import annotations

import base64
import json
import os
import pty
import re
import select
import sys
import threading
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.lab.cutover_on import FILE, HEAD, HOME, Operator
from tests.lab.lab import Lab

pytestmark = pytest.mark.lab

# A clipboard's content, a title, bidi overrides, C1 controls, markup of a screen library, no UTF-8, a cleared screen.
HOSTILE = (
    b"\x1b]52;c;ZXZpbA==\x07\x1b]0;title\x07\xe2\x80\xaeliam\xe2\x81\xa6[bold red]evil[/]\xc2\x9b2J\xff\xfe"
    b"\x1b[2J\x9b\r\x08\x7f"
)
SHOWN = "[bold red]evil[/]"
OURS = re.compile(r"\x1b\[(?:[0-9;]*m|[0-9]*[ABCDGJK]|\?25[hl])")  # colours, and the one line at the bottom
CANARIES = {"env": "canary-Ênv/7+x=1 ok", "file": "canary-file/8+y=2 ok", "command": "canary-c0mmand/9+z=3 ok"}


def on_a_pty(operator: Operator, *words: str, timeout: float = 60, enough: str = "") -> bytes:
    """Give a command at a terminal; returns all that reaches it, to the command's end or until `enough` is there."""
    ours, theirs = pty.openpty()
    argv = [sys.executable, "-m", "cutover", *words]
    env = {**operator.env, "TERM": "xterm-256color"}
    with operator.host.popen(argv, user="deploy", env=env, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        seen, deadline = b"", time.monotonic() + timeout
        while time.monotonic() < deadline and not (enough and enough.encode() in seen):
            if not select.select([ours], [], [], 0.1)[0]:
                continue
            try:
                seen += os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
        process.kill()
    os.close(ours)
    return seen


def assert_visible_only(data: bytes) -> None:
    text = OURS.sub("", data.decode())
    bad = {char for char in text if not (char.isprintable() or char in "\r\n")}
    assert not bad, (bad, text)
    assert not re.search("[\u200e\u200f\u202a-\u202e\u2066-\u2069]", text)


def test_nothing_hostile_reaches_a_terminal(fresh_lab: Lab) -> None:
    op1, yakko = Operator(fresh_lab), fresh_lab.host("yakko")
    yakko.run(["sh", "-c", "base64 -d >/usr/local/lib/hostile"], input=base64.b64encode(HOSTILE).decode())
    long_line = "head -c 10000000 /dev/zero | tr '\\\\0' A"
    unit = "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'cat /usr/local/lib/hostile >&2; exit 1'\n"
    yakko.write("/etc/systemd/system/hostile.service", f"[Unit]\nDescription={SHOWN}\n{unit}")
    yakko.systemctl("daemon-reload")
    op1.writes(f"""
  - long: {{command: {{on: yakko, do: [sh, -c, "{long_line}; cat /usr/local/lib/hostile"], harmless: true}}}}
  - unit: {{services: {{start: [hostile], on: yakko, one_site_only: false}}}}
  - fails: {{command: {{on: yakko, do: [sh, -c, "cat /usr/local/lib/hostile >&2; exit 1"], harmless: true}}}}
""")
    shown = on_a_pty(op1, "run", FILE, "--yes", enough="unit failed")
    run = op1.latest()
    run.asks("unit.failed")
    run.ctl("skip", "unit", "--reason", HOSTILE.decode(errors="ignore").replace("\0", ""))
    run.asks("fails.failed")
    screens = [
        shown,
        on_a_pty(op1, "attach", run.id, enough="fails failed"),
        on_a_pty(op1, "status", run.id),
        on_a_pty(op1, "audit", "show", run.id),
        run.log().encode(),
    ]
    for screen in screens:
        assert_visible_only(screen)
    assert all(SHOWN.encode() in screen for screen in screens[1:4])
    assert op1.cutover("status", run.id, "--json").stdout.isascii()
    assert op1.cutover("audit", "show", run.id, "--json").stdout.isascii()
    assert len(op1.cutover("audit", "show", run.id, "--json").stdout) < 2_000_000
    run.ctl("abort")
    run.ends("rolled_back", code=4)


def forms(value: str) -> set[bytes]:
    """What a value may look like."""
    data = value.encode()
    encoded = {base64.b64encode(pad + data)[4:-4] for pad in (b"", b"x", b"xx")}
    return {data, json.dumps(value)[1:-1].encode(), quote(value).encode(), quote(value, safe="").encode(), *encoded}


class Watch(threading.Thread):
    """Looks at the command lines of all processes, on every host, over and over."""

    def __init__(self, wanted: set[bytes]) -> None:
        super().__init__(daemon=True)
        self.wanted, self.found, self.rounds, self.over = wanted, set[bytes](), 0, threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            self.rounds += 1
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    line = file.read_bytes()
                except OSError:
                    continue
                self.found |= {line for form in self.wanted if form in line}
            self.over.wait(0.01)


def test_secrets_are_nowhere(fresh_lab: Lab) -> None:
    op1, yakko = Operator(fresh_lab), fresh_lab.host("yakko")
    op1.host.write(f"{HOME}/token", CANARIES["file"] + "\n", mode="600", owner="deploy")
    op1.host.write(f"{HOME}/vault", CANARIES["command"], mode="600", owner="deploy")
    op1.host.write(f"{HOME}/env", f"export CANARY='{CANARIES['env']}'\n", mode="600", owner="deploy")
    secrets = f"""\
secrets:
  env: {{env: CANARY}}
  file: {{file: {HOME}/token}}
  command: {{command: [cat, {HOME}/vault]}}
"""
    script = "\n".join([
        "import base64, sys, time, urllib.parse as url",
        "for value in sys.stdin.read().split(';'):",
        "    print(value, base64.b64encode(value.encode()), url.quote(value), url.quote(value, safe=''), repr(value))",
        "    print(value, file=sys.stderr, flush=True)",
        "time.sleep(2)",
        "sys.exit(int(sys.argv[1]))",
    ])  # fmt: skip
    yakko.write("/usr/local/lib/echo.py", script)
    steps = "".join(
        f"""
  - echo{code}:
      command:
        on: yakko
        do: [python3, /usr/local/lib/echo.py, "{code}"]
        stdin: "${{secret:env}};${{secret:file}};${{secret:command}}"
        harmless: true
"""
        for code in (0, 1)
    )
    op1.writes("", pinned=False, head=secrets + HEAD + steps)
    watch = Watch(set().union(*map(forms, CANARIES.values())))
    watch.start()
    cutover = f". {HOME}/env; exec {sys.executable} -m cutover"
    op1.host.run(["bash", "-c", f"{cutover} pin {FILE}"], user="deploy")
    said = op1.host.run(["bash", "-c", f"{cutover} plan {FILE}; {cutover} preflight {FILE}"], user="deploy").stdout
    attached = op1.host.run(["bash", "-c", f"{cutover} run {FILE} --yes"], user="deploy", check=False)
    run = op1.latest()
    run.asks("echo1.failed")
    watch.over.set()
    watch.join()

    kept = op1.host.run(
        ["sh", "-c", f"cd {op1.path()}/..; find . -type f ! -name reserve -exec base64 -w0 {{}} ';' -exec echo ';'"]
    )
    files = [base64.b64decode(line) for line in kept.stdout.splitlines()]
    seen = [*files, said.encode(), attached.stdout.encode(), attached.stderr.encode(), run.shown().encode()]
    seen += [op1.cutover(*words).stdout.encode() for words in (("status", run.id), ("audit", "show", run.id, "--json"))]
    leaks = {form for form in watch.wanted for data in seen if form in data}
    assert not leaks
    assert not watch.found
    assert watch.rounds > 20
    said = [reply["commands"][0] for event in run.events("act.outcome") if (reply := event["body"]["reply"])]
    assert [each["stdout"].count("${secret:env}") >= 4 for each in said] == [True, True]
    assert [each["stderr"].count("${secret:file}") for each in said] == [1, 1]
    run.ctl("abort")
    run.ends("rolled_back", code=4)
