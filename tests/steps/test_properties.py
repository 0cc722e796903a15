"""What holds for every kind, whatever the parameters."""

import json
import re
import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cutover.checks import units
from cutover.model.effects import (
    Reply,
    SecretRef,
    effect_from_json,
    effect_to_json,
    reply_from_json,
    reply_to_json,
    sealed_text,
)
from cutover.model.kind import Ask, Cross, Kind, Poll, Scope, ScopeError
from cutover.model.sealed import parse_sealed, plain_secrets
from tests.steps.rendering import SCOPE, acts, effects, kind, polled, render, reply, show

KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]*")

hosts = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,12}", fullmatch=True)
scopes = st.lists(hosts, min_size=3, max_size=6, unique=True).map(
    lambda names: Scope(
        sites={"old": {"web": tuple(names[:2])}, "new": {"web": tuple(names[2:])}}, step="s", timeout=9.0
    )
)
stems = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,12}(@[a-z0-9.]{1,4})?", fullmatch=True)
unit_names = st.builds(lambda stem, suffix: f"{stem}.{suffix}", stems, st.sampled_from(units.SUFFIXES))
words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
argvs = st.builds(
    lambda first, rest: [first, *rest], st.from_regex(r"[a-z/][a-z/.]{0,8}", fullmatch=True), st.lists(words)
)


@st.composite
def services(draw: st.DrawFn) -> Kind:
    named = draw(st.lists(unit_names, min_size=1, max_size=4, unique=True))
    cut = draw(st.integers(0, len(named)))
    options: dict[str, Any] = {"hold_down": draw(st.booleans()), "one_site_only": draw(st.booleans())}
    return kind(
        "services",
        on=draw(st.sampled_from(["old", ["new.web", "old"]])),
        stop=named[:cut],
        start=named[cut:],
        **options,
    )


@st.composite
def commands(draw: st.DrawFn) -> Kind:
    do = draw(st.one_of(argvs, st.lists(argvs, min_size=1, max_size=3)))
    options: dict[str, Any] = {"undo": draw(st.none() | argvs), "stdin": draw(words)}
    if draw(st.booleans()):
        options |= {"as": "app", "cwd": "/srv", "env": {"A": draw(words)}, "probe": {"run": draw(argvs)}}
    return kind("command", on=["old", "new"], do=do, **options)


kinds = st.one_of(services(), commands())


@given(kinds, scopes)
def test_keys_are_unique_and_fit_into_a_receipts_name(step: Kind, scope: Scope) -> None:
    stages = step.unfold(scope)
    all_acts = acts(stages)
    undos = [undo for act in all_acts if act.undo and (undo := act.undo(None))]
    keys = [act.key for act in (*all_acts, *undos)]
    keys += [check.key for check in (*polled(stages), *step.checks(scope))]
    keys += [stage.key for stage in stages if isinstance(stage, Poll | Ask)]
    assert len(keys) == len(set(keys))
    assert all(KEY.fullmatch(key) for key in keys)


@given(kinds, scopes)
def test_unfolding_twice_gives_the_same(step: Kind, scope: Scope) -> None:
    assert render(step.unfold(scope)) == render(step.unfold(scope))
    assert list(effects(step, scope)) == list(effects(step, scope))


@given(kinds, scopes)
def test_effects_survive_the_journal(step: Kind, scope: Scope) -> None:
    for effect in effects(step, scope):
        assert effect_from_json(json.loads(json.dumps(effect_to_json(effect)))) == effect


@given(kinds, scopes)
def test_readings_are_not_acts_and_undos_may_run_twice(step: Kind, scope: Scope) -> None:
    for act in acts(step.unfold(scope)):
        undo = act.undo(None) if act.undo else None
        for each in (act, undo) if undo else (act,):
            assert not each.effect.reads
            for reading in (each.before, each.probe.effect if each.probe else None):
                assert reading is None or getattr(reading, "reads", False)
        assert undo is None or getattr(undo.effect, "idempotent", False)


