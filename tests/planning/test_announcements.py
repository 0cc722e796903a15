"""Channels, announcements and what review asks of them."""

import pytest

from cutover.model.plan import Plan, Source
from cutover.planning import planner, render
from cutover.planning.problems import Refused
from cutover.planning.review import review
from cutover.steps import KINDS

HEAD = """\
title: Announced
downtime: {announced: 30m, budget: 5m}
secrets: {t: {env: T}}
sites: {old: {web: [alice]}, new: {web: [bob]}}
channels:
  toots: {kind: mastodon, server: "https://social.example", token: "${secret:t}", lives_on: old}
  chat: {kind: discord, url: "${secret:t}", lives_on: elsewhere}
steps:
"""
STOP = "  - stop: {services: {stop: [app], on: alice, stays_down: it is old}}\n"


def made(steps: str, head: str = HEAD) -> Plan:
    return planner.plan(Source("x.yaml", head + steps), KINDS)


def errors(steps: str, head: str = HEAD) -> list[str]:
    return [f"{each.message} {each.hint}".strip() for each in review(made(steps, head)).errors]


def refused(text: str) -> str:
    with pytest.raises(Refused) as caught:
        planner.plan(Source("x.yaml", text), KINDS)
    return str(caught.value)


def tell(text: str = "We move.", **more: str) -> str:
    words = "".join(f", {name}: {value}" for name, value in more.items())
    return f'  - tell: {{announce: {{channels: [toots, chat], text: "{text}"{words}}}}}\n'


def test_a_start_that_is_confirmed_elsewhere_lets_disruption_begin() -> None:
    assert errors(tell() + STOP) == []


def test_the_place_says_what_is_announced() -> None:
    steps = tell() + "".join(f"  - {name}: {{announce: {{channels: chat, text: x}}}}\n" for name in ("a", "b"))
    assert [getattr(step.kind, "what", None) for step in made(steps).steps] == ["start", "update", "end"]
    assert [getattr(step.kind, "what", None) for step in made(tell()).steps] == ["start"]


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (STOP, "stop disrupts, and no announcement comes before it. Announce it, or add the line"),
        (STOP + tell(), "stop disrupts, and may begin before tell is confirmed. Let it need tell."),
        (tell() + STOP.replace("}}", "}, needs: []}"), "stop disrupts, and may begin before tell is confirmed."),
        ("  - tell: {announce: {channels: toots, text: x}}\n" + STOP,
         "stop disrupts, and tell is confirmed by no channel that lives elsewhere."),
        (tell(what="update") + STOP, "stop disrupts, and no announcement comes before it."),
    ],
)  # fmt: skip
def test_nothing_disrupts_before_that(steps: str, said: str) -> None:
    assert any(each.startswith(said) for each in errors(steps)), errors(steps)


def test_an_announcement_and_its_waiver_contradict_each_other() -> None:
    head = HEAD.replace("channels:", "announcement: {waived: nobody uses it}\nchannels:")
    assert errors(STOP, head) == []
    (said,) = errors(tell() + STOP, head)
    assert said.startswith("tell announces the downtime, and `announcement` says why nobody is told.")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("lives_on: old", "lives_on: olt", "channels.toots.lives_on: there is no site 'olt'. Did you mean 'old'?"),
        (", lives_on: old", "", "channels.toots needs 'lives_on'."),
        ("kind: discord", "kind: discrod", "there is no kind 'discrod'"),
        ('url: "${secret:t}"', 'url: "https://discord.com/api/1/x"', "expected a secret, such as"),
        ("https://social.example", "https://social.example/", "channels.toots.server: expected text that matches"),
        ('server: "https://social.example"', 'server: "https://${secret:t}"', "channels.toots.server"),
        ("steps:", "steps:\n  - x: {announce: {channels: [chat, mail], text: x}}", "x: there is no channel 'mail'."),
        ("steps:", "steps:\n  - x: {announce: {channels: chat, text: x, confirm: [toots]}}",
         "x: 'toots' should confirm, and is none of its channels."),
        ("steps:", "steps:\n  - x: {announce: {channels: [toots, chat], text: x, confirm: [toots]}}",
         "x: 'toots' lives on old: only a channel that lives elsewhere may confirm."),
        ("steps:", "steps:\n  - x: {announce: {channels: chat, text: x, what: end, confirm: all}}",
         "Only a start is confirmed; leave out 'confirm'."),
        ("steps:", "steps:\n  - x: {announce: {channels: chat, text: x}}\n"
         "  - y: {announce: {channels: chat, text: x, confirm: all}}",
         "y: only a start is confirmed, and this is the end by its place."),
        ("steps:", "steps:\n  - x: {announce: {channels: [chat, chat], text: x}}", "A channel is named twice."),
        ("steps:", f"steps:\n  - x: {{announce: {{channels: toots, text: {'x' * 470}}}}}",
         "x: the text may have 470 characters, and 'toots' takes 460."),
        ("steps:", "steps:\n  - x: {announce: {channels: chat, text: '${run.windw}'}}",
         "'${run.windw}' stands for nothing. Did you mean 'run.window'?"),
        ("steps:", "steps:\n  - x: {announce: {channels: chat, text: '$${run.id}'}}",
         "The text '${run.' cannot be written in an announcement."),
        ("steps:", "steps:\n  - x: {announce: {channels: chat, text: '${secret:t}'}}",
         "x: announce.text cannot hold a secret"),
        ("steps:", "steps:\n  - x: {ask: {question: '${run.id}?'}}",
         "'${run.id}' is known only in the text of an announcement."),
        ("steps:", "steps:\n  - announce: {ask: {question: '${run.id}?'}}",
         "'${run.id}' is known only in the text of an announcement."),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(old: str, new: str, said: str) -> None:
    assert old in HEAD
    steps = "" if old == "steps:" else tell() + STOP
    found = refused(HEAD.replace(old, new, 1) + steps)
    assert said in found, found


def test_the_plan_shows_what_is_sent_and_what_takes_it_back() -> None:
    text = render.text(made(tell("We move in ${downtime.announced} (${run.id}).") + STOP))
    assert "channel toots: mastodon, lives on old" in text
    assert '{"content": "We move in 30m (${run.id}).", "allowed_mentions": {"parse": []}}' in text
    assert "announce the start on toots, beside the run" in text
    assert "PATCH ${secret:t}/messages/${message}" in text


def test_an_unused_channel_is_remarked_on() -> None:
    found = [each.message for each in review(made("  - x: {announce: {channels: chat, text: x}}\n")).warnings]
    assert "Nothing is announced on the channel 'toots'." in found
