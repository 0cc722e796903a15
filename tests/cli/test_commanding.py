"""What a typed line means: never more than was typed, and a reason where one is needed."""

import pytest

from cutover.cli.commanding import interpret
from cutover.cli.progress import Progress
from cutover.model.run_state import RunState
from tests.cli.conftest import Story


def state_of(story: Story) -> RunState:
    progress = Progress()
    progress.skip(story.events)
    return progress.state


@pytest.fixture
def asking(story: Story) -> RunState:
    story.begin("a", "b")
    story.step("a", "checking")
    story.step("a", "acting")
    story.intent("a", "stop app-web on alice")
    story.ask("a.failed", "a", "a failed: exit 1", "retry", "skip", "go-7f3a9c", "back", about="failed")
    return state_of(story)


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("retry", ("answer", {"question": "a.failed.1", "choice": "retry", "reason": ""})),
        ("skip  done by hand", ("answer", {"question": "a.failed.1", "choice": "skip", "reason": "done by hand"})),
        ("go-7f3a9c", ("answer", {"question": "a.failed.1", "choice": "go-7f3a9c", "reason": ""})),
        (
            "a.failed.1 back it is late",
            ("answer", {"question": "a.failed.1", "choice": "back", "reason": "it is late"}),
        ),
        ("answer a.failed.1 back late", ("answer", {"question": "a.failed.1", "choice": "back", "reason": "late"})),
        ("hold", ("hold", {})),
        ("hold a noise", ("hold", {"reason": "a noise"})),
        ("abort it is late", ("abort", {"reason": "it is late"})),
        ("note coffee is ready", ("note", {"text": "coffee is ready"})),
        ("exclude dot on fire", ("exclude", {"host": "dot", "reason": "on fire"})),
    ],
)
def test_words_that_mean_something(line: str, meant: object, asking: RunState) -> None:
    assert interpret(line, asking) == meant


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("skip", "“skip” needs a reason"),
        ("go", "is no answer and no command: it is one of: retry, skip, go-7f3a9c, back;"),
        ("Back", "is no answer"),
        ("y", "is no answer"),
        ("abort", "abort would take back, in this order: a."),
        ("note", "note needs: text"),
        ("exclude", "exclude needs: host"),
        ("\x1b[2J", "“\\x1b[2J” is no answer"),
    ],
)
def test_words_that_are_not_enough(line: str, sentence: str, asking: RunState) -> None:
    meant = interpret(line, asking)
    assert isinstance(meant, str)
    assert sentence in meant


def test_with_several_questions_open_an_answer_names_its_own(story: Story) -> None:
    story.begin("a", "b")
    story.ask("a.ask", "a", "Now?", "go", "back")
    story.ask("b.ask", "b", "Now?", "go", "back")
    state = state_of(story)
    unclear = interpret("go", state)
    assert isinstance(unclear, str)
    assert "it is one of: a.ask.1, b.ask.1" in unclear
    assert interpret("b.ask.1 go", state) == ("answer", {"question": "b.ask.1", "choice": "go"})


def test_without_a_question_there_are_commands(story: Story) -> None:
    story.begin("a")
    state = state_of(story)
    assert interpret("skip a done by hand", state) == ("skip", {"step": "a", "reason": "done by hand"})
    assert (
        interpret("abort", state) == "abort has nothing to take back yet. To do it, type abort and the reason behind it"
    )
