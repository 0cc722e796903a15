"""What a person reads while a run goes: golden pages from hand-made events."""

from collections.abc import Callable
from datetime import UTC, datetime
from textwrap import dedent

from cutover.cli.output import ASCII
from cutover.cli.overview import overview, status_line
from cutover.cli.progress import Progress
from tests.cli.conftest import Captured, Story

NOW = datetime(2022, 12, 1, 20, 1, 0, tzinfo=UTC)


def page(story: Story, captured: Callable[..., Captured], *, typing: bool = False, **options: object) -> str:
    """What `attach` prints of a story."""
    output, out, _ = captured(**options)
    progress = Progress(typing=typing)
    for event in story.events:
        for each in progress.take(event):
            output.marked(each.clock, each.mark, f"{each.step} {each.text}".lstrip())
    return out.getvalue()


def expect(text: str) -> str:
    return dedent(text).lstrip("\n")


def test_a_run_that_goes_well(story: Story, captured: Callable[..., Captured]) -> None:
    story.begin("ready", "stop-web", "calm")
    story.step("ready", "checking")
    story.step("ready", "acting")
    story.ask("ready.ask", "ready", "Is everyone here?", "go", "back")
    story.answer("ready.ask", "ready", "go")
    story.step("ready", "done")
    story.add("window.opened", "stop-web", measured=False, why="stop-web is the first disruptive step")
    story.step("stop-web", "checking")
    story.add("check.verdict", "stop-web", key="k", title="sudo works", finding="passed", because="sudo works")
    story.step("stop-web", "acting")
    story.intent("stop-web", "stop app-web on alice")
    story.add("act.output", "stop-web", key="a", stream=1, text="noise")
    story.outcome("stop-web", "passed", "stop app-web on alice: done in 0.3 s")
    story.step("stop-web", "done")
    story.step("calm", "checking")
    story.step("calm", "acting")
    story.add(
        "poll.verdict", "calm", key="p", title="calm", finding="failed", because="12 errors, expected none", until=30.0
    )
    story.add("poll.sample", "calm", key="p", title="calm", finding="failed", because="11 errors, expected none")
    story.add("poll.ended", "calm", key="p", title="calm", finding="passed", because="0 errors", seconds=4.0)
    story.step("calm", "done")
    story.add("measure.sample", measure="m", works=True, because="answered 200", seconds=0.1)
    story.run("running", "done", "finish", "every step is done")
    story.add("window.closed", measured=False, seconds=12.0)
    assert page(story, captured) == expect("""
        20:00:01Z ▶ run 7f3a9c of “Leaving the Basement” was made by pat@desk: plan 9c1e44, its hosts are pinned
        20:00:02Z ▶ engine 1, pat@desk.7f3a9c.1, begins
        20:00:03Z ▶ the run begins: every host is reached, claimed and checked
        20:00:06Z ◆ ready: Is everyone here?
                      go    does go; loses nothing
                      back  does back; loses nothing
                      silence: the run waits, for as long as it takes
                      answer: cutover ctl 7f3a9c answer ready.ask.1 WORD
        20:00:07Z ◆ ready pat@desk answers go
        20:00:09Z ▶ stop-web the window opens, not measured: stop-web is the first disruptive step
        20:00:13Z ▶ stop-web begins: stop app-web on alice
        20:00:16Z ✓ stop-web done in 4s: stop app-web on alice
        20:00:19Z ▶ calm waits, for at most 30s: 12 errors, expected none
        20:00:22Z ✓ calm done in 4s: 0 errors
        20:00:24Z ✓ the run is done: every step is done
        20:00:25Z ✓ the window closes after 12s, not measured
    """)


