"""Reading YAML: what the words mean, where they stand, and that nothing gets past or crashes the reader."""

import json
import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cutover.model.text import visible
from cutover.planning import yaml_tree
from cutover.planning.diagnostics import Diagnostic, render, render_all, source_lines
from cutover.planning.tree import Entry, Map, Node, Scalar, Seq
from cutover.planning.yaml_tree import parse

RUNBOOK = """\
# a comment
title: Leaving the Basement
vars: {domain: social.example, n: 3, share: 0.5, yes: on}
sites:
  basement: &b {db: alice, web: [yakko, "wakko", 'dot']}
  again: *b
steps:
  - tell: {announce: {text: "We move. ${stream}"}, needs: []}
  - stop-web:
      services: {stop: [puma], on: basement.web}
      timeout: 5m
  - notes: |
      several
      lines
"""


def tree(text: str | bytes) -> Node:
    node, found = parse(text, "f.yaml")
    assert found == []
    assert node is not None
    return node


def problems(text: str | bytes) -> list[Diagnostic]:
    _, found = parse(text, "f.yaml")
    return found


def problem(text: str | bytes) -> Diagnostic:
    found = problems(text)
    assert len(found) == 1, found
    return found[0]


def assert_sound(text: str | bytes) -> None:
    """Hold what must hold for any input: no exception, places inside the text, a result that can be shown."""
    node, found = parse(text, "f.yaml")
    assert node is not None or found
    lines = source_lines(text)
    for each in found:
        assert 1 <= each.line <= len(lines)
        assert 1 <= each.column <= len(lines[each.line - 1]) + 1
        assert each.column < each.end_column
        assert visible(shown := render(each, lines)) == shown
        json.dumps(each.to_json())
    if node is not None:
        json.dumps(node.plain())


@pytest.fixture(params=["libyaml", "pure Python"], autouse=True)
def _loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "pure Python":
        monkeypatch.setattr(yaml_tree, "_LOADER", yaml.SafeLoader)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("22:22", "22:22"),
        ("x", "x"),
        ("on", "on"),
        ("off", "off"),
        ("yes", "yes"),
        ("no", "no"),
        ("True", "True"),
        ("012", "012"),
        ("0o14", "0o14"),
        ("1_000", "1_000"),
        ("0x1F", "0x1F"),
        ("+1", "+1"),
        (".5", ".5"),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("2022-12-01", "2022-12-01"),
        ("2022-12-01T20:00Z", "2022-12-01T20:00Z"),
        ("1%", "1%"),
        ("1.2.3", "1.2.3"),
        ("=", "="),
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("0", 0),
        ("-7", -7),
        ("1.10", 1.1),
        ("1e-07", 1e-07),
        ("'1'", "1"),
        ('"true"', "true"),
        ("'~'", "~"),
        ('""', ""),
    ],
)
def test_scalars_mean_what_yaml_1_2_says(written: str, meant: object) -> None:
    value = tree(f"port: {written}").plain()["port"]
    assert value == meant
    assert type(value) is type(meant)


def test_what_was_written_stays_known() -> None:
    node = tree("a: 1.10\nb: '1'")
    assert isinstance(node, Map)
    number, quoted = node.child("a"), node.child("b")
    assert isinstance(number, Scalar)
    assert isinstance(quoted, Scalar)
    assert (number.text, number.quoted) == ("1.10", False)
    assert (quoted.text, quoted.quoted) == ("1", True)


def test_keys_are_text_where_yaml_1_1_has_booleans() -> None:
    assert tree("on: x\nno: y\n22:22: z").plain() == {"on": "x", "no": "y", "22:22": "z"}


def test_places_count_characters_beyond_the_basic_plane() -> None:
    node = tree("😀: {k: 😀, b: x}")
    inner = node.at(("😀",))
    assert isinstance(inner, Map)
    assert (inner.line, inner.column) == (1, 4)
    assert inner.entries["b"].key.column == 11
    assert inner.entries["b"].value.column == 14
    assert inner.entries["b"].value.span.end_column == 15


def test_places_of_a_runbook() -> None:
    node = tree(RUNBOOK)
    timeout = node.at(("steps", 1, "stop-web", "timeout"))
    assert timeout is not None
    assert (timeout.line, timeout.column) == (11, 16)
    assert node.at(("steps", 9)) is None
    assert node.at(("title", "x", "y")) is None
    assert node.plain()["sites"]["again"] == {"db": "alice", "web": ["yakko", "wakko", "dot"]}