@given(argvs, words)
def test_every_word_arrives_as_it_is_written(argv: list[str], value: str) -> None:
    step = kind("command", on="alice", do=argv, env={"X": value}, cwd="/d", **{"as": "u"})
    (act,) = acts(step.unfold(SCOPE))
    assert act.effect.commands[0].argv == (*shlex.split("sudo -n -u u -- env -C /d"), f"X={value}", *argv)  # type: ignore[union-attr]


names = st.from_regex(r"[A-Z][A-Za-z]{0,10}", fullmatch=True)
values = st.text(st.characters(exclude_characters="\n\0", exclude_categories=["Cs"]))


@given(st.dictionaries(names, values))
def test_show_is_read_as_it_is_written(properties: dict[str, str]) -> None:
    output = "".join(f"{name}={value}\n" for name, value in properties.items()).encode()
    assert units.parse_show(output) == properties


@given(st.binary())
def test_no_answer_of_a_host_makes_a_traceback_or_a_green_verdict(noise: bytes) -> None:
    answer = reply({"commands": []})
    for commands_ in ((), tuple(reply({"commands": [{"stdout": noise.decode("latin-1")}, 0]}).commands)):
        answer = Reply(outcome="answered", commands=commands_)
        stages = kind("services", on="alice", stop=["a"], start=["b"]).unfold(SCOPE)
        for check in polled(stages):
            assert not check.judge(answer).passed
        for act in acts(stages):
            assert act.probe
            assert act.probe.judge(answer, answer).done == "unknown"
            assert act.judge
            assert not act.judge(answer).passed


@given(st.text())
def test_unit_names_are_parsed_or_refused(text: str) -> None:
    try:
        name = units.parse_unit(text)
    except ValueError:
        return
    assert units.parse_unit(name) == name
    assert not name.startswith(("-", "."))
    assert KEY.fullmatch(f"x.{name}")
    assert "/" not in units.hold_file(name).removeprefix("/etc/systemd/system/").replace(".d/cutover-held.conf", "")


@given(unit_names)
def test_every_usual_unit_name_is_taken(name: str) -> None:
    assert units.parse_unit(name) == name


@pytest.mark.parametrize(
    ("written", "unit"),
    [
        ("puma", "puma.service"),
        ("puma.service", "puma.service"),
        ("postgresql@15-main", "postgresql@15-main.service"),
        ("app.v2", "app.v2.service"),
        ("tootctl-media.timer", "tootctl-media.timer"),
        ("-rf", None),
        ("", None),
        (".service", None),
        ("a b", None),
        ("../x", None),
        ("puma@.service", None),
        ("data.mount", None),
        ("a*", None),
        ("a\n", None),
        ("x" * 130, None),
    ],
)
def test_unit_names(written: str, unit: str | None) -> None:
    if unit:
        assert units.parse_unit(written) == unit
    else:
        with pytest.raises(ValueError, match="expected"):
            units.parse_unit(written)


@given(st.text(st.characters(exclude_characters="\0")))
def test_sealed_text_reads_back(text: str) -> None:
    try:
        sealed = parse_sealed(text)
    except ValueError:
        assert "${secret:" in text
    else:
        assert sealed_text(sealed) == text


def test_secrets_are_taken_apart_only_where_they_may_stand() -> None:
    sealed = kind("command", on="alice", do=["x"], stdin="a ${secret:one}${secret:two.b} z")
    assert getattr(sealed, "stdin") == ("a ", SecretRef("one"), SecretRef("two.b"), " z")  # noqa: B009
    assert list(plain_secrets(sealed)) == []
    plain = kind("command", on="alice", do=[["x"], ["y", "--key=${secret:k}"]], env={"A": "${secret:k}"})
    assert list(plain_secrets(plain)) == [("do", 1, 1), ("env", "A")]


