"""Small runbooks, put together line by line."""

from cutover.simulator.faults import At, FailCommand
from cutover.simulator.fleet import Fleet
from tests.engine.harness import Trial, plan_of

HEAD = """
title: commands
sites: {a: {web: [alice]}, b: {web: [bob, carol]}}
announcement: {waived: a test}
"""


def command(name: str, on: str = "alice", *, more: str = "", do: str = "", **step: object) -> str:
    fields = "".join(f", {key}: {value}" for key, value in step.items())
    do = do or f"[touch, /tmp/{name}]"
    return f"  - {name}: {{command: {{on: {on}, do: {do}, undo: [rm, -f, /tmp/{name}]{more}}}{fields}}}\n"


def probed(name: str) -> str:
    return f", probe: {{run: [test, -e, /tmp/{name}], done: {{exit: 0}}, not_done: {{exit: 1}}}}"


def steps(*lines: str, head: str = "") -> str:
    return f"{HEAD}{head}steps:\n{''.join(lines)}"


def trial(*lines: str, head: str = "", **options) -> Trial:
    return Trial(plan_of(steps(*lines, head=head)), **options)


def broken(name: str, times: int = 1) -> FailCommand:
    return FailCommand(At(argv=f"touch /tmp/{name}", times=times), stderr="no luck")


def world(fleet: Fleet) -> dict:
    """What a way back has to bring back."""
    return {
        name: ({unit: is_.active for unit, is_ in host.units.items()}, host.files, host.owner)
        for name, host in fleet.hosts.items()
    }


ASK = "  - ready: {ask: {question: Go on?}}\n"
SLOW = command("slow", do="[sleep, '10']")
