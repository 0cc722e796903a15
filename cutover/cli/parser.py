"""Verbs and their arguments, as argparse wants them. Imports nothing that a `--help` could do without."""

import argparse
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

# How a shell completes a file's name and a run's id; shtab (development only) makes the scripts from these.
FILES = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}
RUNS = {"bash": "_cutover_runs", "zsh": "_cutover_runs"}

SUMMARY = (
    "Turns a runbook into a run: a cutover over SSH that survives its terminal, its engine's death and second thoughts."
)
FINE_PRINT = """\
A RUN is an id as `cutover runs` shows it, the beginning of one, or `last`.
Exit codes: 0 as hoped, 1 failed, 2 usage or invalid runbook, 3 waits for a person, 4 rolled back, 5 stuck,
6 in doubt, 7 violation found, 8 over budget, 70 bug, 130 interrupted (a run that was started goes on)."""

GROUPS = (
    ("Before", ("init", "check", "schema", "pin", "plan", "preflight")),
    ("The run", ("run", "resume", "attach", "status", "runs", "ctl")),
    ("The day after", ("audit",)),
    ("Besides", ("demo", "completion")),
)


class Parser(argparse.ArgumentParser):
    """argparse that asks "did you mean", and never guesses."""

    def __init__(self, **options: Any) -> None:
        """No abbreviations: what works today must not mean something else tomorrow."""
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where help is; exit 2."""
        from cutover.model.text import visible_line

        self.exit(2, f"{self.prog}: {visible_line(message)}\nHelp: {self.prog} --help\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            names = [name for name in action.choices if name not in HIDDEN]
            what = str(action.metavar or action.dest).lower()
            raise argparse.ArgumentError(None, f"there is no {what} '{value}'. {_hint(str(value), names)}")


HIDDEN = frozenset({"engine"})


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments of a command. Raises SystemExit after a usage error (2) and after --help (0)."""
    parser = build_parser()
    args, unknown = parser.parse_known_args(argv)
    leaf: Parser = args.leaf
    if unknown:
        options = [option for action in leaf._actions for option in action.option_strings]
        word = unknown[0].partition("=")[0]
        if word.startswith("-"):
            leaf.error(f"there is no option '{word}'. {_hint(word, options)}")
        leaf.error(f"one word too many: '{word}'")
    return args


def build_parser() -> Parser:
    """Every verb."""
    parser = Parser(prog="cutover", usage="cutover VERB ...", description=SUMMARY)
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    verbs = parser.add_subparsers(prog="cutover", dest="verb", metavar="VERB", required=True, help=argparse.SUPPRESS)
    helps: dict[str, str] = {}

    def verb(name: str, summary: str, handler: str, more: str = "") -> Parser:
        leaf: Parser = verbs.add_parser(name, help=summary, description=f"{summary}.{more and ' ' + more}")
        leaf.set_defaults(handler=f"cutover.cli.{handler}", leaf=leaf)
        helps[name] = summary
        return leaf

    _before(verb)
    _the_run(verb)
    _control(verb)
    _after(verb)
    parser.epilog = _overview(helps) + "\n" + FINE_PRINT
    return parser


def _before(verb: Callable[..., Parser]) -> None:
    init = verb("init", "Write a commented runbook to begin with", "runbooks:init", "It overwrites nothing.")
    init.add_argument(
        "file", nargs="?", default="runbook.yaml", metavar="FILE", help="default: runbook.yaml"
    ).complete = FILES  # type: ignore[attr-defined]
    check = verb("check", "Find everything wrong with a runbook, without the network", "runbooks:check")
    _runbook(check)
    _json(check, "one object for each thing that is wrong")
    verb("schema", "Print the JSON Schema of runbooks, for editors", "runbooks:schema")
    pin = verb(
        "pin",
        "Write down who the hosts are, beside the runbook",
        "runbooks:pin",
        "Over verified connections; changes are shown.",
    )
    _runbook(pin)
    pin.add_argument("--check", action="store_true", help="write nothing; exit 7 where a host is not as it was pinned")
    plan = verb(
        "plan", "Show what would be done: every command, what waits for what, the way back, the hash", "runbooks:plan"
    )
    _runbook(plan)
    form = plan.add_mutually_exclusive_group()
    _json(form, "the whole plan as one object")
    plan.add_argument("--readings", action="store_true", help="also how each check and each wait is read")
    form.add_argument("--mermaid", action="store_true", help="the graph of steps as a Mermaid diagram")
    preflight = verb(
        "preflight",
        "Run every check against the real hosts, changing nothing",
        "runbooks:preflight",
        "Fit for a daily job.",
    )
    _runbook(preflight)
    _json(preflight, "one object for each check")


