"""`command`: run a program of one's own on hosts."""

from collections.abc import Callable
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from cutover.checks import host as on_host
from cutover.model.effects import Command, OnHost, Reply
from cutover.model.kind import Act, Acts, Check, Kind, Params, Probe, Scope, Selectors, Stage
from cutover.model.runbook import Words
from cutover.model.sealed import SealedText
from cutover.model.verdict import Done, Probed, Verdict, failed, passed, unknown

_WORDS_SCHEMA = {"type": "array", "items": {"type": "string"}, "minItems": 1}


def _one_or_more(value: Any) -> tuple[tuple[str, ...], ...]:
    """One command, or several in a row."""
    several = isinstance(value, list | tuple) and value and all(isinstance(part, list | tuple) for part in value)
    commands = value if several else [value]
    for argv in commands:
        if not isinstance(argv, list | tuple) or not argv or not all(isinstance(word, str) for word in argv):
            raise PydanticCustomError(
                "command", "expected a command as a list of texts, such as [bin/migrate, up], or a list of such lists"
            )
        _check_words(argv)
    return tuple(tuple(argv) for argv in commands)


def _check_words(argv: list[str] | tuple[str, ...]) -> None:
    if any("\0" in word for word in argv):
        raise PydanticCustomError("command", "expected words without NUL")
    # `env` and `sudo` stand before it: they would take such a word for an option or a variable of theirs.
    if not argv[0] or argv[0].startswith("-") or "=" in argv[0]:
        raise PydanticCustomError("command", "expected a program first: no '-' at its start and no '=' in it")


def _one(value: Any) -> tuple[str, ...]:
    commands = _one_or_more(value)
    if len(commands) != 1:
        raise PydanticCustomError("command", "expected a single command, such as [bin/migrate, status]")
    return commands[0]


Argv = Annotated[Words, BeforeValidator(_one), WithJsonSchema(_WORDS_SCHEMA)]
Argvs = Annotated[
    tuple[Words, ...],
    BeforeValidator(_one_or_more),
    WithJsonSchema({"anyOf": [_WORDS_SCHEMA, {"type": "array", "items": _WORDS_SCHEMA, "minItems": 1}]}),
]
Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]


class Exit(Params):
    """What a probe's program answers."""

    exit: Annotated[int, Field(ge=0, le=255)]
    """Its exit status."""


class ProbeCommand(Params):
    """How to learn whether the command has been done. It must change nothing."""

    run: Argv
    """The program, run as the same user, in the same directory, with the same variables."""
    done: Exit = Exit(exit=0)
    """What means that it is done."""
    not_done: Exit = Exit(exit=3)
    """What means that it is not done, and may be done. Anything else means that nobody can tell."""

    @model_validator(mode="after")
    def _tells_apart(self) -> "ProbeCommand":
        if self.done == self.not_done:
            raise PydanticCustomError("command", "'done' and 'not_done' are the same exit.")
        return self


