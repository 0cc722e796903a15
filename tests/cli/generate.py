"""Makes what is made from the parser: the completion scripts and docs/commands.md.

python -m tests.cli.generate
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import shtab

from cutover.cli.completion import FILES, PREAMBLE
from cutover.cli.parser import GROUPS, HIDDEN, Parser, build_parser

ROOT = Path(__file__).parents[2]
COMPLETIONS = ROOT / "cutover" / "cli" / "completions"
COMMANDS = ROOT / "docs" / "commands.md"

_INTRODUCTION = """\
`RUN` is a run's id as `cutover runs` shows it, the beginning of one, or `last`. Results go to stdout, talk to stderr;
with `--json` every line of stdout is one JSON object (of `plan` and `schema`, all of it). `TERM=dumb` and a stdout
that is no terminal give plain lines; `NO_COLOR` takes the colours only, and a terminal's last line goes on changing;
the locale C gives marks in ASCII. Runs are kept in the state directory: `$CUTOVER_STATE_DIR`, else the platform's own
place. How commands end: [exit-codes.md](exit-codes.md).

Answers can be given ahead: `--answers FILE` is a YAML mapping from a step that asks, or from a point of no return
(`soft`, `hard`), to the word of the answer. Any other question can be named as the engine names it, without its number:
`stop-web.failed`, `budget`.

While attached at a terminal, type the word of an answer and press Enter, with the reason behind it where one is
needed; or a command as `ctl` takes it: `hold`, `skip STEP WHY`, `abort WHY`. No single key does anything.
"""


def completion(shell: str) -> str:
    """The script of a shell, without the hidden verbs."""
    script = shtab.complete(visible_parser(), shell, preamble=PREAMBLE[shell])
    return "\n".join(line.rstrip() for line in script.splitlines()) + "\n"


def visible_parser() -> Parser:
    """The parser without what is not for people."""
    parser = build_parser()
    action = subparsers_of(parser)
    action.help = None  # hidden from --help, which has an overview of its own
    for name in HIDDEN:
        verbs_of(parser).pop(name)
        action._choices_actions = [each for each in action._choices_actions if each.dest != name]
    return parser


def subparsers_of(parser: argparse.ArgumentParser) -> "argparse._SubParsersAction[Parser]":
    """Where the verbs of a parser are."""
    return next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))


def verbs_of(parser: argparse.ArgumentParser) -> dict[str, Parser]:
    """Its verbs by name; none when it has none."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return action.choices  # type: ignore[return-value]
    return {}


def commands_page() -> str:
    """docs/commands.md."""
    return "\n".join(_page())


def _page() -> Iterator[str]:
    verbs = verbs_of(build_parser())
    yield "# Commands\n"
    yield "Made from the parser by `python -m tests.cli.generate`; a test holds it to it.\n"
    yield _INTRODUCTION
    for title, names in GROUPS:
        yield f"## {title}\n"
        for name in names:
            yield from _verb(f"cutover {name}", verbs[name])


def _verb(name: str, parser: Parser) -> Iterator[str]:
    yield f"### `{name}`\n"
    yield f"{parser.description}\n"
    rows = [_row(action) for action in parser._actions if _shown(action)]
    if rows:
        yield "| argument | meaning |"
        yield "| --- | --- |"
        yield from rows
        yield ""
    commands = verbs_of(parser)
    if not commands:
        return
    yield "| command | meaning |"
    yield "| --- | --- |"
    for command, leaf in commands.items():
        words = [_usage(action) for action in leaf._actions if _shown(action)]
        yield f"| `{' '.join([command, *words])}` | {leaf.description} |"
    yield ""


def _shown(action: argparse.Action) -> bool:
    skipped = (argparse._HelpAction, argparse._SubParsersAction)
    return not isinstance(action, skipped) and action.help is not argparse.SUPPRESS


def _row(action: argparse.Action) -> str:
    return f"| `{_usage(action, bare=True)}` | {action.help} |"


def _usage(action: argparse.Action, *, bare: bool = False) -> str:
    """An argument as it is written; in brackets where it may be left out."""
    word = str(action.metavar or action.dest)
    if not action.option_strings:
        return f"[{word}]" if action.nargs == "?" else word
    option = action.option_strings[0] + ("" if action.nargs == 0 else f" {word}")
    return option if bare or action.required else f"[{option}]"


def main() -> None:
    """Write them all."""
    for shell, name in FILES.items():
        (COMPLETIONS / name).write_text(completion(shell))
    COMMANDS.write_text(commands_page())


if __name__ == "__main__":
    main()
