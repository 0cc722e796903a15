"""What the wrapper of an acting effect costs its host beyond the command: time, processor and syncs.

The text that would go over SSH is fed straight into a shell, in turns with the bare command in the same shell. The
state directory lies on the disk of the current directory. `strace` counts the syncs. The goal is for an idle machine;
on a busy one the quickest tenth comes nearest to that.
"""

import re
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

from benchmarks.figures import figure, remark
from cutover.model.effects import Claim, ClaimHost, Command, OnHost, Receipt
from cutover.transports.wrapper import render_act, render_claim

ROUNDS = 100
OWNER = "bench@here:1"
SHELLS = (("dash",), ("bash", "--posix"), ("busybox", "sh"))
SYNCS = "fsync,fdatasync,sync,syncfs,sync_file_range,msync"


def run() -> None:
    """Measure with every shell that is here."""
    with tempfile.TemporaryDirectory(prefix="wrapper-", dir=Path.cwd()) as scratch:
        for shell in SHELLS:
            if shutil.which(shell[0]):
                directory = Path(scratch, shell[0])
                directory.mkdir()
                _measure(shell, directory)


def _measure(shell: tuple[str, ...], directory: Path) -> None:
    (directory / "claim").touch()
    claim = render_claim(ClaimHost(host="web1", mode="claim", owner=OWNER, timeout=10), "n", str(directory))
    _say(shell, claim)
    bare: list[tuple[float, float]] = []
    wrapped: list[tuple[float, float]] = []
    for number in range(ROUNDS):
        bare.append(_cost(shell, b"exec /bin/true\n"))
        wrapped.append(_cost(shell, _act(number, directory)))
    name = f"wrapper: {shell[0]}"
    figure(f"{name}, bare command", statistics.median(wall for wall, _ in bare), "ms")
    time_beyond, processor_beyond = (
        [one[index] - other[index] for one, other in zip(wrapped, bare, strict=True)] for index in (0, 1)
    )
    figure(f"{name}, time beyond the command", statistics.median(time_beyond), "ms", "<=15")
    figure(f"{name}, the same, quickest tenth", statistics.quantiles(time_beyond, n=10)[0], "ms")
    figure(f"{name}, processor beyond the command", statistics.median(processor_beyond), "ms")
    if shutil.which("strace"):
        figure(f"{name}, syncs of an act", _syncs(shell, _act(ROUNDS, directory), directory), "syncs", "<=2")
    else:
        remark("syncs are not counted: strace is not installed")


def _act(number: int, directory: Path) -> bytes:
    """An act that does nothing, so that only the wrapper is measured."""
    effect = OnHost(
        host="web1",
        commands=(Command(("/bin/true",)),),
        timeout=10,
        claim=Claim(OWNER, 1),
        receipt=Receipt("bench", f"act.{number}", 1),
        machine_id=Path("/etc/machine-id").read_text().strip(),
    )
    return render_act(effect, ("",), "n", str(directory))


def _say(argv: tuple[str, ...], text: bytes) -> None:
    done = subprocess.run(argv, input=text, check=True, capture_output=True)
    assert b"refused" not in done.stdout, done


def _cost(shell: tuple[str, ...], text: bytes) -> tuple[float, float]:
    """Milliseconds by the clock and of the processor."""
    before, started = getrusage(RUSAGE_CHILDREN), time.perf_counter()
    _say(shell, text)
    wall, after = time.perf_counter() - started, getrusage(RUSAGE_CHILDREN)
    return wall * 1000, (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000


def _syncs(shell: tuple[str, ...], text: bytes, directory: Path) -> int:
    trace = directory / "trace"
    _say(("strace", "-f", "-o", str(trace), "-e", f"trace={SYNCS}", *shell), text)
    return len(re.findall(rf"\b(?:{SYNCS.replace(',', '|')})\(", trace.read_text()))
