"""What holds for every test: as root on Debian a run in which no lab test passed is a failed run."""

import os

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    ran = _lab_tests(terminalreporter)
    if os.environ.get("CUTOVER_REQUIRE_LAB") == "yes" and not ran:
        terminalreporter.write_line("no lab test passed on a machine that can run the lab: this run counts as failed")
    elif not ran:
        terminalreporter.write_line("the lab tests did not run: they need root on Debian (make test-lab)")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CUTOVER_REQUIRE_LAB") == "yes" and not _lab_tests(reporter) and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _lab_tests(reporter: pytest.TerminalReporter | None) -> int:
    passed = reporter.stats.get("passed", []) if reporter else []
    return sum("lab" in report.keywords for report in passed)
