"""`cutover audit`: what a run did, from its journal alone. Works beside a running engine and long after it."""

import asyncio
from argparse import Namespace
from collections.abc import Iterable

from cutover import wiring
from cutover.audit import verify as verifying
from cutover.audit.timeline import Entry, belongs, entry, timeline
from cutover.cli.output import Output
from cutover.errors import ExitCode
from cutover.journal.directory import RunDirectory
from cutover.model.run_state import RunState


def show(args: Namespace) -> ExitCode:
    """`cutover audit show RUN`."""
    run, output = wiring.find_run(args.run), Output()
    if args.follow:
        asyncio.run(_follow(run, output, as_json=args.json))
        return ExitCode.OK
    with wiring.open_reader(run) as reader:
        events = reader.events()
    if args.json:
        for event in events:
            output.event(event)
    else:
        Page(output).show(timeline(events))
    return ExitCode.OK


def verify(args: Namespace) -> ExitCode:
    """`cutover audit verify RUN`."""
    run, output = wiring.find_run(args.run), Output()
    with wiring.open_reader(run) as reader:
        report = reader.verify(run=run.id)
    if args.json:
        output.json(verifying.to_json(run.id, report))
    else:
        output.marked("", "✓" if report.ok else "✗", verifying.sentence(report))
    return ExitCode.OK if report.ok else ExitCode.VIOLATION


async def _follow(run: RunDirectory, output: Output, *, as_json: bool) -> None:
    page, state = Page(output), RunState()
    with wiring.open_reader(run) as reader:
        async for event in reader.follow():
            state.apply(event)
            if as_json:
                output.event(event)
            elif belongs(event):
                page.show([entry(event, state)])


class Page:
    """Shows a timeline: a line for each day, a column for the step, the evidence below."""

    def __init__(self, output: Output) -> None:
        """Nothing is shown yet."""
        self._output = output
        self._day = ""

    def show(self, entries: Iterable[Entry]) -> None:
        """Show these next."""
        for each in entries:
            if each.day != self._day:
                self._output.say(f"{each.day} (UTC)")
                self._day = each.day
            text = "\n  ".join([f"{each.step:<16} {each.text}" if each.step else each.text, *each.details])
            self._output.marked(f"{each.seq:>5} {each.clock}", each.mark, text)
