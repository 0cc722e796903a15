"""The simulated host answers as the table says; tests/lab/test_contract.py holds real systemd against the same one."""

from __future__ import annotations

from typing import Any

import pytest

from cutover.simulator import rules
from cutover.simulator.fleet import Fleet
from tests.simulator.base import sample_host
from tests.simulator.contract import CASES, hold


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_the_simulated_host_answers_as_the_table_says(case: dict[str, Any]) -> None:
    host = sample_host()
    fleet = Fleet(hosts={host.name: host})

    def run(argv: list[str], stdin: str) -> tuple[int, str, str]:
        rules.check(host, tuple(argv), "")
        answer = rules.answer(host, tuple(argv), stdin, fleet.now)
        fleet.notice(host)
        fleet.advance(fleet.now + answer.takes)
        return answer.exit, answer.stdout, answer.stderr

    hold(case, run)