def test_a_failure_is_said_at_once_and_not_again(story: Story, captured: Callable[..., Captured]) -> None:
    because = "stop app-web on alice: `systemctl stop app-web` ended with exit 1: no such unit"
    story.begin("stop-web")
    for attempt in (1, 2):
        story.step("stop-web", "checking")
        story.step("stop-web", "acting")
        story.intent("stop-web", "stop app-web on alice", attempt=attempt)
        story.outcome("stop-web", "failed", because)
        story.step("stop-web", "failed", because)
        what = f"stop-web failed: {because}"
        story.ask(
            "stop-web.failed",
            "stop-web",
            what,
            "retry",
            "skip",
            "back",
            about="failed",
            known=("answers for it: dana",),
        )
        story.answer(
            "stop-web.failed", "stop-web", "retry" if attempt == 1 else "back", "too late" if attempt == 2 else ""
        )
    story.run("running", "going_back", "go_back", "too late", actor="pat@desk")
    story.add("rollback.planned", steps=["stop-web"])
    story.step("stop-web", "undoing")
    story.intent("stop-web", "start app-web on alice again", key="a.undo")
    story.outcome("stop-web", "passed", "start app-web on alice again: done in 0.4 s", key="a.undo")
    story.step("stop-web", "undone")
    story.run("going_back", "rolled_back", "finish", "everything that was done is taken back")
    lines = page(story, captured).splitlines()
    assert "\n".join(lines[3:13]) + "\n" == expect("""
        20:00:06Z ▶ stop-web begins: stop app-web on alice
        20:00:07Z ✗ stop-web stop app-web on alice: `systemctl stop app-web` ended with exit 1: no such unit
        20:00:09Z ✗ stop-web failed. What now?
                      known: answers for it: dana
                      retry  does retry; loses nothing
                      skip   does skip; loses nothing; needs a reason
                      back   does back; loses nothing
                      silence: the run waits, for as long as it takes
                      answer: cutover ctl 7f3a9c answer stop-web.failed.1 WORD --reason WHY
        20:00:10Z ◆ stop-web pat@desk answers retry
    """)
    assert "\n".join(lines[-6:]) + "\n" == expect("""
        20:00:17Z ◆ stop-web pat@desk answers back: too late
        20:00:18Z ◀ the run turns back
        20:00:19Z ◀ to take back, in this order: stop-web
        20:00:20Z ◀ stop-web is taken back
        20:00:23Z ✓ stop-web taken back in 3s: start app-web on alice again
        20:00:24Z ◀ the run is rolled back: everything that was done is taken back
    """)
    assert sum(because in line for line in lines) == 2  # once for each attempt


def test_a_lost_answer_is_looked_into(story: Story, captured: Callable[..., Captured]) -> None:
    story.begin("stop-web")
    story.step("stop-web", "checking")
    story.step("stop-web", "acting")
    story.intent("stop-web", "stop app-web on alice")
    story.outcome(
        "stop-web", "unknown", "stop app-web on alice: no answer came, so nobody can tell: the connection was lost"
    )
    story.add("act.recovering", "stop-web", host="alice", key="a", attempt=1)
    story.add("act.probed", "stop-web", host="alice", key="a", done="done", because="app-web on alice is inactive")
    story.step("stop-web", "done")
    assert page(story, captured).splitlines()[4:] == [
        "20:00:07Z ? stop-web stop app-web on alice: no answer came, so nobody can tell: the connection was lost",
        "20:00:08Z ? stop-web nobody knows yet what became of “stop app-web on alice”: looking",
        "20:00:09Z ✓ stop-web found done: app-web on alice is inactive",
        "20:00:10Z ✓ stop-web done in 5s: app-web on alice is inactive",
    ]


def test_what_is_rare_is_said(story: Story, captured: Callable[..., Captured]) -> None:
    story.begin("a", "b")
    story.add("point.crossed", "a", point="soft", why="armed by a go given ahead, and every guard is green now")
    story.add("host.excluded", host="dot", actor="pat@desk", reason="on fire")
    story.add("run.noted", actor="pat@desk", text="coffee is ready")
    story.step("b", "skipped", "done by hand", actor="pat@desk")
    story.run("running", "held", "hold", "held by the commander", actor="pat@desk")
    story.add("host.unreached", host="dot", code="unreachable", because="dot: it cannot be reached")
    story.add("claim.taken", host="alice", token=2, owner="o", why="start")
    story.add("engine.stopped", why="alice was taken over", fenced=True)
    assert page(story, captured).splitlines()[3:] == [
        "20:00:04Z ◆ a the soft point of no return is passed: armed by a go given ahead, and every guard is green now",
        "20:00:05Z ◆ pat@desk excludes dot from here on: on fire",
        "20:00:06Z ◆ pat@desk notes: coffee is ready",
        "20:00:07Z · b is skipped: done by hand (by pat@desk)",
        "20:00:08Z ‖ held: held by the commander (by pat@desk)",
        "20:00:09Z ✗ dot: it cannot be reached",
        "20:00:11Z ✗ this engine must not act any more: alice was taken over",
    ]


def test_something_left_behind_is_listed_at_the_end(story: Story, captured: Callable[..., Captured]) -> None:
    story.begin("a")
    story.ask("a.undo", "a", "taking a back failed: exit 1", "retry", "leave", about="undo")
    story.answer("a.undo", "a", "leave", "by hand tomorrow")
    story.step("a", "undone", "by hand tomorrow", actor="pat@desk", outstanding=True)
    story.run("going_back", "rolled_back", "finish", "everything that was done is taken back")
    last = page(story, captured).splitlines()[-2:]
    assert last[1] == "20:00:07Z ✗ left as it is: a: by hand tomorrow"


