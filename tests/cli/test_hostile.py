"""Text from outside never reaches a terminal raw, whatever brings it; markup is text; control is ours alone."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutover.audit.timeline import timeline
from cutover.cli.audit import Page
from cutover.cli.output import Output
from cutover.cli.overview import overview, status_line
from cutover.cli.progress import Progress
from cutover.model.text import visible
from tests.cli.conftest import Captured, Story, Stream
from tests.cli.test_progress import NOW

HOSTILE = "\x1b]52;c;aGFjaw==\x07 \x9b31m \u202egnp.exe [bold red]x[/] {0} \x00\r\b\u200b\udc80 \u2028end"
HOSTILE_LINES = f"{HOSTILE}\n20:00:00Z ✓ the run is done"


def hostile_story(text: str) -> Story:
    """Every kind of event a person sees, with `text` wherever text can be."""
    story = Story()
    story.begin("a", text, title=text)
    story.step("a", "checking")
    story.step("a", "acting")
    story.intent("a", text)
    story.outcome("a", "failed", text, commands=[{"exit": 1, "stdout": text, "stderr": text}])
    story.step("a", "failed", text)
    story.ask("a.failed", "a", f"a failed: {text}", "retry", text, about="failed", known=(text, text))
    story.add("check.verdict", "a", host=text, key="k", title=text, finding="failed", because=text)
    story.add("poll.verdict", "a", key="p", title=text, finding="failed", because=text, until=3.0)
    story.add("act.probed", "a", host=text, key="a", done="unknown", because=text)
    story.add("host.excluded", host=text, actor=text, reason=text)
    story.add("run.noted", actor=text, text=text)
    story.add("moon.risen", text, phase=text)
    story.run("running", "held", "hold", text, actor=text)
    story.add("claim.refused", host=text, code=text, detail=text, owner=text)
    return story


def everything_shown(story: Story, output: Output) -> None:
    """All that a person may be shown of a run, live and the day after."""
    progress = Progress()
    for event in story.events:
        for each in progress.take(event):
            output.marked(each.clock, each.mark, f"{each.step} {each.text}")
    for mark, text in overview(progress.state, now=NOW, alive=True):
        output.marked("", mark, text)
    for text in progress.questions(NOW):
        output.say(text)
    output.say(output.safe(status_line(progress.state, now=NOW)))
    Page(output).show(timeline(story.events))


@pytest.mark.parametrize("text", [HOSTILE, HOSTILE_LINES], ids=["line", "lines"])
@pytest.mark.parametrize("terminal", [False, True], ids=["file", "terminal"])
def test_nothing_raw_is_written(text: str, terminal: bool, captured: Callable[..., Captured]) -> None:
    output, out, _ = captured(terminal=terminal, environ={"TERM": "xterm", "NO_COLOR": "1"})
    everything_shown(hostile_story(text), output)
    shown = out.getvalue()
    assert shown == visible(shown)
    assert "\\x1b]52;c;aGFjaw==\\x07" in shown
    assert "[bold red]x[/]" in shown


def test_a_text_of_several_lines_cannot_look_like_a_line_of_ours(captured: Callable[..., Captured]) -> None:
    output, out, _ = captured()
    everything_shown(hostile_story(HOSTILE_LINES), output)
    assert not [line for line in out.getvalue().splitlines() if line.startswith("20:00:00Z ✓")]


def test_json_is_ascii_and_keeps_the_text(captured: Callable[..., Captured]) -> None:
    output, out, _ = captured(terminal=True)
    story = hostile_story(HOSTILE)
    for event in story.events:
        output.event(event)
    lines = out.getvalue().splitlines()
    assert out.getvalue().isascii()
    assert "\x1b" not in out.getvalue()
    assert json.loads(lines[0])["body"]["title"] == HOSTILE
    assert len(lines) == len(story.events)


@given(st.text(max_size=200))
def test_any_text_is_shown_without_control(text: str) -> None:
    out = Stream()
    output = Output(out, out, {})
    output.marked("20:00:00Z", "✓", text)
    output.say(text)
    output.talk(text)
    assert visible(out.getvalue()) == out.getvalue()


@pytest.mark.parametrize(
    ("environ", "coloured"),
    [({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False), ({}, False)],
)
def test_colours_only_where_they_are_wanted(
    environ: dict[str, str], coloured: bool, captured: Callable[..., Captured]
) -> None:
    output, out, _ = captured(environ=environ, terminal=True)
    output.marked("20:00:00Z", "✓", "done")
    assert ("\x1b[" in out.getvalue()) is coloured
    output, out, _ = captured(environ=environ, terminal=False)
    output.marked("20:00:00Z", "✓", "done")
    output.control("\x1b[2K")
    assert "\x1b" not in out.getvalue()


@pytest.mark.parametrize(
    ("environ", "plain"),
    [
        ({}, False),
        ({"LANG": "de_DE.UTF-8"}, False),
        ({"LANG": "C.UTF-8"}, False),
        ({"LANG": "C"}, True),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, True),  # set by Python itself
        ({"LANG": "C", "LC_CTYPE": "de_DE.UTF-8"}, False),
        ({"LANG": "de_DE.UTF-8", "LC_CTYPE": "POSIX"}, True),
        ({"LANG": "de_DE.UTF-8", "LC_ALL": "C"}, True),
        ({"LANG": "C", "LC_ALL": "C.UTF-8"}, False),
    ],
)
def test_marks_are_ascii_in_the_locale_c(
    environ: dict[str, str], plain: bool, captured: Callable[..., Captured]
) -> None:
    output, out, _ = captured(environ=environ)
    output.marked("", "✓", "done")
    assert out.getvalue() == ("+ done\n" if plain else "✓ done\n")


@pytest.mark.parametrize(("terminal", "term"), [(True, "xterm"), (True, "dumb"), (False, "xterm")])
def test_a_prompt_is_always_shown(terminal: bool, term: str) -> None:
    out, err = Stream(terminal=terminal), Stream(terminal=True)
    Output(out, err, {"TERM": term}).prompt("Start it? ")
    assert (out if terminal else err).getvalue() == "Start it? "


@pytest.fixture
def hostile_run(tmp_path: Path) -> dict[str, str]:
    """A state directory with one run whose journal is full of hostile text."""
    script = (
        "import asyncio, sys\n"
        "from cutover.journal.directory import run_directory\n"
        "from cutover.journal.sqlite import SqliteJournal\n"
        "from cutover.model.events import Draft, Origin\n"
        "from cutover.transports.clock import RealClock\n"
        "from tests.cli.test_hostile import HOSTILE_LINES, hostile_story\n"
        "async def main():\n"
        "    run = run_directory('7f3a9c'); run.path.mkdir(parents=True)\n"
        "    origin = Origin('7f3a9c', 'b', 'p', 't')\n"
        "    journal = SqliteJournal.open(run.journal, origin, RealClock(), owner='o')\n"
        "    for e in hostile_story(HOSTILE_LINES).events:\n"
        "        journal.record(Draft(e.type, e.step, e.body, e.actor, e.host))\n"
        "    await journal.commit(); await journal.close()\n"
        "asyncio.run(main())\n"
    )
    environ = {**os.environ, "CUTOVER_STATE_DIR": str(tmp_path / "state"), "TERM": "xterm", "NO_COLOR": "1"}
    subprocess.run([sys.executable, "-c", script], check=True, env=environ, cwd=Path(__file__).parents[2])
    return environ


@pytest.mark.parametrize(
    "words",
    [["audit", "show", "last"], ["status"], ["runs"], ["attach"], ["ctl", "last", "hold"], ["resume", "\x1b]0;x\x07"]],
)
def test_nothing_raw_reaches_a_real_terminal(words: list[str], hostile_run: dict[str, str]) -> None:
    shown = in_terminal([sys.executable, "-m", "cutover", *words], hostile_run)
    text = shown.replace("\r\x1b[2K", "").replace("\r\n", "\n")  # the bottom line is cleared by us
    assert text
    assert text == visible(text)


def in_terminal(argv: list[str], environ: dict[str, Any]) -> str:
    """What a command writes to a terminal of its own, stdout and stderr alike."""
    outer, inner = pty.openpty()
    process = subprocess.Popen(argv, stdin=inner, stdout=inner, stderr=inner, env=environ, start_new_session=True)
    os.close(inner)
    shown = b""
    while True:
        try:
            data = os.read(outer, 65536)
        except OSError:  # how Linux says that nobody holds the other end any more
            break
        if not data:
            break
        shown += data
    process.wait(timeout=30)
    os.close(outer)
    return shown.decode()
