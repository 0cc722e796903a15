"""The sshd that most of these tests share, and worlds that lead to it."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.transports.host import Host
from tests.transports.sshd import SSHD, Sshd


def _cannot() -> str:
    if os.getuid() != 0:
        return "needs root: sshd runs with a login shell of the test's choice"
    if SSHD is None or shutil.which("unshare") is None:
        return "needs sshd and unshare: apt-get install openssh-server util-linux"
    return ""


@pytest.fixture(scope="session")
def needs_sshd() -> None:
    if why := _cannot():
        # As root on Debian nothing but a forgotten package can be missing: that is a failure, not a skip.
        if os.getuid() == 0 and Path("/etc/debian_version").exists():
            pytest.fail(why)
        pytest.skip(why)


@pytest.fixture(scope="module")
def sshd(needs_sshd: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """One sshd for the tests of a module; those that harm it start their own."""
    running = Sshd(tmp_path_factory.mktemp("sshd"))
    running.start()
    yield running
    running.stop()


@pytest.fixture
def own_sshd(needs_sshd: None, tmp_path: Path) -> Iterator[Sshd]:
    """An sshd that the test may freeze, kill and change."""
    running = Sshd(tmp_path / "sshd")
    running.start()
    yield running
    running.stop()


@pytest.fixture
def host(sshd: Sshd) -> Host:
    """A fresh state directory on the shared sshd."""
    return Host(sshd)