def test_a_question_with_a_deadline_and_a_typist(story: Story, captured: Callable[..., Captured]) -> None:
    story.begin("look")
    until = "2022-12-01T20:04:04.000000Z"
    story.ask("look.ask", "look", "Let users in?\nReally?", "go-7f3a9c", "back", silence="back", until=until)
    text = page(story, captured, typing=True)
    assert "◆ look: Let users in?\n              Really?" in text
    assert "silence: the run goes back at 20:04:04Z, in 4m\n" in text
    assert "answer: type the word and press Enter; from elsewhere: cutover ctl 7f3a9c answer look.ask.1 WORD\n" in text


def test_a_question_that_says_more_shows_what_is_new(story: Story, captured: Callable[..., Captured]) -> None:
    story.begin("look")
    story.ask("look.ask", "look", "Now?", "go", "back", known=("all is green",))
    over = "The downtime budget of 5m is used up. On, or back?"
    story.add("question.amended", id="look.ask.1", known=["all is green", over], over_budget=True)
    story.add("question.amended", id="look.ask.1", silence="hold", known=["all is green", over, "silence holds"])
    assert page(story, captured).splitlines()[-2:] == [
        f"20:00:05Z ◆ question look.ask.1 now says more: {over}",
        "20:00:06Z ◆ question look.ask.1 now says more; silence holds now: silence holds",
    ]


def test_a_question_stays_within_100_columns(story: Story, captured: Callable[..., Captured]) -> None:
    story.begin("look")
    story.ask("look.ask", "look", "Now?", "go", known=("word " * 60,))
    block = page(story, captured).splitlines()[4:]
    assert all(len(line) <= 112 for line in block)  # the time stands before it


def test_a_locale_without_these_characters_gets_others(story: Story, captured: Callable[..., Captured]) -> None:
    story.begin("a")
    story.run("running", "held", "hold", "held by Zoë")
    text = page(story, captured, encoding="ascii")
    assert text.isascii()
    assert "20:00:04Z = held: held by Zo\\xeb" in text
    assert len(set(ASCII.values())) >= 7


def test_an_event_of_a_newer_version_is_shown_as_it_is(story: Story, captured: Callable[..., Captured]) -> None:
    story.begin("a")
    story.add("moon.risen", "a", phase="full")
    assert page(story, captured).splitlines()[3:] == ["20:00:04Z · a moon.risen: phase: full"]


def test_the_bottom_line(story: Story) -> None:
    story.begin("a", "b", "c")
    story.add("window.opened", "a", measured=False, why="a is the first disruptive step")
    story.step("a", "checking")
    story.step("a", "acting")
    story.intent("a", "stop app-web on alice")
    progress = Progress()
    progress.skip(story.events)
    line = status_line(progress.state, now=NOW, budget=progress.budget)
    assert line == "20:01:00Z · window open 56s of 5m · ▶ a 54s: stop app-web on alice · 0/3 steps"
    story.add("poll.verdict", "b", key="p", title="calm", finding="failed", because="12 errors", until=70.0)
    story.ask("a.ask", "a", "Now?", "go", "back", silence="back", until="2022-12-01T20:03:00.000000Z")
    progress.skip(story.events[-2:])
    line = status_line(progress.state, now=NOW)
    assert line == "20:01:00Z · window open 56s · ◆ asks: go, back, else back in 2m · 0/3 steps"


def test_where_a_run_stands(story: Story) -> None:
    story.begin("a", "b", "c")
    story.step("a", "checking")
    story.step("a", "acting")
    story.step("a", "done")
    story.step("b", "checking")
    story.step("b", "failed", "exit 1")
    story.ask("b.failed", "b", "b failed: exit 1", "retry", "back", about="failed")
    progress = Progress()
    progress.skip(story.events)
    assert overview(progress.state, now=NOW, alive=True) == [
        ("▶", "7f3a9c “Leaving the Basement” (plan 9c1e44): running, begun 2022-12-01 20:00:01Z, 59s ago"),
        ("✓", "a  done 20:00:06Z"),
        ("◆", "b  waits for a person, since 20:00:09Z"),
        ("·", "c"),
    ]
    head = overview(progress.state, now=NOW, alive=False)[0]
    assert head[0] == "✗"
    assert "NO ENGINE DRIVES IT: cutover resume 7f3a9c" in head[1]
