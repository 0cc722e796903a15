"""What the tests of kinds share: parameters to a kind, stages to text, data to replies."""

import json
from collections.abc import Iterator
from typing import Any

from pydantic import TypeAdapter

from cutover.model.channels import AnyChannel, Channel
from cutover.model.effects import Command, CommandReply, Effect, Http, OnHost, Reply, sealed_text
from cutover.model.kind import Act, Acts, Ask, Check, Cross, Kind, Poll, Scope, Stage
from cutover.steps import KINDS

SITES: dict[str, dict[str, tuple[str, ...]]] = {
    "basement": {"db": ("alice",), "web": ("yakko", "dot")},
    "hetzner": {"db": ("nixie",), "web": ("freud", "fritz")},
    "edge": {"pop": ("fra1",)},
}
CHANNELS: dict[str, Channel] = TypeAdapter(dict[str, AnyChannel]).validate_json(json.dumps({
    "status": {"kind": "statuspage", "page": "abc", "token": "${secret:page}", "lives_on": "elsewhere"},
    "toots": {"kind": "mastodon", "server": "https://social.example", "token": "${secret:t}", "lives_on": "basement"},
    "chat": {"kind": "discord", "url": "${secret:hook}", "lives_on": "elsewhere"},
}))  # fmt: skip
SCOPE = Scope(sites=SITES, step="the-step", timeout=30.0, channels=CHANNELS)

# What systemd says of a unit that is up and of which nothing is special.
UNIT = {
    "Type": "simple", "Result": "success", "LoadState": "loaded", "ActiveState": "active", "SubState": "running",
    "DropInPaths": "", "UnitFileState": "enabled", "NeedDaemonReload": "no", "ConditionResult": "yes",
    "InvocationID": "aaaa",
}  # fmt: skip


def kind(name: str, **params: Any) -> Kind:
    """A kind as the loader makes it: from JSON."""
    return KINDS[name].model_validate_json(json.dumps(params))


def acts(stages: tuple[Stage, ...]) -> list[Act]:
    return [act for stage in stages if isinstance(stage, Acts) for act in stage.acts]


def polled(stages: tuple[Stage, ...]) -> list[Check]:
    return [check for stage in stages if isinstance(stage, Poll) for check in stage.checks]


def effects(of: Kind, scope: Scope = SCOPE) -> Iterator[Effect]:
    """Every effect that a step of this kind may send."""
    stages = of.unfold(scope)
    for check in (*of.checks(scope), *polled(stages)):
        yield check.effect
    for act in acts(stages):
        undo = act.undo(None) if act.undo else None
        for each in (act, undo) if undo else (act,):
            yield each.effect
            yield from [each.before] if each.before else []
            yield from [each.probe.effect] if each.probe else []


def render(stages: tuple[Stage, ...]) -> str:
    """Stages as text, for golden files."""
    return "\n".join(line for stage in stages for line in _stage(stage)) + "\n"


def _stage(stage: Stage) -> Iterator[str]:
    match stage:
        case Acts(acts=acts):
            yield "all at once:" if stage.enough == "all" else "until one is done:"
            for act in acts:
                yield from (f"  {line}" for line in _act(act))
                undo = act.undo(None) if act.undo else None
                yield from (f"    back: {line}" if not line.startswith(" ") else f"    {line}" for line in _act(undo))
        case Poll():
            yield f"until {stage.title}: every {stage.interval:g}s, {stage.steady:g}s long, within {stage.deadline}s"
            for check in stage.checks:
                yield f"  {check.key}: {check.title}"
                yield from _effect(check.effect)
        case Ask():
            arms = ", ".join(sorted(stage.arms)) or "nothing"
            yield f"ask {stage.question!r}, typed: {stage.typed}, arms: {arms}, silence: {stage.silence} {stage.until}"
        case Cross():
            yield f"over the {stage.point} point"


def _act(act: Act | None) -> Iterator[str]:
    if act is None:
        return
    flags = [
        word
        for word, on in (
            ("disruptive", act.disruptive),
            ("probed", act.probe),
            ("read first", act.before),
            ("beside", act.beside),
        )
        if on
    ]
    if isinstance(act.effect, OnHost) and act.effect.idempotent:
        flags.append("idempotent")
    yield f"{act.key}: {act.title} ({', '.join(flags)})"
    yield from _effect(act.effect)


def _effect(effect: Effect) -> Iterator[str]:
    if isinstance(effect, OnHost):
        for guard in effect.guards:
            yield f"    only if {' '.join(guard.argv)} says {guard.want.splitlines()[-1]!r}"
        yield from (f"    $ {_line(command)}" for command in effect.commands)
    if isinstance(effect, Http):
        headers = "".join(f", {name}: {sealed_text(value)}" for name, value in effect.headers)
        yield f"    {effect.method} {sealed_text(effect.url)}{headers} ({effect.timeout:g}s)"


def _line(command: Command) -> str:
    stdin = sealed_text(command.stdin)
    argv = ["systemctl", "show", "…", command.argv[-1]] if command.argv[:2] == ("systemctl", "show") else command.argv
    return f"{' '.join(argv)}{f' <<< {stdin!r}' if stdin else ''}"


def reply(data: dict[str, Any]) -> Reply:
    """A reply from data: `unit` (or `units`) is what `systemctl show` says, `exits` plain exits before it."""
    if "status" in data:
        headers = tuple(data.get("headers", {}).items())
        return Reply(
            outcome="answered", status=data["status"], headers=headers, body=data.get("body", "").encode(), seconds=0.12
        )
    commands = [
        CommandReply(each) if isinstance(each, int) else CommandReply(
            each.get("exit", 0), each.get("stdout", "").encode(), each.get("stderr", "").encode()
        )
        for each in data.get("commands", [])
    ]  # fmt: skip
    if "unit" in data:
        commands.append(CommandReply(0, show(**data["unit"])))
    commands += [CommandReply(0, text.encode()) for text in data.get("then", [])]
    return Reply(outcome="answered", commands=tuple(commands))


def show(**properties: str) -> bytes:
    """The output of `systemctl show`."""
    return "".join(f"{name}={value}\n" for name, value in {**UNIT, **properties}.items()).encode()