def test_bytes_and_every_line_end_are_read() -> None:
    assert tree(b"a: \xc3\xa4\r\nb: 1\r\n").plain() == {"a": "ä", "b": 1}
    assert problem("a: 1\r\nb: 2\ra: 3").line == 3


def test_a_rewritten_tree_keeps_its_places() -> None:
    node = tree("- stop-web: {services: {stop: [puma]}, needs: [fence]}")
    assert isinstance(node, Seq)
    step = node.items[0]
    assert isinstance(step, Map)
    ((name, body),) = step.entries.values()
    assert isinstance(body, Map)
    kind, params = body.entries["services"]
    needs: dict[str, Entry | Node] = {"needs": body.entries["needs"]}
    made = Map.of({"name": name, "kind": kind, "params": params, **needs}, at=body)
    assert Seq.of([made], at=node).plain() == [
        {"name": "stop-web", "kind": "services", "params": {"stop": ["puma"]}, "needs": ["fence"]}
    ]
    assert made.entries["kind"].key.column == made.entries["kind"].value.column == 14
    assert made.entries["needs"].key.column == 40
    assert Scalar.of("x", at=params).column == params.column


@pytest.mark.parametrize(
    ("text", "line", "column", "says"),
    [
        ("a: [1,\n\n", 1, 4, "'[' that opens here is never closed"),
        ("a: {b: 1,\n", 1, 4, "'{' that opens here is never closed"),
        ("a: [1\nb: 2", 2, 2, "Expected a ',' or the closing bracket"),
        ("a: 'x\n", 1, 4, "quote that opens here is never closed"),
        ("a: b: c", 1, 5, "':' is not expected"),
        ("a:\n\tb: 1", 2, 1, "tab cannot indent"),
        ("a: @x", 1, 4, "cannot start with '@'"),
        ("a: {b: ${x}}", 1, 9, "'${' starts a mapping"),
        ("a: - b", 1, 4, "A list cannot start on this line"),
        ("a: 1\n- b", 2, 1, "does not continue the mapping"),
        ("- a\nb: 1", 2, 1, "Expected the list's next"),
        ("a: !x!y 1", 1, 4, "Tags are not read"),
        ("a\n---\nb", 2, 1, "A second document starts here"),
        ("%YAML 1.1\n--- a", 1, 1, "Directives"),
        ("", 1, 1, "nothing in this file"),
        ("# only a comment", 1, 1, "nothing in this file"),
        ("a: !!python/object/apply:os.system [ls]", 1, 4, "Tags such as !!python/object/apply:os.system"),
        ("a: !!str 1", 1, 4, "Tags such as !!str"),
        ("a: ! 1", 1, 4, "Tags such as !"),
        ("a: 1\nb: 2\na: 3", 3, 1, "'a' is already written on line 1"),
        ("a: &x {b: 1}\nc:\n  <<: *x", 3, 3, "merge key"),
        ("1: a", 1, 1, "this one is the number 1"),
        ("true: a", 1, 1, "this one is true"),
        ("~: a", 1, 1, "this one is nothing"),
        ("? [a]\n: b", 1, 3, "A key must be text"),
        ("- &x a\n- {*x : b}", 2, 4, "A key cannot be an alias"),
        ("a: *x", 1, 4, "*x has no anchor"),
        ("a: &x [b, *x]", 1, 11, "itself a part of"),
        ("a: &x 1\nb: &x 2", 2, 4, "&x is already set on line 1"),
        ("a: 1e999", 1, 4, "too large"),
        ("a: " + "9" * 5000, 1, 4, "too large"),
        (f"a: {1 << 63}", 1, 4, "too large"),
        ("a: \x07", 1, 4, "U+0007"),
        ("a: b\x85c: d", 1, 5, "U+0085"),
        ("a: b\u2028c: d", 1, 5, "U+2028"),
        ("a: \ud800", 1, 4, "U+D800"),
        ('a: "\\ud83d\\ude00"', 1, None, ""),
        ("\ufeffa: b", 1, 1, "byte order mark"),
        (b"\xef\xbb\xbfa: b", 1, 1, "byte order mark"),
        (b"\xff\xfea\x00", 1, 1, "UTF-16"),
        (b"a: \xc3\xa4\nb: \xff", 2, 4, "not UTF-8"),
    ],
)
def test_what_is_refused(text: str | bytes, line: int, column: int | None, says: str) -> None:
    found = problem(text)
    assert says in found.message
    assert found.line == line
    assert column is None or found.column == column
    assert_sound(text)


def test_all_problems_are_found_at_once() -> None:
    found = problems("a: *x\nb: !!str 5\n<<: 3\na: 4\n1: x\n? [a]\n: 5\n")
    assert [each.line for each in found] == [1, 2, 3, 4, 5, 6]


