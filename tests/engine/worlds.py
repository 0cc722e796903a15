"""A plan with every kind of act, forward and back, and what must hold of every run of it, whatever went wrong."""

from collections import Counter
from collections.abc import Iterator

from cutover.model.effects import OnHost
from cutover.simulator.fleet import Fleet
from cutover.simulator.healthy import healthy
from tests.engine.harness import Trial, plan_of

PLAN = plan_of("""
title: everything that acts
sites: {old: {web: [yakko]}, new: {web: [freud, fritz]}}
announcement: {waived: a test}
steps:
  - stop-old: {services: {stop: [app-web], on: old.web}}
  - mark:
      command:
        on: [yakko, freud]
        do: [touch, /var/tmp/mark]
        probe: {run: [test, -e, /var/tmp/mark], done: {exit: 0}, not_done: {exit: 1}}
        undo: [rm, -f, /var/tmp/mark]
  - plain:
      command:
        on: fritz
        do: [[touch, /var/tmp/a], [touch, /var/tmp/b]]
        undo: [rm, -f, /var/tmp/a, /var/tmp/b]
  - start-new: {services: {start: [app-web], on: new.web}}
  - ready: {ask: {question: "Go on?", arms: [soft]}}
  - over: {point: {is: soft}}
  - proved: {http_check: {get: "http://freud:3000/", within: 60s}}
""")

ACTS = {f"{step.name}.{act.key}": act for step in PLAN.steps for act in step.acts}
ONCE = {name for name, act in ACTS.items() if isinstance(act.effect, OnHost) and not act.effect.idempotent}
FILES = ("/var/tmp/mark", "/var/tmp/a", "/var/tmp/b", "/etc/systemd/system/app-web.service.d/cutover-held.conf")

# Seconds after which an engine that waits for a host asks a person: an act's timeout and a call's.
LONGEST = 90.0


def broken_promises(trial: Trial) -> list[str]:
    """What should never be, each as a sentence."""
    promises = (_twice, _stale, _open_ends, _unheeded, _stuck, _wrong_end)
    return [sentence for promise in promises for sentence in promise(trial)]


def _twice(trial: Trial) -> Iterator[str]:
    """S7: what is not idempotent acts once, and once more for each time that it was found not done."""
    acted: Counter[tuple[str, str]] = Counter()
    for done in trial.fleet.history:
        acted[done.receipt.partition("/")[2].rpartition(".")[0], " ".join(done.argv)] += 1
    found = Counter(
        f"{event.step}.{event.body['key']}" for event in trial.of("act.probed") if event.body["done"] == "not_done"
    )
    for (act, line), count in acted.items():
        if act in ONCE and count > 1 + found[act]:
            yield f"{act}: `{line}` acted {count} times, and was found not done {found[act]} times"


def _stale(trial: Trial) -> Iterator[str]:
    """S13: nothing acts with a token after a newer one was taken on its host."""
    tokens = {}
    for event in trial.of("act.intent"):
        effect = event.body["effect"]
        receipt = effect["receipt"]
        tokens[f"{receipt['run']}/{receipt['act']}.{receipt['attempt']}"] = effect["claim"]["token"]
    for done in trial.fleet.history:
        if done.receipt not in tokens:
            yield f"{done.receipt} acted without an intent"
            continue
        newer = [event.body["token"] for event in trial.of("claim.taken") if event.host == done.host
                 and event.mono < done.at and event.body["token"] > tokens[done.receipt]]  # fmt: skip
        if newer:
            yield f"{done.receipt} acted on {done.host} with token {tokens[done.receipt]} after {newer}"


def _open_ends(trial: Trial) -> Iterator[str]:
    """J4: at the end nobody is left to wonder whether something was done."""
    if trial.state.status not in ("done", "rolled_back"):
        return
    left = {name for name, step in trial.state.steps.items() if step.status == "skipped" or step.why == "test"}
    for name, step in trial.state.steps.items():
        for key, act in step.acts.items():
            if act.status == "begun" and name not in left and act.host not in trial.state.excluded:
                yield f"{name}.{key} was begun, and nobody found out what became of it"


def _unheeded(trial: Trial) -> Iterator[str]:
    """What a person said counts from the moment at which it is durable, whoever dies then."""
    for answer in trial.of("question.answered"):
        acts = [
            event for event in trial.of("act.intent") if event.seq > answer.seq and ".undo" not in event.body["key"]
        ]
        if answer.body["choice"] == "back" and (acts or trial.state.status in ("running", "held", "done")):
            yield f"{answer.actor} said back, and the run went on"
        if answer.body["choice"] == "skip" and any(event.step == answer.step for event in acts):
            yield f"{answer.actor} said to skip {answer.step}, and it acted"


def _stuck(trial: Trial) -> Iterator[str]:
    """L2, L6: a run that has not ended waits for a person, and says for what."""
    state = trial.state
    if state.status in ("done", "rolled_back", "refused"):
        return
    at_work = trial.events[-1].mono > trial.loop_time - LONGEST
    if state.status not in ("held", "back_held") and not state.questions and not at_work:
        yield f"the run is {state.status}, and nobody is asked anything"
    for asked in state.questions.values():
        if len(asked["what"]) < 10:
            yield f"{asked['id']} says no more than {asked['what']!r}"


def _wrong_end(trial: Trial) -> Iterator[str]:
    """Done means done; S19: rolled back means that the old world is back, or what is not is outstanding."""
    state = trial.state
    if state.status == "rolled_back" and not state.outstanding:
        yield from _differs(trial.fleet, healthy(PLAN), "after the way back")
    believed = any(answer["choice"] in ("done", "skip") for answer in state.answers.values())
    if state.status == "done" and not believed and not state.excluded:
        whole = Trial(PLAN)
        whole.start()
        yield from _differs(trial.fleet, whole.fleet, "done")


def _differs(fleet: Fleet, wanted: Fleet, when: str) -> Iterator[str]:
    fleet = fleet.copy()
    fleet.advance(fleet.now + 300.0)  # whoever is booting has booted then
    for name, host in wanted.hosts.items():
        there = fleet.hosts[name]
        for unit, is_ in host.units.items():
            if there.boots > 1 and when == "done":
                continue  # what was started is not enabled: a reboot after the proof takes it down
            if there.units[unit].active != is_.active:
                yield f"{when}: {unit} on {name} is {there.units[unit].active}, not {is_.active}"
        for file in FILES:
            if (file in there.files) != (file in host.files):
                yield f"{when}: {file} on {name} is {'there' if file in there.files else 'missing'}"
