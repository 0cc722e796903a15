"""The plan as people and programs read it."""

import json
import re
from pathlib import Path

import pytest

from cutover.model.plan import Plan, Source
from cutover.planning import planner, render
from cutover.steps import KINDS as REAL
from tests.planning.toys import HEAD, planned

EXAMPLE = Path(__file__).parent / "examples" / "rehearsal.yaml"
STEPS = """
  - go: {question: {text: "Go?", arms: [soft, hard], silence: back, until: 4m}}
  - stop: {units: {on: yakko, stop: [web]}, timeout: 90s, retries: 2, owner: web team}
  - log: {do: {on: alice, argv: [log, a b, "x'y"], stdin: "token ${secret:pg}"}, no_way_back: it is a log}
  - up: {until: {url: "https://x/?t=${secret:pg}", deadline: 30s, steady: 5s}}
  - data: {over: {point: soft}}
  - users: {over: {point: hard}, needs: [data, up]}
"""


@pytest.fixture
def plan() -> Plan:
    return planned(STEPS)


def test_the_whole_text(plan: Plan) -> None:
    assert (
        render.text(plan)
        == f"""\
A small move
plan {plan.hash}
NOT PINNED: nothing proves that the hosts are the right machines (`cutover pin`)
announcement waived: a rehearsal
downtime: 30m announced; at 5m the commander is asked: on, or back?
secret pg: env PG_PASSWORD
points of no return: soft at data, hard at users
who must be there: web team

Hosts
  alice  old: db   ssh alice  not pinned  acted upon
  yakko  old: web  ssh yakko  not pinned  acted upon
  wakko  old: web  ssh wakko  not pinned  only read
  nixie  new: db   ssh nixie  not pinned  only read
  freud  new: web  ssh freud  not pinned  only read
  fritz  new: web  ssh fritz  not pinned  only read

1. go: question, disrupts nothing
    begins at once
    asks: Go?
        go or back; go also passes the soft and the hard point, if all guards are green; silence goes back after 4m
    nothing to take back: it only asks
    way back after it: nothing to take back

2. stop: units, disrupts, web team answers for it, up to 2 retries
    waits: go is the step before it, and it names no other.
    only if yakko answers
        stop web on yakko
            yakko $ systemctl stop web
          taken back by: start web on yakko
                yakko $ systemctl start web
    way back after it: lossless; take back stop; about 2s

3. log: do, disrupts
    waits: stop is the step before it, and it names no other.
        do it on alice
            alice $ log 'a b' 'x'"'"'y'
              < token ${{secret:pg}}
    no way back: it is a log
    way back after it: lossless; take back stop, leave log as it is; about 2s

4. up: until, disrupts nothing
    waits: log is the step before it, and it names no other.
    waits for it answers: at most 30s, looking every 1s, true for 5s
        it answers
    way back after it: lossless; take back stop, leave log as it is; about 2s

5. data: over, disrupts nothing
    waits: up is the step before it, and it names no other.
    ◆ soft point of no return: passed on a person's typed go, given now or ahead
    way back after it: lossless only while nobody but the engine has written on the new side since data; \
take back stop, leave log as it is; about 2s

6. users: over, disrupts nothing
    waits: data is in its 'needs'.
    waits: up is in its 'needs'.
    ◆ hard point of no return: passed on a person's typed go, given now or ahead
    way back after it: closed: users was the hard point of no return; back means a second cutover the other way
"""
    )


def test_readings_are_shown_when_asked_for(plan: Plan) -> None:
    text = render.text(plan, readings=True)
    assert "    only if yakko answers\n        yakko $ true\n" in text
    assert "        it answers\n            GET https://x/?t=${secret:pg}\n" in text


def test_nothing_from_a_runbook_reaches_the_terminal_as_it_is() -> None:
    plan = planned(
        '  - go: {question: {text: "\\e[2J\\u202e\\nnext"}}\n', head=HEAD.replace("A small", '"\\e]0;A small"#')
    )
    for text in (render.text(plan), render.text(plan, readings=True), render.mermaid(plan)):
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
    assert "asks: \\x1b[2J\\u202e\\nnext\n" in render.text(plan)


def test_json_holds_it_all(plan: Plan) -> None:
    data = json.loads(render.json_text(plan))
    assert data["hash"] == plan.hash
    assert data["points"] == {"soft": "data", "hard": "users"}
    assert [step["step"] for step in data["steps"]] == ["go", "stop", "log", "up", "data", "users"]
    assert data["steps"][1]["stages"][0]["acts"][0]["undo"]["title"] == "start web on yakko"
    assert [way["lossless"] for way in data["way_back"]] == [True, True, True, True, False, False]
    assert data["way_back"][-1]["closed"]
    assert {"secret": "pg"} in data["steps"][2]["stages"][0]["acts"][0]["effect"]["commands"][0]["stdin"]


def test_mermaid(plan: Plan) -> None:
    assert (
        render.mermaid(plan)
        == """\
flowchart TD
    s1{{"go<br/>question"}}
    s2["stop<br/>units"]
    s3["log<br/>do"]
    s4["up<br/>until"]
    s5[["data<br/>over<br/>◆ soft point of no return"]]
    s6[["users<br/>over<br/>◆ hard point of no return"]]
    s1 --> s2
    s2 --> s3
    s3 --> s4
    s4 --> s5
    s5 --> s6
    s4 --> s6
    classDef disrupts stroke-width:3px
    class s2,s3 disrupts
    classDef point stroke-dasharray:6 3
    class s5,s6 point
"""
    )


def test_a_plan_of_the_real_kinds_shows_every_command() -> None:
    plan = planner.plan(Source(EXAMPLE.name, EXAMPLE.read_text()), REAL)
    text = render.text(plan)
    for words in ("systemctl stop app-web.service", "taken back by: ", "/usr/local/bin/login", "< ${secret:db}"):
        assert words in text
    assert "secret db: command pass show cutover/db" in text
    json.loads(render.json_text(plan))
