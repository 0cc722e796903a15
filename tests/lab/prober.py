"""The users' side of a cutover: who wrote what through which edge, and whether all that was acknowledged is there.

    with Prober(lab, tmp_path / "writes.jsonl") as prober:
        ...                      # whatever is to be measured
    report = prober.verify()
    assert report.nothing_lost, report

By hand: `python -m tests.lab.prober --seconds 30`. The writes themselves are made by probe.py, on an operators' host.
"""

from __future__ import annotations

import argparse
import itertools
import json
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.lab import place, story
from tests.lab.client import HostProcess
from tests.lab.lab import Lab
from tests.lab.place import LabError
from tests.lab.topology import HOSTS

EDGES = tuple(host.name for host in HOSTS.values() if host.role == "edge")
UNANSWERED_WAIT = 20.0  # for the last answers, after the users have stopped


@dataclass(frozen=True)
class Write:
    """One write as its user saw it; times are the machine's clock, which every host shares."""

    id: str
    edge: str
    sent: float
    ended: float
    fate: str  # acked, failed, unknown
    resent: bool = False
    status: int | None = None
    by: str | None = None
    why: str | None = None


@dataclass(frozen=True)
class EdgeReport:
    """What the users of one edge saw. The window is the longest time without an acknowledged write."""

    edge: str
    fates: Counter[str]
    statuses: Counter[str]
    resent: int
    window: float
    last_before: float
    first_after: float
    slowest: float
    by: dict[str | None, int]

    @classmethod
    def of(cls, edge: str, writes: Sequence[Write]) -> EdgeReport:
        acked = [write for write in writes if write.fate == "acked"]
        times = sorted(write.ended for write in acked)
        window, before = max(((after - last, last) for last, after in itertools.pairwise(times)), default=(0, 0))
        return cls(
            edge=edge,
            fates=Counter(write.fate for write in writes),
            statuses=Counter(str(write.status or write.why) for write in writes if write.fate != "acked"),
            resent=sum(write.resent for write in writes),
            window=window,
            last_before=before,
            first_after=before + window,
            slowest=max((write.ended - write.sent for write in acked), default=0.0),
            by=dict(Counter(write.by for write in acked)),
        )

    def __str__(self) -> str:
        fates = ", ".join(f"{self.fates[fate]} {fate}" for fate in ("acked", "failed", "unknown"))
        reasons = f"; {dict(self.statuses.most_common(3))}" if self.statuses else ""
        return (
            f"{self.edge}: {fates}, {self.resent} resent; window {self.window:.3f} s; slowest {self.slowest:.3f} s; "
            f"by {self.by}{reasons}"
        )


@dataclass(frozen=True)
class Report:
    """The users' view beside the database's. Every list is of ids; all of them are empty when nothing went wrong."""

    database: str
    edges: list[EdgeReport]
    lost: list[str]
    doubled: list[str]
    jobs_lost: list[str]
    jobs_doubled: list[str]
    # Not acknowledged, but written: no harm in itself, as users who ask again see it.
    written_unacked: list[str] = field(default_factory=list)

    @property
    def nothing_lost(self) -> bool:
        """Neither lost nor doubled, neither posts nor jobs, and there was something to lose."""
        acked = sum(edge.fates["acked"] for edge in self.edges)
        return acked > 0 and not (self.lost or self.doubled or self.jobs_lost or self.jobs_doubled)

    @property
    def window(self) -> float:
        return max(edge.window for edge in self.edges)

    def __str__(self) -> str:
        wrong = {what: getattr(self, what) for what in ("lost", "doubled", "jobs_lost", "jobs_doubled")}
        said = ", ".join(f"{len(ids)} {what}{f' ({ids[0]} ...)' if ids else ''}" for what, ids in wrong.items())
        return "\n".join(
            [*map(str, self.edges), f"on {self.database}: {said}, {len(self.written_unacked)} written but not acked"]
        )


class Prober:
    """Users of a lab that runs the story's services."""

    def __init__(
        self, lab: Lab, log: Path, *, source: str = "op3", rate: float = 50.0, edges: Sequence[str] = EDGES,
        timeout: float = 5.0,
    ) -> None:  # fmt: skip
        self.run = uuid.uuid4().hex[:8]
        self.log, self.edges = log, tuple(edges)
        self._source, self._rate, self._timeout = lab.host(source), rate, timeout
        self._process: HostProcess | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        program = [sys.executable, str(place.FILES / "probe.py"), self.run, *self.edges]
        with self.log.open("w") as output:
            self._process = self._source.popen(
                [*program, f"--rate={self._rate}", f"--timeout={self._timeout}"], user="deploy", stdout=output
            )

    def stop(self) -> None:
        """No more writes; those under way are waited for."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            status = self._process.wait(UNANSWERED_WAIT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise LabError(f"the prober does not end; its log is {self.log}") from None
        finally:
            self._process = None
        if status != 0:
            raise LabError(f"the prober failed with {status}; its log is {self.log}")

    def writes(self) -> list[Write]:
        """What is known so far."""
        lines = self.log.read_text().splitlines(keepends=True)
        return [Write(**json.loads(line)) for line in lines if line.endswith("\n")]

    def report(self) -> list[EdgeReport]:
        """What the users saw, without asking the database."""
        writes = self.writes()
        return [EdgeReport.of(edge, [write for write in writes if write.edge == edge]) for edge in self.edges]

    def verify(self, settle: float = 20.0) -> Report:
        """Compare with the one database that takes writes now; jobs have `settle` seconds to be done."""
        writable = story.writable_databases()
        if len(writable) != 1:
            names = ", ".join(host.name for host in writable) or "none"
            raise LabError(f"there should be one writable database; writable: {names}")
        mine = f"WHERE id LIKE '{self.run}-%'"
        acked = {write.id for write in self.writes() if write.fate == "acked"}

        def counts(sql: str) -> dict[str, int]:
            rows = (row.rpartition("|") for row in story.psql(writable[0], sql).splitlines())
            return {ident: int(count) for ident, _, count in rows}

        posts = counts(f"SELECT id, times FROM posts {mine}")
        deadline = time.monotonic() + settle
        while True:
            jobs = counts(f"SELECT id, count(*) FROM jobs_done {mine} GROUP BY id")
            if acked <= jobs.keys() or time.monotonic() > deadline:
                break
            time.sleep(0.3)
        return Report(
            database=writable[0].name,
            edges=self.report(),
            lost=sorted(acked - posts.keys()),
            doubled=sorted(ident for ident, times in posts.items() if times > 1),
            jobs_lost=sorted(acked - jobs.keys()),
            jobs_doubled=sorted(ident for ident, times in jobs.items() if times > 1),
            written_unacked=sorted(posts.keys() - acked),
        )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.lab.prober", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="then stop and compare (so does Ctrl-C)")
    parser.add_argument("--rate", type=float, default=50.0, help="writes per second through each edge")
    parser.add_argument("--from", dest="source", default="op3", metavar="HOST")
    parser.add_argument("--log", type=Path, help="keep the log of all writes here")
    parser.add_argument("edges", nargs="*", default=EDGES, metavar="EDGE")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        log = given.log or Path(scratch, "writes.jsonl")
        with Prober(Lab(), log, source=given.source, rate=given.rate, edges=given.edges) as prober:
            try:
                time.sleep(given.seconds)
            except KeyboardInterrupt:
                print("stopping", file=sys.stderr)
        report = prober.verify()
    print(report)
    return 0 if report.nothing_lost else 1


if __name__ == "__main__":
    sys.exit(main())
