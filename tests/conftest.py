"""What holds for every test: as root on Debian a run in which no lab test passed is a failed run."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    ran = _lab_tests(terminalreporter)
    if os.environ.get("CUTOVER_REQUIRE_LAB") == "yes" and not ran:
        terminalreporter.write_line("no lab test passed on a machine that can run the lab: this run counts as failed")
    elif not ran:
        able = os.geteuid() == 0 and Path("/etc/debian_version").exists()
        terminalreporter.write_line(f"the lab tests did not run: {why_not(terminalreporter.stats, able=able)}")


def why_not(stats: Mapping[str, Sequence[Any]], *, able: bool) -> str:
    """Why no lab test passed, of a run with these reports, on a machine that is able to run the lab or not."""
    if not able:
        return "they need root on Debian (make test-lab)"
    reports = [report for kind, each in stats.items() if kind not in ("deselected", "warnings", "") for report in each]
    selected = any("lab" in report.keywords for report in reports)
    return "none passed" if selected else "none were selected (make test-lab)"


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CUTOVER_REQUIRE_LAB") == "yes" and not _lab_tests(reporter) and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _lab_tests(reporter: pytest.TerminalReporter | None) -> int:
    passed = reporter.stats.get("passed", []) if reporter else []
    return sum("lab" in report.keywords for report in passed)
