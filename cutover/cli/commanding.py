"""Giving a command to a running engine: one way for `ctl` and for what is typed while attached."""

from typing import Any

from cutover import wiring
from cutover.client import Client
from cutover.engine.commands import VERBS
from cutover.errors import EngineGone
from cutover.journal.directory import RunDirectory
from cutover.model.run_state import RunState
from cutover.model.text import visible_line

Command = tuple[str, dict[str, str]]
"""A verb and its arguments."""

# The arguments of each verb in a typed line: names for single words, then the name for all the rest.
_TYPED = {
    "hold": ("reason",), "release": ("reason",), "abort": ("reason",), "note": ("text",), "retry": ("step", "reason"),
    "skip": ("step", "reason"), "exclude": ("host", "reason"), "answer": ("question", "choice", "reason"),
}  # fmt: skip


async def send(run: RunDirectory, command: Command, state: RunState) -> str | None:
    """Give a command that was decided on at `state`. Returns None when it was accepted, else why not.

    Raises EngineGone when nobody answers.
    """
    verb, args = command
    try:
        client = await Client.connect(run.socket)
    except EngineGone:
        if silent := wiring.silent_engine(run):
            raise EngineGone(f"nobody answers: {silent}") from None
        raise
    try:
        answer = await client.command(
            wiring.new_command_id(), verb, args, wiring.operator(), expect_seq=state.seq, plan=state.plan
        )
    finally:
        await client.close()
    return None if answer.get("accepted") else str(answer.get("refused"))


def interpret(line: str, state: RunState) -> Command | str:
    """What a typed line means: the answer to the open question, or a command. A str is a sentence for the typist.

    With several questions open an answer names its question first.
    """
    first, _, rest = line.partition(" ")
    questions = state.questions
    if len(questions) == 1:
        (name, question), *_ = questions.items()
        offered = {str(choice["word"]): choice for choice in question["choices"]}
        if first in offered:
            return _answer(name, offered[first], rest.strip())
    if first in questions and rest:
        return "answer", _arguments("answer", line)
    if first in VERBS:
        return _command(first, rest.strip(), state)
    known = list(questions) if len(questions) > 1 else _offered(questions)
    hint = f"it is one of: {', '.join(known)}; " if known else ""
    more = "QUESTION WORD, since several are open; " if len(questions) > 1 else ""
    return f"“{visible_line(first)}” is no answer and no command: {hint}{more}commands are: {', '.join(VERBS)}"


def _offered(questions: dict[str, dict[str, Any]]) -> list[str]:
    return [str(choice["word"]) for question in questions.values() for choice in question["choices"]]


def _answer(question: str, choice: dict[str, Any], reason: str) -> Command | str:
    word = str(choice["word"])
    if choice.get("needs_reason") and not reason:
        return f"“{word}” needs a reason: type {word} and the reason behind it"
    return "answer", {"question": question, "choice": word, "reason": reason}


def _command(verb: str, rest: str, state: RunState) -> Command | str:
    if verb == "abort" and not rest:
        touched = [name for name, step in reversed(state.steps.items()) if step.touched and step.status != "undone"]
        back = f"would take back, in this order: {', '.join(touched)}" if touched else "has nothing to take back yet"
        return f"abort {back}. To do it, type abort and the reason behind it"
    args = _arguments(verb, f"{verb} {rest}" if verb != "answer" else rest)
    missing = [name for name in _TYPED[verb] if name != "reason" and not args.get(name)]
    return f"{verb} needs: {', '.join(missing)}" if missing else (verb, args)


def _arguments(verb: str, line: str) -> dict[str, str]:
    names = _TYPED[verb]
    words = line.split(maxsplit=len(names) - 1) if verb == "answer" else line.split(maxsplit=len(names))[1:]
    return dict(zip(names, words, strict=False))
