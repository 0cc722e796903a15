"""The table of what commands answer, and how a host is held against it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

Run = Callable[[list[str], str], tuple[int, str, str]]
"""Runs an argv with a stdin; returns exit, stdout, stderr."""

CASES: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("contract.yaml").read_text())
WILD = {"<hex>": "[0-9a-f]+", "<n>": "[0-9]+", "<any>": ".*"}


def hold(case: dict[str, Any], run: Run) -> None:
    """Run a case on a host. Raises AssertionError at the first answer that differs."""
    for step in case["steps"]:
        exit, out, err = run(shlex.split(step["run"]), step.get("stdin", ""))
        said = f"{step['run']}\nexit {exit}\nstdout: {out}\nstderr: {err}"
        assert exit == step.get("exit", 0), said
        assert _matches(step.get("out", ""), out), said
        assert _matches(step.get("err", ""), err), said


def _matches(wanted: str, found: str) -> bool:
    pattern = re.escape(wanted)
    for word, wild in WILD.items():
        pattern = pattern.replace(re.escape(word), wild)
    return re.fullmatch(pattern, found) is not None