def test_an_effect_and_its_json_never_hold_more_than_the_name() -> None:
    step = kind(
        "http_check", get="https://x/?k=${secret:k}", header={"Authorization": "Bearer ${secret:t}"}, within="1m"
    )
    (effect,) = effects(step)
    assert effect_to_json(effect)["headers"] == [["Authorization", ["Bearer ", {"secret": "t"}]]]


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("services", {"on": "alice"}),
        ("services", {"on": "alice", "stop": ["a"], "start": ["a.service"]}),
        ("services", {"on": "alice", "stop": ["a", "a"]}),
        ("services", {"on": "alice", "start": ["a"], "stays_down": "because"}),
        ("services", {"on": [], "stop": ["a"]}),
        ("services", {"on": "alice", "stop": ["a b"]}),
        ("services", {"on": "alice", "stop": ["a"], "unit": "a"}),
        ("command", {"on": "alice", "do": []}),
        ("command", {"on": "alice", "do": "reboot"}),
        ("command", {"on": "alice", "do": ["sleep", 5]}),
        ("command", {"on": "alice", "do": [["a"], "b"]}),
        ("command", {"on": "alice", "do": ["-x"]}),
        ("command", {"on": "alice", "do": ["A=b", "x"]}),
        ("command", {"on": "alice", "do": ["a\0"]}),
        ("command", {"on": "alice", "do": ["a"], "as": "-u root"}),
        ("command", {"on": "alice", "do": ["a"], "cwd": "here"}),
        ("command", {"on": "alice", "do": ["a"], "env": {"A-B": "x"}}),
        ("command", {"on": "alice", "do": ["a"], "probe": {"run": ["a"], "not_done": {"exit": 0}}}),
        ("command", {"on": "alice", "do": ["a"], "probe": {"run": [["a"], ["b"]]}}),
        ("command", {"on": "alice", "do": ["a"], "stdin": "${secret:}"}),
        ("ask", {"question": "x", "until": "1m", "silence": {"back": "2m"}}),
        ("ask", {"question": "x", "arms": ["firm"]}),
        ("ask", {"question": ""}),
        ("http_check", {"get": "ftp://x"}),
        ("http_check", {"get": "http://x y"}),
        ("http_check", {"get": "http://x", "every": "0s"}),
        ("http_check", {"get": "http://x", "header": {"A B": "x"}}),
        ("point", {"is": "no"}),
    ],
)
def test_what_makes_no_sense_is_refused(name: str, params: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        kind(name, **params)


def test_an_unknown_host_is_named() -> None:
    with pytest.raises(ScopeError, match="bob"):
        kind("services", on=["alice", "bob"], stop=["a"]).unfold(SCOPE)


def test_what_review_is_told() -> None:
    step = kind("services", on="basement.web", stop=["a.timer"], start=["b"], stays_down="it is old")
    changes = [
        (each.host, each.unit, each.up, each.one_site_only, each.stays_down) for each in step.unit_changes(SCOPE)
    ]
    assert changes == [
        ("yakko", "a.timer", False, True, "it is old"),
        ("dot", "a.timer", False, True, "it is old"),
        ("yakko", "b.service", True, True, None),
        ("dot", "b.service", True, True, None),
    ]
    assert step.disruptive(SCOPE)
    assert not kind("services", on="alice", start=["a"]).disruptive(SCOPE)
    assert kind("command", on="alice", do=["a"]).disruptive(SCOPE)
    assert not kind("command", on="alice", do=["a"], harmless=True).disruptive(SCOPE)
    assert kind("command", on="alice", do=["a"], harmless=True).claims_nothing_to_undo() == "it is declared harmless"
    assert kind("command", on="alice", do=["a"]).claims_nothing_to_undo() is None
    assert kind("point", **{"is": "hard"}).unfold(SCOPE) == (Cross("hard"),)
    assert kind("http_check", get="http://x").unfold(SCOPE)[0].deadline is None  # type: ignore[union-attr]


def test_what_was_read_before_survives_the_journal() -> None:
    before = Reply(outcome="answered", commands=(*reply({"unit": {}}).commands,))
    again = reply_from_json(json.loads(json.dumps(reply_to_json(before))))
    assert units.state_in(again, "a.service") == units.state_in(before, "a.service")
    assert units.parse_show(show())["ActiveState"] == "active"