def _the_run(verb: Callable[..., Parser]) -> None:
    run = verb(
        "run",
        "Start a run of a runbook, and attach to it",
        "runs:run",
        "It asks before it starts; without a terminal on stdin, or with --json, it starts at once.",
    )
    _runbook(run)
    run.add_argument(
        "--answers", metavar="FILE", help="YAML: answers given ahead, by step or question"
    ).complete = FILES  # type: ignore[attr-defined]
    run.add_argument("--world", default="ssh", help=argparse.SUPPRESS)  # a simulated world's socket: tests, the demo
    run.add_argument("--yes", action="store_true", help="start at once, without asking at the terminal")
    _attaching(run)
    resume = verb("resume", "Start an engine for a run whose engine died, and attach to it", "runs:resume")
    _run(resume)
    resume.add_argument("--take-over", action="store_true", help="the engine that holds the hosts is dead: replace it")
    _attaching(resume)
    attach = verb(
        "attach",
        "Follow a run as it goes, and answer its questions",
        "attach:attach",
        "Ctrl-C detaches; the run goes on.",
    )
    _run(attach, optional=True)
    _json(attach, "one object for each event, from the first")
    status = verb("status", "Show where a run stands, and what it asks", "runs:status")
    _run(status, optional=True)
    _json(status, "one object")
    status.add_argument("--exit-code", action="store_true", help="exit with the code of the run's state")
    runs = verb("runs", "List the runs, the latest first", "runs:runs")
    _json(runs, "one object for each run")
    runs.add_argument("--ids", action="store_true", help="their ids only")


def _control(verb: Callable[..., Parser]) -> None:
    ctl = verb("ctl", "Command a run that is under way", "ctl:ctl", "Each command is recorded with who gave it.")
    _run(ctl)
    commands = ctl.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)

    def command(name: str, summary: str, *words: tuple[str, str], reason: bool | None = None, **more: Any) -> None:
        leaf: Parser = commands.add_parser(name, help=summary, description=f"{summary}.", **more)
        leaf.set_defaults(leaf=leaf, words=[word.lower() for word, _ in words])
        for word, meaning in words:
            leaf.add_argument(word.lower(), metavar=word, help=meaning)
        if reason is not None:
            leaf.add_argument("--reason", required=reason, default="", metavar="WHY", help="for the record")

    step = ("STEP", "a step's name")
    command("hold", "Begin nothing new; what is under way ends", reason=False)
    command("release", "Go on after a hold", reason=False)
    command("retry", "Look at a step that failed or is in doubt, and act again on what is not done", step, reason=False)
    command("skip", "Go on without a step", step, reason=True)
    command("abort", "Stop going on, and walk the way back", reason=False)
    question, choice = ("QUESTION", "its id, as `cutover status` shows it"), ("CHOICE", "the word of the answer")
    command("answer", "Answer a question", question, choice, reason=False)
    command("exclude", "Leave a host out from here on", ("HOST", "a host of the plan"), reason=True)
    command("note", "Write a remark into the record", ("TEXT", "what is to be remembered"))


def _after(verb: Callable[..., Parser]) -> None:
    audit = verb("audit", "Show and prove what a run did, from its journal alone", "audit:show")
    commands = audit.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    show: Parser = commands.add_parser(
        "show", help="the timeline", description="Show every step, command, answer and decision."
    )
    show.set_defaults(handler="cutover.cli.audit:show", leaf=show)
    _run(show)
    _json(show, "one object for each event")
    show.add_argument("--follow", action="store_true", help="go on showing what comes; Ctrl-C ends it")
    check: Parser = commands.add_parser(
        "verify", help="the chain", description="Prove that the journal is whole; exit 7 where it is not."
    )
    check.set_defaults(handler="cutover.cli.audit:verify", leaf=check)
    _run(check)
    _json(check, "one object")
    verb("demo", "Show a small move in a simulated world, with a crash on the way", "demo:demo")
    completion = verb("completion", "Print the completion script of a shell", "completion:completion")
    completion.add_argument("shell", metavar="SHELL", choices=("bash", "zsh"), help="bash or zsh")
    engine = verb("engine", "Be the engine of a run", "engine:engine", "Started by `run` and `resume`, not by people.")
    engine.add_argument("run", metavar="RUN", help="a run's id")
    engine.add_argument("--take-over", action="store_true", help="see `cutover resume --help`")


def _runbook(leaf: Parser) -> None:
    leaf.add_argument("runbook", metavar="RUNBOOK", help="the YAML file").complete = FILES  # type: ignore[attr-defined]
    leaf.add_argument(
        "--inventory", metavar="FILE", help="where the hosts are: an inventory, as Ansible reads it"
    ).complete = FILES  # type: ignore[attr-defined]
    leaf.add_argument(
        "--var", action="append", default=[], metavar="NAME=VALUE", help="overrides one of the runbook's vars"
    )


def _run(leaf: Parser, *, optional: bool = False) -> None:
    options: dict[str, Any] = {"nargs": "?", "default": "last"} if optional else {}
    meaning = "an id, the beginning of one, or `last`" + (" (default)" if optional else "")
    leaf.add_argument("run", metavar="RUN", help=meaning, **options).complete = RUNS  # type: ignore[attr-defined]


def _attaching(leaf: Parser) -> None:
    leaf.add_argument("--detach", action="store_true", help="do not attach: return once the engine is up")
    leaf.add_argument("--wait", action="store_true", help="without a terminal: wait on when the run needs a person")
    _json(leaf, "one object for each event")


def _json(leaf: "Parser | argparse._ActionsContainer", what: str) -> None:
    leaf.add_argument("--json", action="store_true", help=f"JSON on stdout: {what}")


def _overview(helps: dict[str, str]) -> str:
    lines = []
    for title, names in GROUPS:
        lines += [f"{title}:", *(f"  {name:<12}{helps[name]}" for name in names), ""]
    return "\n".join(lines)


def _hint(word: str, names: Iterable[str]) -> str:
    from difflib import get_close_matches

    known = list(names)
    near = get_close_matches(word, known, n=1)
    return f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join(known)}."


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        """Print it."""
        from cutover import __version__

        print(f"cutover {__version__}")
        parser.exit()
