"""`cutover ctl`: one command to a running engine."""

import asyncio
from argparse import Namespace

from cutover import wiring
from cutover.cli.commanding import send
from cutover.cli.output import Output
from cutover.errors import ExitCode
from cutover.journal.directory import resolve_run


def ctl(args: Namespace) -> ExitCode:
    """`cutover ctl RUN COMMAND ...`."""
    output, run = Output(), resolve_run(args.run)
    given = {word: getattr(args, word) for word in args.words}
    if getattr(args, "reason", ""):
        given["reason"] = args.reason
    why = asyncio.run(send(run, (args.command, given), wiring.run_state(run)))
    if why is not None:
        output.talk(f"Not done: {why}.")
        return ExitCode.FAILED
    output.say(
        " ".join([f"{run.id}: {args.command}", *(given[word] for word in args.words), "is accepted and recorded"])
    )
    return ExitCode.OK
