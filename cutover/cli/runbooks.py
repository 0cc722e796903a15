"""What is done with a runbook before it runs: write it, check it, pin it, plan it, try its checks."""

import asyncio
import json
from argparse import Namespace
from dataclasses import replace
from importlib import resources
from pathlib import Path

from cutover import wiring
from cutover.cli import hosts
from cutover.cli.output import Output
from cutover.errors import ExitCode, UsageError
from cutover.model.plan import Plan, Source
from cutover.model.text import visible_line
from cutover.planning import pins, planner, render
from cutover.planning.diagnostics import Diagnostic
from cutover.planning.problems import Refused, pins_file, rendered, texts_of
from cutover.planning.review import reviewed_plan
from cutover.planning.schema import schema as schema_of
from cutover.steps import KINDS

TEMPLATE = "runbook.yaml"


def init(args: Namespace) -> ExitCode:
    """`cutover init [FILE]`."""
    output, file = Output(), Path(args.file)
    text = resources.files("cutover.cli.templates").joinpath(TEMPLATE).read_text("utf-8")
    try:
        with file.open("x", encoding="utf-8") as new:
            new.write(text)
    except FileExistsError:
        raise UsageError(f"{file} is there already; it was left as it is") from None
    except OSError as problem:
        raise UsageError(f"{file} cannot be written: {problem.strerror}") from None
    output.say(f"{file} is written. Make it yours, then: cutover check {file}")
    return ExitCode.OK


def check(args: Namespace) -> ExitCode:
    """`cutover check RUNBOOK`."""
    output, source = Output(), _source(args)
    try:
        plan, warnings = reviewed_plan(source, KINDS)
    except Refused as refused:
        if not args.json:
            raise
        _json(output, refused.diagnostics, "error")
        return refused.exit_code
    if args.json:
        _json(output, warnings, "warning")
        return ExitCode.OK
    if warnings:
        output.talk(rendered(warnings, texts_of(source)))
    remarks = f", with {len(warnings)} remark{'s' if len(warnings) > 1 else ''}" if warnings else ""
    output.marked("", "✓", f"{source.file}: {len(plan.steps)} steps, plan {plan.short_hash}{remarks}")
    return ExitCode.OK


def _json(output: Output, found: "tuple[Diagnostic, ...] | list[Diagnostic]", severity: str) -> None:
    for diagnostic in found:
        output.json({"severity": severity, **diagnostic.to_json()})


def schema(_args: Namespace) -> ExitCode:
    """`cutover schema`."""
    Output().raw(json.dumps(schema_of(KINDS), indent=2, ensure_ascii=True) + "\n")
    return ExitCode.OK


def plan(args: Namespace) -> ExitCode:
    """`cutover plan RUNBOOK`. A plan that does not pass review is shown all the same, and the review on stderr."""
    output, source = Output(), _source(args)
    planned = planner.plan(source, KINDS)
    if args.json:
        output.raw(render.json_text(planned))
    elif args.mermaid:
        output.say(render.mermaid(planned).rstrip("\n"))
    else:
        output.say(render.text(planned, readings=args.readings).rstrip("\n"))
    _, warnings = reviewed_plan(source, KINDS)
    if warnings:
        output.talk(rendered(warnings, texts_of(source)))
    return ExitCode.OK


def pin(args: Namespace) -> ExitCode:
    """`cutover pin RUNBOOK`."""
    output, source = Output(), _source(args)
    planned = planner.plan(replace(source, pins=None), KINDS)  # by known_hosts: what was pinned may have changed
    now = asyncio.run(hosts.collect_pins(planned))
    file = Path(pins_file(source.file))
    before = pins.read(source.pins, str(file), list(planned.hosts))[0] if source.pins is not None else None
    changes = pins.diff(before, now)
    for line in changes:
        output.say(visible_line(line))
    if args.check:
        output.talk("Not as it was pinned; nothing was written." if changes else "Every host is as it was pinned.")
        return ExitCode.VIOLATION if changes else ExitCode.OK
    if not changes and before is not None:
        output.talk(f"{file} is as it was: nothing has changed.")
        return ExitCode.OK
    file.write_text(pins.written(now), encoding="utf-8")
    output.talk(f"{file} is written. Review it and commit it beside the runbook.")
    return ExitCode.OK


def preflight(args: Namespace) -> ExitCode:
    """`cutover preflight RUNBOOK`."""
    output, source = Output(), _source(args)
    planned, _ = reviewed_plan(source, KINDS)
    found = asyncio.run(hosts.preflight(planned))
    marks = {"passed": "✓", "failed": "✗", "unknown": "?"}
    for step, title, verdict in found:
        if args.json:
            shown = {"step": step, "check": title, "finding": verdict.finding, "because": verdict.because}
            output.json({**shown, "observed": verdict.observed})
        else:
            about = "" if title in verdict.because else f"{title}: "
            output.marked("", marks[verdict.finding], f"{step:<16} {about}{verdict.because}".lstrip())
    bad = sum(not verdict.passed for _, _, verdict in found)
    if not args.json:
        output.talk(_sum(planned, len(found), bad))
    return ExitCode.FAILED if bad else ExitCode.OK


def _sum(planned: Plan, count: int, bad: int) -> str:
    if not count:
        return f"{planned.title}: there is nothing to check."
    return (
        f"{planned.title}: {bad} of {count} checks are not green."
        if bad
        else f"{planned.title}: all {count} checks are green."
    )


def _source(args: Namespace) -> Source:
    inventory = Path(args.inventory) if args.inventory else None
    return wiring.read_source(Path(args.runbook), inventory=inventory, overrides=args.var)
