"""The timeline says all of it: what was sent, what came back, who decided."""

import pytest

from cutover.audit.timeline import entry, timeline
from cutover.audit.verify import sentence, to_json
from cutover.journal.chain import ChainReport, Problem
from cutover.model.events import TELEMETRY
from cutover.model.run_state import _HANDLERS, RunState
from tests.cli.conftest import Story


@pytest.fixture
def story() -> Story:
    return Story()


def test_an_act_is_shown_with_its_command_and_its_answer(story: Story) -> None:
    story.begin("a")
    story.intent("a", "stop app-web on alice", attempt=2)
    stderr = "Failed to stop app-web.service: Unit app-web.service not loaded.\n"
    story.outcome("a", "failed", "stop app-web on alice: exit 5", commands=[{"exit": 5, "stderr": stderr}])
    shown = list(timeline(story.events))[3:]
    assert [(each.mark, each.text) for each in shown] == [
        ("▶", "stop app-web on alice (attempt 2)"),
        ("✗", "stop app-web on alice: exit 5"),
    ]
    assert shown[0].details == ("alice $ systemctl stop 'app web'",)
    assert shown[1].details == ("exit 5", f"| {stderr.strip()}")
    assert (shown[0].clock, shown[0].day, shown[0].step) == ("20:00:04Z", "2022-12-01", "a")


def test_secrets_are_there_by_name_only(story: Story) -> None:
    story.begin("a")
    url = ["https://example/?token=", {"secret": "token"}]
    effect = {"effect": "Http", "method": "POST", "url": url, "timeout": 1.0}
    story.add("act.intent", "a", key="k", attempt=1, title="tell", effect=effect)
    assert list(timeline(story.events))[-1].details == ("POST https://example/?token=${secret:token}",)


def test_long_output_is_cut_and_bytes_are_named(story: Story) -> None:
    story.begin("a")
    commands = [{"exit": 0, "stdout": "\n".join("x" * 300 for _ in range(9)), "stderr": {"base64": "//4="}}]
    story.outcome("a", "passed", "done", commands=commands)
    details = list(timeline(story.events))[-1].details
    assert len(details) == 6
    assert max(map(len, details)) < 170
    assert details[4:] == ("| … 5 more lines", "| (not text)")


def test_who_decided_is_said_once(story: Story) -> None:
    story.begin("a")
    story.run("running", "held", "hold", "a noise", actor="pat@desk")
    story.answer("a.ask", "a", "go", "all is well")
    held, answered = list(timeline(story.events))[-2:]
    assert held.text == "held: a noise (by pat@desk)"
    assert answered.text == "pat@desk answers go: all is well"


def test_telemetry_is_left_out(story: Story) -> None:
    for kind in TELEMETRY - {"journal.dropped"}:
        story.add(kind, "a", key="k", measure="m", stream=1, text="x")
    story.add("journal.dropped", count=7, types={"act.output": 7})
    (only,) = timeline(story.events)  # that something was lost is said
    assert only.text.startswith("7 samples or pieces of output were not kept")


@pytest.mark.parametrize("kind", sorted(set(_HANDLERS) - TELEMETRY))
def test_every_type_has_a_sentence_and_survives_a_strange_body(kind: str, story: Story) -> None:
    event = story.add(kind, "a", strange="body")
    assert entry(event, RunState()).text.startswith((kind, "to take back", "what is there", "None "))


def test_verifying_is_told_in_a_sentence() -> None:
    good = ChainReport(1_234, "ab" * 32)
    assert sentence(good) == f"1,234 events, each following from the one before; the head is {'ab' * 32}."
    bad = ChainReport(16, "cd" * 32, Problem(17, "event 17 was altered: it was written with hash 12, found 34"))
    assert sentence(bad) == (
        "The journal was altered or damaged: event 17 was altered: it was written with hash 12, found 34. "
        "At event 17; 16 events before it are sound."
    )
    first = ChainReport(0, "0" * 64, Problem(1, "event 1 is missing"))
    assert sentence(first).endswith("At event 1; no event before it is sound.")
    assert to_json("7f3a9c", bad) == {
        "run": "7f3a9c",
        "ok": False,
        "count": 16,
        "head": "cd" * 32,
        "problem": {"seq": 17, "sentence": "event 17 was altered: it was written with hash 12, found 34"},
    }
    assert to_json("7f3a9c", good)["problem"] is None
