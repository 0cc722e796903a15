"""All the figures of docs/performance.md: `python -m benchmarks [PART ...]`.

The parts are cli, plan, journal, wrapper, ssh and resume; without a name, all of them. No figure is a test: whether a
goal was met is printed beside it, and the exit code is 0 either way.
"""

import importlib
import os
import signal
import sys

from benchmarks.figures import remark

PARTS = ("cli", "plan", "journal", "wrapper", "ssh", "resume")


def main(names: list[str]) -> int:
    """Run the named parts, in the order given."""
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        print(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    for name in names or PARTS:
        remark(f"{name} (load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores)")
        importlib.import_module(f"benchmarks.{name}").run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
