"""The hidden verb: be the engine of a run, in a process of its own."""

from argparse import Namespace

from cutover import wiring
from cutover.errors import ExitCode
from cutover.journal.directory import run_directory


def engine(args: Namespace) -> ExitCode:
    """`cutover engine RUN`."""
    return wiring.run_engine(run_directory(args.run), take_over=args.take_over)