def test_a_duplicate_key_shows_both_lines() -> None:
    text = "a: 1\nb: 2\na: 3\n"
    assert render_all(problems(text), text) == (
        "f.yaml:3:1  'a' is already written on line 1, in the same mapping.\n"
        "            1 | a: 1\n"
        "            3 | a: 3\n"
        "              | ^"
    )


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? ", "[{a: ", '["a", '])
def test_deep_nesting_is_refused(opening: str) -> None:
    start = time.monotonic()
    assert problem(opening * 30_000).message == "This is nested deeper than 40 levels."
    assert time.monotonic() - start < 30


def test_forty_levels_are_read() -> None:
    tree("[" * 40 + "]" * 40)


def test_aliases_cannot_nest_deeper_either() -> None:
    text = "- &a0 []\n" + "".join(f"- &a{i + 1} {'[' * 20}*a{i}{']' * 20}\n" for i in range(5))
    assert "With what *a1 stands for" in problem(text).message


def test_billion_laughs_are_refused_quickly() -> None:
    bomb = "a0: &a0 [lol]\n" + "".join(f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 10)}]\n" for i in range(12))
    start = time.monotonic()
    assert "more than 50000 values" in problem(bomb).message
    assert time.monotonic() - start < 30


def test_one_long_text_cannot_be_repeated_without_end() -> None:
    bomb = f"a: &a {'x' * 100_000}\nb: [{', '.join(['*a'] * 10_000)}]"
    assert "more than 4 MiB" in problem(bomb).message


def test_a_file_of_more_than_a_mebibyte_is_refused() -> None:
    assert tree("# " + "x" * ((1 << 20) - 7) + "\na: b").plain() == {"a": "b"}
    assert "larger than 1 MiB" in problem("# " + "x" * (1 << 20) + "\na: b").message
    assert "larger than 1 MiB" in problem(b"\xff" * ((1 << 20) + 1)).message
    assert "larger than 1 MiB" in problem("ä" * (1 << 19) + "a").message


def test_the_number_of_problems_is_bounded() -> None:
    assert len(problems("a: 1\n" * 5000)) == yaml_tree.MAX_DIAGNOSTICS


def test_what_is_shown_is_visible_and_cut() -> None:
    text = "- " + "x" * 300 + "\u202e\n- [" + "y" * 300 + ", *q, " + "z" * 300 + "]\n"
    shown = render_all(problems(text), text)
    source, carets = shown.splitlines()[1:]
    assert len(source) < 140
    assert source[carets.index("^") :].startswith("*q")
    assert source.count("…") == 2
    assert "\\u202e" in render(Diagnostic("f", 1, 1, 2, "", "x"), ["\u202e"])


def test_carets_stand_below_wide_characters() -> None:
    text = "漢字: [漢字, b: *x]"
    _, _, carets = render_all(problems(text), text).splitlines()
    assert carets.endswith("|" + " " * 17 + "^^")


YAML_SOUP = st.lists(
    st.sampled_from(
        [
            *"[]{}:,-?&*!|>'\"%@`#~\\\t\n\r x1é😀",
            ": ",
            "- ",
            "\n  ",
            "\n",
            "<<",
            "*a",
            "&a ",
            "!!int ",
            "---",
            "${",
            "...",
        ]
    ),
    max_size=40,
).map("".join)
CHARACTERS = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\u2028\u2029\ufeff\ufffe\uffff")
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63) + 1, (1 << 63) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(CHARACTERS | st.sampled_from("\n\t\r\x00\x1b")),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(CHARACTERS), inner, max_size=5),
    max_leaves=30,
)


@given(st.text())
def test_no_text_is_too_strange(text: str) -> None:
    assert_sound(text)


@given(st.binary())
def test_no_bytes_are_too_strange(data: bytes) -> None:
    assert_sound(data)


@given(YAML_SOUP)
def test_no_yaml_is_too_strange(text: str) -> None:
    assert_sound(text)


@given(st.integers(0, len(RUNBOOK)), st.integers(0, 12), YAML_SOUP)
def test_no_slip_in_a_runbook_is_too_strange(at: int, gone: int, put: str) -> None:
    assert_sound(RUNBOOK[:at] + put + RUNBOOK[at + gone :])


@given(JSON)
def test_json_is_read_as_json(data: object) -> None:
    written = json.dumps(data, ensure_ascii=False).replace("\x7f", "\\u007f")
    assert tree(written).plain() == json.loads(written) == data
