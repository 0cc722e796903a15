"""What `cutover --help` costs beside a Python that does nothing, in turns."""

import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.figures import figure, ratio

ROUNDS = 25


def run() -> None:
    """Measure it."""
    python, installed = [sys.executable, "-c", "pass"], Path(sys.executable).with_name("cutover")
    bare, shown = [], []
    for _ in range(ROUNDS):
        bare.append(_seconds(python))
        shown.append(_seconds([str(installed), "--help"]))
    figure("cli: bare python", statistics.median(bare) * 1000, "ms")
    figure("cli: cutover --help", statistics.median(shown) * 1000, "ms")
    figure("cli: cutover --help / bare python", ratio(shown, bare), "times", "<=5")


def _seconds(argv: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(argv, check=True, capture_output=True)
    return time.perf_counter() - started
