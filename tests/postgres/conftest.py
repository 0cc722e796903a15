"""A real primary and its standby, and an sshd to reach them through."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgres.clusters import Cluster, why_not
from tests.transports.conftest import needs_sshd, sshd

__all__ = ["needs_sshd", "pair", "sshd"]


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Cluster, Cluster]]:
    """`old`, a primary, and `new`, its standby that streams; ended afterwards, by their pids."""
    if why := why_not():
        pytest.skip(why)
    root = Path(tempfile.mkdtemp(prefix="cutover-pg-"))
    root.chmod(0o755)
    old, new = Cluster(root, "old"), Cluster(root, "new")
    try:
        old.init()
        new.follow(old)
        yield old, new
    finally:
        for cluster in (old, new):
            cluster.kill()
        shutil.rmtree(root, ignore_errors=True)
