"""Starting runs, resuming them, and seeing where they stand."""

import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from cutover import wiring
from cutover.cli import interrupts
from cutover.cli.answers import read_answers
from cutover.cli.attach import detached, follow
from cutover.cli.output import Output
from cutover.cli.overview import exit_code, overview, status_json, words
from cutover.cli.questions import question_text
from cutover.errors import CutoverError, ExitCode
from cutover.journal.directory import RunDirectory, list_runs
from cutover.model.kind import Ask
from cutover.model.plan import Plan
from cutover.model.run_state import RunState
from cutover.model.units import show_duration
from cutover.planning.points import points_of, some
from cutover.planning.problems import rendered, texts_of
from cutover.planning.review import reviewed_plan
from cutover.steps import KINDS
from cutover.transports.clock import RealClock


def run(args: Namespace) -> ExitCode:
    """`cutover run RUNBOOK`."""
    output = Output()
    try:
        made = _made(args, output)
    except KeyboardInterrupt:
        made = None
    if made is None:
        output.talk("Nothing was started.")
        return ExitCode.INTERRUPTED
    return _driven(made, args, output)


def _made(args: Namespace, output: Output) -> RunDirectory | None:
    """The run that was asked for, not started yet; None where that was not agreed to."""
    inventory = Path(args.inventory) if args.inventory else None
    source = wiring.read_source(Path(args.runbook), inventory=inventory, overrides=args.var)
    plan, warnings = reviewed_plan(source, KINDS)
    answers = read_answers(Path(args.answers), plan) if args.answers else {}
    for line in announcement(plan):
        output.talk(line)
    if warnings:
        output.talk(rendered(warnings, texts_of(source)))
    dies = wiring.survives_logout()
    output.talk(dies or "The run goes on when this terminal closes.")
    if not args.yes and sys.stdin.isatty() and not args.json and not _agreed(output):
        return None
    with interrupts.kept() as pressed:
        made = wiring.create_run(plan, answers=answers, world=args.world)
        if pressed():
            wiring.discard_run(made)
    return made


def announcement(plan: Plan) -> Iterator[str]:
    """What a run is about to do, in a few lines."""
    yield f"{plan.title} · plan {plan.short_hash} · {'pinned' if plan.pinned else 'not pinned'}"
    acted = [host.name for host in plan.hosts.values() if host.acted_upon]
    yield f"{_count(len(plan.steps), 'step')}; acts on {some(acted) if acted else 'no host'}"
    asking = [step.name for step in plan.steps if any(isinstance(stage, Ask) for stage in step.stages)]
    yield f"Asks at {some(asking)}." if asking else "Asks nothing unless something goes wrong."
    points = points_of(plan)
    crossed = [f"the {word} one at {name}" for word, name in (("soft", points.soft), ("hard", points.hard)) if name]
    yield f"Points of no return: {', '.join(crossed)}." if crossed else "It has no point of no return."
    if plan.downtime:
        announced, budget = show_duration(plan.downtime.announced), show_duration(plan.downtime.budget)
        yield f"Downtime: announced {announced}; after {budget} it asks whether to go on."


def resume(args: Namespace) -> ExitCode:
    """`cutover resume RUN`."""
    output, found = Output(), wiring.find_run(args.run)
    with wiring.open_reader(found) as reader:
        events = reader.events()
    state = wiring.run_state(found)
    if state.ended:
        output.talk(f"Run {found.id} is {words(state.status)}; there is nothing to resume.")
        return exit_code(state, alive=False)
    if wiring.engine_answers(found):
        output.talk(f"An engine ({state.owner}) drives run {found.id} already; this attaches to it.")
    else:
        output.talk(_what_was_open(found, state))
        return _driven(found, args, output, after=events[-1].seq if events else 0, take_over=args.take_over)
    return _stay(found, args, output, after=events[-1].seq if events else 0)


def _driven(
    found: RunDirectory, args: Namespace, output: Output, *, after: int = 0, take_over: bool = False
) -> ExitCode:
    """Give the run an engine, and stay with it. From the moment there is one, Ctrl-C only detaches."""
    process = None
    try:
        seen = wiring.last_seq(found)
        with interrupts.kept():
            process = wiring.start_engine(found, take_over=take_over)
        wiring.await_engine(found, process, seen)
        return _stay(found, args, output, after=after)
    except KeyboardInterrupt:
        output.talk(detached(found.id) if process else "Nothing was started.")
        return ExitCode.INTERRUPTED


def _what_was_open(found: RunDirectory, state: RunState) -> str:
    open_steps = [name for name, step in state.steps.items() if step.status in ("checking", "acting", "undoing")]
    lines = [
        f"Run {found.id} “{state.title}” is {words(state.status)}; its last engine was {state.owner or 'never up'}."
    ]
    begun = [act.title for step in state.steps.values() for act in step.acts.values() if act.status == "begun"]
    if begun:
        lines.append(f"Begun, and nobody knows yet how it ended: {'; '.join(begun)}. That is looked at first.")
    elif open_steps:
        lines.append(f"Under way: {', '.join(open_steps)}.")
    if state.questions:
        lines.append(f"Asked and not answered: {', '.join(state.questions)}.")
    return "\n".join(lines)


def _stay(found: RunDirectory, args: Namespace, output: Output, *, after: int = 0) -> ExitCode:
    if args.detach:
        output.talk(f"Run {found.id} is under way. `cutover attach {found.id}` follows it.")
        output.json({"run": found.id}) if args.json else output.say(found.id)
        return ExitCode.OK
    if sys.stdin.isatty():
        output.talk(f"Ctrl-C detaches and the run goes on; `cutover attach {found.id}` comes back.")
    return follow(found, as_json=args.json, wait=args.wait, fresh=not after, after=after)


def status(args: Namespace) -> ExitCode:
    """`cutover status [RUN]`."""
    output, found = Output(), wiring.find_run(args.run)
    with wiring.open_reader(found) as reader:
        events = reader.events()
    state = wiring.run_state(found)
    alive = wiring.engine_answers(found)
    if args.json:
        output.json(status_json(state, alive=alive))
    else:
        now = RealClock().utc()
        budget = events[0].body.get("budget") if events else None
        silent = None if alive else wiring.silent_engine(found)
        for mark, text in overview(state, now=now, alive=alive, budget=budget, silent=silent):
            output.marked("", mark, text)
        for question in state.questions.values():
            output.marked("", "◆", question_text(found.id, question, now=now))
    return exit_code(state, alive) if args.exit_code else ExitCode.OK


def runs(args: Namespace) -> ExitCode:
    """`cutover runs`."""
    output = Output()
    found = list_runs()
    if not found and not args.json and not args.ids:
        output.talk("There are no runs yet: `cutover run RUNBOOK` starts one.")
    for each in found:
        if args.ids:
            output.say(each.id)
            continue
        try:
            state = wiring.run_state(each)
        except CutoverError as problem:
            output.json({"run": each.id, "error": str(problem)}) if args.json else output.marked(
                "", "✗", f"{each.id}  {problem}"
            )
            continue
        alive = not state.ended and wiring.engine_answers(each)
        if args.json:
            output.json(status_json(state, alive=alive))
        else:
            mark, text = overview(state, now=RealClock().utc(), alive=alive)[0]
            output.marked("", mark, text)
    return ExitCode.OK


def _agreed(output: Output) -> bool:
    output.prompt("Start it? Type yes: ")
    try:
        return sys.stdin.readline().strip().lower() == "yes"
    except UnicodeDecodeError:
        return False


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
