"""The surface of the command line: every verb has help and a body, every slip is a sentence and exit 2."""

import importlib
import re
import subprocess
import sys

import pytest

from cutover.__main__ import main
from cutover.cli.parser import GROUPS, HIDDEN, build_parser, parse
from tests.cli.generate import COMMANDS, COMPLETIONS, FILES, commands_page, completion, verbs_of

VERBS = verbs_of(build_parser())
LEAVES = [(name,) for name in VERBS] + [
    (verb, *(["last"] if verb == "ctl" else []), name) for verb in ("ctl", "audit") for name in verbs_of(VERBS[verb])
]


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_every_verb_has_help(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--help"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("usage: cutover ")
    assert words[-1] in said


@pytest.mark.parametrize("name", sorted(VERBS))
def test_every_verb_leads_to_a_function(name: str) -> None:
    leaves = verbs_of(VERBS[name]).values() if name == "audit" else [VERBS[name]]
    for leaf in leaves:
        module, function = leaf.get_default("handler").split(":")
        assert callable(getattr(importlib.import_module(module), function))


def test_help_shows_every_verb_once_and_no_hidden_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    shown = re.findall(r"^  ([a-z]+) +[A-Z]", said, re.MULTILINE)
    assert sorted(shown) == sorted(set(VERBS) - HIDDEN)
    assert "==SUPPRESS==" not in said
    assert sorted(name for _, names in GROUPS for name in names) == sorted(shown)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("", "the following arguments are required: VERB"),
        ("rnu", "there is no verb 'rnu'. Did you mean 'run'?"),
        ("engin", "there is no verb 'engin'."),
        ("zzz", "There are: init, check"),
        ("run", "the following arguments are required: RUNBOOK"),
        ("run a.yaml --detahc", "there is no option '--detahc'. Did you mean '--detach'?"),
        ("run a.yaml --det", "there is no option '--det'. Did you mean '--detach'?"),
        ("run a.yaml b.yaml", "one word too many: 'b.yaml'"),
        ("plan a.yaml --json --mermaid", "not allowed with argument"),
        ("ctl last", "the following arguments are required: COMMAND"),
        ("ctl last hodl", "there is no command 'hodl'. Did you mean 'hold'?"),
        ("ctl last skip a", "the following arguments are required: --reason"),
        ("ctl last answer q", "the following arguments are required: CHOICE"),
        ("ctl last exclude", "required: HOST, --reason"),
        ("audit", "the following arguments are required: COMMAND"),
        ("audit shwo last", "there is no command 'shwo'. Did you mean 'show'?"),
        ("audit show", "the following arguments are required: RUN"),
        ("completion fihs", "there is no shell 'fihs'. There are: bash, zsh."),
        ("check a.yaml --var", "expected one argument"),
        ("resume", "the following arguments are required: RUN"),
    ],
)
def test_a_slip_is_a_sentence_and_exit_2(line: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == 2
    said = capsys.readouterr()
    assert sentence in said.err
    assert "--help" in said.err
    assert said.out == ""
    assert len(said.err.splitlines()) == 2


def test_a_slip_with_control_sequences_is_shown_safely(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["\x1b]52;c;aGk=\x07"]) == 2
    assert "\x1b" not in capsys.readouterr().err


def test_words_go_where_they_belong() -> None:
    args = parse(["ctl", "7f", "skip", "stop-web", "--reason", "done by hand"])
    assert (args.run, args.command, args.step, args.reason, args.words) == (
        "7f",
        "skip",
        "stop-web",
        "done by hand",
        ["step"],
    )
    assert parse(["attach"]).run == "last"
    assert parse(["run", "a.yaml", "--var", "a=1", "--var", "b=2"]).var == ["a=1", "b=2"]


def test_help_imports_next_to_nothing() -> None:
    script = "import sys; from cutover.__main__ import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = done.stderr.split()
    heavy = ("asyncio", "pydantic", "rich", "yaml", "json", "sqlite3", "asyncssh", "cutover.wiring", "cutover.errors")
    assert not [name for name in heavy if name in loaded]


@pytest.mark.parametrize("shell", sorted(FILES))
def test_completion_is_up_to_date(shell: str) -> None:
    assert (COMPLETIONS / FILES[shell]).read_text() == completion(shell), "run: python -m tests.cli.generate"


def test_completion_completes(tmp_path: object) -> None:
    script = COMPLETIONS / FILES["bash"]
    probe = (
        f"source {script}\n"
        'c() { COMP_WORDS=("$@"); COMP_CWORD=$((${#COMP_WORDS[@]}-1)); COMPREPLY=()\n'
        '_shtab_cutover; echo "${COMPREPLY[@]}"; }\n'
        "c cutover ru; c cutover run --det; c cutover ctl last ho; c cutover attach la; c cutover engi\n"
    )
    environ = {"CUTOVER_STATE_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["bash", "-c", probe], capture_output=True, text=True, check=True, env=environ)
    assert done.stdout.splitlines() == ["run runs", "--detach", "hold", "last", ""]


@pytest.mark.parametrize("shell", sorted(FILES))
def test_completion_is_printed(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert capsys.readouterr().out == completion(shell)


def test_the_page_of_commands_is_up_to_date() -> None:
    assert COMMANDS.read_text() == commands_page(), "run: python -m tests.cli.generate"


def test_run_says_that_it_does_not_ask_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build_parser().parse_args(["run", "--help"])
    assert "without a terminal on stdin, or with --json, it starts at once" in capsys.readouterr().out
