"""The plan as JSON-ready data: what `plan --json` prints, and what the hash of a plan is taken over.

Secrets appear by name only: effects never hold their values.
"""

import hashlib
import json
from dataclasses import asdict
from itertools import chain
from typing import Any

from cutover.model.effects import effect_to_json
from cutover.model.kind import Act, Acts, Ask, Check, Cross, Poll, Stage
from cutover.model.plan import Plan, PlanJson, Step
from cutover.model.runbook import Runbook

FORMAT = 1


def plan_json(plan: Plan) -> PlanJson:
    """Return the whole plan; it says nothing of the file's path or of line numbers."""
    return {**_head(plan), "hash": plan.hash, "steps": [step_json(step) for step in plan.steps]}


def step_json(step: Step) -> PlanJson:
    """Return one step: what it waits for, and every effect that it may have."""
    return {
        "step": step.name,
        "kind": step.kind.name,
        "params": step.kind.model_dump(mode="json", by_alias=True),
        "needs": list(step.needs),
        "why_waits": list(step.why_waits),
        "timeout": step.timeout,
        "retries": step.retries,
        "owner": step.owner,
        "nothing_to_undo": step.nothing_to_undo,
        "no_way_back": step.no_way_back,
        "disruptive": step.disruptive,
        "checks": [_check(check) for check in step.checks],
        "stages": [_stage(stage) for stage in step.stages],
    }


def digest(plan: Plan, runbook: Runbook) -> str:
    """Return the hash that names a plan: over what it will do, and all of the runbook that it was made from.

    It is the SHA-256 of lines of canonical JSON: the head of the plan, the runbook without its steps, each step.
    """
    hashed = hashlib.sha256()
    head = (_head(plan), runbook.model_dump(mode="json", exclude={"steps"}))
    for part in chain(head, map(step_json, plan.steps)):
        canonical = json.dumps(part, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        hashed.update(canonical.encode("ascii") + b"\n")
    return hashed.hexdigest()


def _head(plan: Plan) -> PlanJson:
    return {
        "format": FORMAT,
        "title": plan.title,
        "pinned": plan.pinned,
        "hosts": {name: _without_empty(asdict(host)) for name, host in plan.hosts.items()},
        "downtime": plan.downtime.model_dump(mode="json") if plan.downtime else None,
        "announcement": plan.announcement.model_dump(mode="json") if plan.announcement else None,
        "channels": {name: each.model_dump(mode="json") for name, each in plan.channels.items()},
        "measures": {name: each.model_dump(mode="json", exclude_none=True) for name, each in plan.measures.items()},
        "secrets": {name: each.model_dump(mode="json", exclude_none=True) for name, each in plan.secrets.items()},
    }


def _stage(stage: Stage) -> dict[str, Any]:
    match stage:
        case Acts(acts=acts):
            enough = {} if stage.enough == "all" else {"enough": stage.enough}
            return {"stage": "acts", **enough, "acts": [_act(act) for act in acts]}
        case Poll():
            return {
                "stage": "poll",
                "key": stage.key,
                "title": stage.title,
                "checks": [_check(check) for check in stage.checks],
                "interval": stage.interval,
                "deadline": stage.deadline,
                "steady": stage.steady,
            }
        case Ask():
            return {"stage": "ask", **asdict(stage), "arms": sorted(stage.arms)}
        case Cross(point=point):
            return {"stage": "cross", "point": point}


def _act(act: Act) -> dict[str, Any]:
    undo = act.undo(None) if act.undo else None
    data = {
        "key": act.key,
        "title": act.title,
        "host": act.host,
        "disruptive": act.disruptive,
        "beside": act.beside or None,
        "effect": effect_to_json(act.effect),
        "before": effect_to_json(act.before) if act.before else None,
        "probe": effect_to_json(act.probe.effect) if act.probe else None,
        "undo": _act(undo) if undo else None,
    }
    return _without_empty(data)


def _check(check: Check) -> dict[str, Any]:
    return _without_empty(
        {
            "key": check.key,
            "title": check.title,
            "host": check.host,
            "red": check.red,
            "effect": effect_to_json(check.effect),
        }
    )


def _without_empty(data: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if value is not None and value != ()}
