"""The `cutover` command: the parser decides the verb, the verb is imported, and every end has an exit code."""

import importlib
import sys
from collections.abc import Sequence

from cutover.cli.parser import parse


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code (the table is in errors.py)."""
    try:
        args = parse(sys.argv[1:] if argv is None else argv)
    except SystemExit as end:  # argparse ends so after --help and after a usage error
        return end.code if isinstance(end.code, int) else 2
    from cutover.cli import ending  # only now: --help pays for the parser alone

    module, function = args.handler.split(":")
    with ending.Guarded(args.verb) as guarded:
        guarded.code = int(getattr(importlib.import_module(module), function)(args))
    return guarded.code


if __name__ == "__main__":
    sys.exit(main())
