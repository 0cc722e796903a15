"""`cutover ctl`: one command to a running engine."""

import asyncio
from argparse import Namespace

from cutover import wiring
from cutover.cli.commanding import send
from cutover.cli.output import Output
from cutover.cli.overview import words
from cutover.errors import ExitCode


def ctl(args: Namespace) -> ExitCode:
    """`cutover ctl RUN COMMAND ...`."""
    output, run = Output(), wiring.find_run(args.run)
    state = wiring.run_state(run)
    if state.ended:
        output.talk(f"Run {run.id} is {words(state.status)}; there is nothing to command.")
        return ExitCode.FAILED
    given = {word: getattr(args, word) for word in args.words}
    if getattr(args, "reason", ""):
        given["reason"] = args.reason
    why = asyncio.run(send(run, (args.command, given), state))
    if why is not None:
        output.talk(f"Not done: {why}.")
        return ExitCode.FAILED
    output.say(
        " ".join([f"{run.id}: {args.command}", *(given[word] for word in args.words), "is accepted and recorded"])
    )
    return ExitCode.OK
