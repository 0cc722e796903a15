"""Whether a journal is whole, in a sentence: how many events, the head, or the place where the chain breaks."""

from typing import Any

from cutover.journal.chain import ChainReport


def sentence(report: ChainReport) -> str:
    """What a verification found, for a person."""
    if report.problem is None:
        return f"{_events(report.count)}, each following from the one before; the head is {report.head}."
    before = f"{_events(report.count)} before it {'is' if report.count == 1 else 'are'} sound"
    before = before[0].lower() + before[1:] if report.count else "no event before it is sound"
    return f"The journal was altered or damaged: {report.problem.sentence}. At event {report.problem.seq}; {before}."


def to_json(run: str, report: ChainReport) -> dict[str, Any]:
    """The same, for a program."""
    problem = report.problem
    return {
        "run": run,
        "ok": report.ok,
        "count": report.count,
        "head": report.head,
        "problem": {"seq": problem.seq, "sentence": problem.sentence} if problem else None,
    }


def _events(count: int) -> str:
    if count == 0:
        return "No event"
    return "1 event" if count == 1 else f"{count:,} events"