class RunCommand(Kind):
    """Run a program on hosts, on all of them at once.

    The program is a list of words, never a shell line: nothing is expanded, every word arrives as it is written. A
    list of such lists runs one after the other and stops at the first that does not exit 0.

    Nobody but you knows what a command does. So it counts as disruptive unless you say `harmless: true`, and after a
    lost connection or a crash only its receipt on the host can tell whether it ran; where that says "started" and
    nothing more, the run stops and asks. A `probe` makes it certain: a program that changes nothing and tells by its
    exit whether the command is done. Say `idempotent: true` where doing it twice does no harm: it may then act even
    where no receipt can be written, on a full disk.

    `stdin` is the only place for a secret, since every user of the host can read command lines and many can read the
    environment. The first program reads it.

    What it proves: that every program exited 0. Its way back: `undo`, run as the same user; it must do no harm when
    it runs twice, or when the command was done only by half.

    ```yaml
    - migrate:
        command:
          on: hetzner.db
          as: mastodon
          cwd: /home/mastodon/live
          env: {RAILS_ENV: production}
          do: [bin/rails, db:migrate]
          undo: [bin/rails, db:rollback]
          probe: {run: [bin/rails, db:abort_if_pending_migrations], done: {exit: 0}, not_done: {exit: 1}}
    - login: {command: {on: fritz, do: [docker, login, --password-stdin, hub.example], stdin: "${secret:hub}"}}
    ```
    """

    name: ClassVar[str] = "command"

    on: Selectors
    """The hosts: a host, a role (`basement.web`), a site, or a list of them."""
    do: Argvs
    """The program with its arguments; or a list of several, one after the other."""
    as_: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*\$?$")] | None = Field(None, alias="as")
    """The user to run it as, through `sudo -n -u`; without it, the user who logs in."""
    cwd: Annotated[str, StringConstraints(pattern=r"^/[^\x00]*$")] | None = None
    """The directory to run it in; an absolute path."""
    env: dict[Variable, Text] = Field(default_factory=dict)
    """Variables of its environment. Not secret: they can be seen on the host."""
    stdin: SealedText = ()
    """What the first program reads; may hold secrets."""
    undo: Argvs | None = None
    """What takes it back; a program, or a list of several. It may run twice."""
    probe: ProbeCommand | None = None
    """How to learn whether it has been done."""
    harmless: bool = False
    """Whether it disturbs nobody, whenever it runs."""
    idempotent: bool = False
    """Whether doing it twice does no harm."""

    def unfold(self, scope: Scope) -> tuple[Stage, ...]:
        """One act for each host."""
        return (Acts(tuple(self._act(host, scope) for host in scope.hosts(self.on))),)

    def checks(self, scope: Scope) -> tuple[Check, ...]:
        """Whether one may be that user."""
        hosts = scope.hosts(self.on) if self.as_ else ()
        return tuple(on_host.sudo(host, f"sudo.{host}", self.as_, scope.timeout) for host in hosts)

    def claims_nothing_to_undo(self) -> str | None:
        """What is harmless needs no way back."""
        return "it is declared harmless" if self.harmless and self.undo is None else None

    def _act(self, host: str, scope: Scope) -> Act:
        commands = self._commands(self.do)
        effect = OnHost(
            host=host,
            commands=(Command(commands[0].argv, self.stdin), *commands[1:]),
            timeout=scope.timeout,
            idempotent=self.idempotent,
        )
        title = f"run {_shown(self.do)} on {host}"
        return Act(
            key=f"run.{host}",
            title=title,
            effect=effect,
            host=host,
            disruptive=not self.harmless,
            probe=self._probe(host, scope, "done", "not_done"),
            judge=_judge(title, host, self.do),
            undo=self._undo(host, scope),
        )

    def _undo(self, host: str, scope: Scope) -> Callable[[Reply | None], Act | None] | None:
        if self.undo is None:
            return None
        effect = OnHost(host=host, commands=self._commands(self.undo), timeout=scope.timeout, idempotent=True)
        title = f"run {_shown(self.undo)} on {host}, which takes {_shown(self.do)} back"
        act = Act(
            key=f"undo-run.{host}",
            title=title,
            effect=effect,
            host=host,
            disruptive=not self.harmless,
            probe=self._probe(host, scope, "not_done", "done"),
            judge=_judge(title, host, self.undo),
        )
        return lambda _: act

    def _probe(self, host: str, scope: Scope, when_done: Done, when_not_done: Done) -> Probe | None:
        if self.probe is None:
            return None
        run, done, not_done = self.probe.run, self.probe.done.exit, self.probe.not_done.exit

        def judge(reply: Reply, _: Reply | None) -> Probed:
            if not reply.commands:
                return Probed("unknown", f"the probe on {host} gave no answer")
            found = reply.commands[0].exit
            answer = f"the probe `{on_host.shown_argv(run)}` exited {found} on {host}"
            numbers = {"exit": found, "done": done, "not_done": not_done}
            if found == done:
                return Probed(when_done, f"{answer}: done", numbers)
            if found == not_done:
                return Probed(when_not_done, f"{answer}: not done", numbers)
            said = on_host.said(reply.commands[0])
            return Probed("unknown", f"{answer}, which is neither {done} nor {not_done}{said}", numbers)

        return Probe(effect=on_host.reading(host, self._argv(run), timeout=scope.timeout), judge=judge)

    def _commands(self, argvs: tuple[tuple[str, ...], ...]) -> tuple[Command, ...]:
        return tuple(Command(self._argv(argv)) for argv in argvs)

    def _argv(self, argv: tuple[str, ...]) -> tuple[str, ...]:
        """The program behind what sets its user, its directory and its variables."""
        user = ("sudo", "-n", "-u", self.as_, "--") if self.as_ else ()
        where = ("-C", self.cwd) if self.cwd else ()
        variables = tuple(f"{name}={value}" for name, value in self.env.items())
        return (*user, *(("env", *where, *variables) if where or variables else ()), *argv)


def _shown(argvs: tuple[tuple[str, ...], ...]) -> str:
    more = f" and {len(argvs) - 1} more" if len(argvs) > 1 else ""
    return f"`{on_host.shown_argv(argvs[0])}`{more}"


def _judge(title: str, host: str, argvs: tuple[tuple[str, ...], ...]) -> Callable[[Reply], Verdict]:
    def judge(reply: Reply) -> Verdict:
        if failure := on_host.first_failure(host, argvs, reply):
            return failed(f"{title}: {failure}", exit=reply.commands[-1].exit)
        if len(reply.commands) < len(argvs):
            return unknown(f"{title}: {len(reply.commands)} of {len(argvs)} commands answered")
        return passed(f"{title}: exit 0", exit=0)

    return judge
