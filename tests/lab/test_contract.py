"""Real systemd and coreutils answer as the table says that the simulator is held against."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lab.lab import Lab
from tests.simulator.contract import CASES, hold

pytestmark = pytest.mark.lab


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_a_real_host_answers_as_the_table_says(lab: Lab, case: dict[str, Any]) -> None:
    lab.reset("yakko")
    yakko = lab.host("yakko")

    def run(argv: list[str], stdin: str) -> tuple[int, str, str]:
        done = yakko.run(argv, user="deploy", env={"LC_ALL": "C"}, check=False, input=stdin)
        return done.returncode, done.stdout, done.stderr

    hold(case, run)
