"""How a question reads: what happened, what is known, what each answer does, loses and takes, and what silence does."""

import textwrap
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from cutover.model.text import visible, visible_line
from cutover.model.units import show_duration

_WIDTH = 100
_INDENT = "  "


def question_text(
    run: str, question: Mapping[str, Any], *, now: datetime, said: bool = False, typing: bool = False
) -> str:
    """The whole block of a question, as it stands in the state of a run.

    said: what happened stands just above already. typing: the reader can type the answer here.
    """
    lines = [_heading(question, said)]
    lines += [_wrapped(f"known: {visible_line(str(line))}") for line in question.get("known", ())]
    lines += _choices(question["choices"])
    lines.append(_INDENT + _silence(question, now))
    lines.append(_INDENT + _how_to_answer(run, question, typing))
    return "\n".join(lines)


def _heading(question: Mapping[str, Any], said: bool) -> str:
    step = question.get("step") or ""
    if said:
        return f"{step} {'is in doubt' if question['about'] == 'in_doubt' else 'failed'}. What now?"
    what = visible(str(question["what"]))
    lead = f"{step}: " if step and not what.startswith(step) else ""
    first, *rest = (lead + what).split("\n")
    return "\n".join([first, *(_INDENT + line for line in rest)])


def _choices(choices: Iterable[Mapping[str, Any]]) -> list[str]:
    offered = list(choices)
    width = max(len(visible_line(str(choice["word"]))) for choice in offered) if offered else 0
    lines = []
    for choice in offered:
        does, loses, takes = (visible_line(str(choice.get(name) or "")) for name in ("does", "loses", "takes"))
        parts = [does, f"loses {loses or 'nothing'}"]
        parts += [f"takes: {takes}"] if takes else []
        parts += ["needs a reason"] if choice.get("needs_reason") else []
        word = visible_line(str(choice["word"])).ljust(width)
        lines.append(_wrapped("; ".join(parts), first=f"{word}  "))
    return lines


def _silence(question: Mapping[str, Any], now: datetime) -> str:
    until = question.get("until")
    if not until:
        return "silence: the run waits, for as long as it takes"
    left = max(0.0, (datetime.fromisoformat(until) - now).total_seconds())
    when = f"at {str(until)[11:19]}Z, in {show_duration(int(left))}" if left else f"since {str(until)[11:19]}Z"
    if question.get("silence") == "back":
        return f"silence: the run goes back {when}"
    return f"silence: the run waits; an answer is expected {when}"


def _how_to_answer(run: str, question: Mapping[str, Any], typing: bool) -> str:
    reason = " --reason WHY" if any(choice.get("needs_reason") for choice in question["choices"]) else ""
    command = f"cutover ctl {run} answer {question['id']} WORD{reason}"
    return f"answer: type the word and press Enter; from elsewhere: {command}" if typing else f"answer: {command}"


def _wrapped(text: str, first: str = "") -> str:
    indent = _INDENT + first
    later = " " * len(indent)
    return textwrap.fill(text, _WIDTH, initial_indent=indent, subsequent_indent=later, break_on_hyphens=False)
