"""What commands answer on a simulated host: one rule per program, and nothing that guesses.

An argv that no rule, no fact and no scenario answers is NoRule: a world that made something up would prove nothing.
"""

import getopt
import hashlib
from collections.abc import Callable

from cutover.errors import NoRule
from cutover.simulator.call import Answer, Call
from cutover.simulator.host import Fact, Host
from cutover.simulator.systemctl import systemctl
from cutover.simulator.systemd import MASK, exists

Rule = Callable[[Call], Answer]


def answer(host: Host, argv: tuple[str, ...], stdin: str, now: float) -> Answer:
    """Run a command. Raises NoRule for one that nothing here answers."""
    meanings = host.meanings.get("\0".join(argv), [])
    for fact in meanings:
        if fact.does == "read":
            return Answer(fact.done if fact.fact in host.facts else fact.not_done)
    call = _strip(Call(host=host, argv=argv, user=host.login, stdin=stdin, now=now))
    if isinstance(call, Answer):
        return call
    try:
        result = _run(call, argv)
    except (NoRule, getopt.GetoptError) as problem:
        if "\0".join(argv) not in host.meanings:
            raise problem if isinstance(problem, NoRule) else NoRule(missing(argv)) from problem
        result = Answer()
    if result.exit == 0:
        for fact in meanings:
            _apply(host, fact)
    return result


def check(host: Host, argv: tuple[str, ...], act: str) -> None:
    """Raise NoRule, naming the act, if nothing here answers this argv; changes nothing."""
    key = "\0".join(argv)
    if key in host.meanings or key in host.outputs:
        return
    call = _strip(Call(host=host, argv=argv, user=host.login, stdin="", now=0))
    if isinstance(call, Call) and call.program not in RULES:
        raise NoRule(missing(argv, act))


def missing(argv: tuple[str, ...], act: str = "") -> str:
    """The sentence about an argv that nothing answers."""
    of = f", sent by {act}" if act else ""
    return f"the simulated world has no rule for {' '.join(argv)!r}{of}; a scenario can say what it prints"


def _apply(host: Host, fact: Fact) -> None:
    if fact.does == "set":
        host.facts.add(fact.fact)
    else:
        host.facts.discard(fact.fact)


def _run(call: Call, argv: tuple[str, ...]) -> Answer:
    said = call.host.outputs.get("\0".join(argv))
    if said is not None:
        return Answer(stdout=said)
    if call.program not in RULES:
        raise NoRule(missing(argv))
    return RULES[call.program](call)


# --- what may stand before a command


def _strip(call: Call) -> Call | Answer:
    while call.argv and call.program in _PREFIXES:
        stripped = _PREFIXES[call.program](call)
        if isinstance(stripped, Answer):
            return stripped
        call = stripped
    if not call.argv:
        raise NoRule("the simulated world was sent a command without a program")
    return call


def _with(call: Call, argv: list[str], user: str = "", cwd: str = "", env: tuple[tuple[str, str], ...] = ()) -> Call:
    return Call(
        host=call.host, argv=tuple(argv), user=user or call.user, stdin=call.stdin, now=call.now,
        cwd=call.path(cwd) if cwd else call.cwd, env=(*call.env, *env),
    )  # fmt: skip


def _sudo(call: Call) -> Call | Answer:
    options, rest = getopt.getopt(call.arguments, "nu:g:HESkiD:", ["user=", "group=", "non-interactive", "chdir="])
    if not call.host.sudo and call.user != "root":
        return Answer(1, stderr="sudo: a password is required\n")
    given = dict(options)
    user = given.get("-u", given.get("--user", "root"))
    env = []
    while rest and "=" in rest[0] and not rest[0].startswith("/"):
        name, _, value = rest.pop(0).partition("=")
        env.append((name, value))
    return _with(call, rest, user, given.get("-D", given.get("--chdir", "")), tuple(env))


def _env(call: Call) -> Call | Answer:
    options, rest = getopt.getopt(call.arguments, "iC:u:", ["chdir=", "ignore-environment", "unset="])
    given = dict(options)
    cwd = given.get("-C", given.get("--chdir", ""))
    env = []
    while rest and "=" in rest[0]:
        name, _, value = rest.pop(0).partition("=")
        env.append((name, value))
    return _with(call, rest, cwd=cwd, env=tuple(env))


def _nice(call: Call) -> Call | Answer:
    _, rest = getopt.getopt(call.arguments, "n:c:p:")
    return _with(call, rest)


_PREFIXES: dict[str, Callable[[Call], Call | Answer]] = {"sudo": _sudo, "env": _env, "nice": _nice, "ionice": _nice}


# --- the programs


def _cat(call: Call) -> Answer:
    names = [name for name in call.arguments if name != "--"] or ["/dev/stdin"]
    out, problems = "", ""
    for name in names:
        text = call.read("/dev/stdin" if name == "-" else call.path(name))
        if text is None:
            problems += f"cat: {name}: {_why_not_readable(call, name)}\n"
        out += "" if text in (None, MASK) else str(text)
    return Answer(1 if problems else 0, out, problems)


def _why_not_readable(call: Call, name: str) -> str:
    return "Is a directory" if exists(call.host, call.path(name)) else "No such file or directory"


def _test(call: Call) -> Answer:
    words = call.arguments[:-1] if call.program == "[" else call.arguments
    negated = bool(words) and words[0] == "!"
    words = words[1:] if negated else words
    match words:
        case [operator, name] if operator in TESTS:
            path = call.path(name)
            true = TESTS[operator](call, path)
        case [left, "=" | "!=" as operator, right]:
            true = (left == right) == (operator == "=")
        case _:
            raise NoRule(missing(call.argv))
    return Answer(0 if true != negated else 1)


def _is_file(call: Call, path: str) -> bool:
    return call.read(path) is not None


TESTS: dict[str, Callable[[Call, str], bool]] = {
    "-e": lambda call, path: exists(call.host, path) or _is_file(call, path),
    "-f": _is_file,
    "-r": lambda call, path: exists(call.host, path) or _is_file(call, path),
    "-d": lambda call, path: exists(call.host, path) and not _is_file(call, path),
    "-s": lambda call, path: bool(call.read(path)),
    "-w": lambda call, path: exists(call.host, path) and call.may_write(path),
    "-n": lambda _call, text: text != "/",
}


def _refused(call: Call, verb: str, name: str, *, parent: bool = True) -> Answer | None:
    if parent and not exists(call.host, call.path(name).rpartition("/")[0]):
        return call.fail(f"cannot {verb} '{name}': No such file or directory")
    if not call.may_write(call.path(name)):
        return call.fail(f"cannot {verb} '{name}': Permission denied")
    if call.host.disk_full and verb != "remove":
        return call.fail(f"cannot {verb} '{name}': No space left on device")
    return None


def _install(call: Call) -> Answer:
    names = ["mode=", "owner=", "group=", "directory", "no-target-directory"]
    options, rest = getopt.gnu_getopt(call.arguments, "Ddm:o:g:Tvp", names)
    if {"-d", "--directory"} & dict(options).keys():
        return _make_directories(call, rest, "create directory")
    if len(rest) != 2:
        raise NoRule(missing(call.argv))
    source, target = rest
    text = call.read(call.path(source))
    if text is None:
        return call.fail(f"cannot stat '{source}': No such file or directory")
    path, makes = call.path(target), "-D" in dict(options)
    if refused := _refused(call, "create regular file", target, parent=not makes):
        return refused
    call.host.directories.add(path.rpartition("/")[0])
    call.host.files[path] = text
    return Answer()


def _mkdir(call: Call) -> Answer:
    options, rest = getopt.gnu_getopt(call.arguments, "pm:", ["parents", "mode="])
    for name in rest:
        if "-p" not in dict(options) and exists(call.host, call.path(name)):
            return call.fail(f"cannot create directory '{name}': File exists")
    return _make_directories(call, rest, "create directory")


def _make_directories(call: Call, names: list[str], verb: str) -> Answer:
    for name in names:
        if exists(call.host, call.path(name)):
            continue
        if refused := _refused(call, verb, name, parent=False):
            return refused
        call.host.directories.add(call.path(name))
    return Answer()


def _touch(call: Call) -> Answer:
    for name in [name for name in call.arguments if not name.startswith("-")]:
        if refused := _refused(call, "touch", name):
            return refused
        call.host.files.setdefault(call.path(name), "")
    return Answer()


def _rm(call: Call) -> Answer:
    options, rest = getopt.gnu_getopt(call.arguments, "frd", ["force", "recursive"])
    given = dict(options)
    for name in rest:
        path = call.path(name)
        below = [other for other in call.host.files if other.startswith(f"{path}/")]
        is_file = call.read(path) is not None
        if not is_file and not exists(call.host, path):
            if not {"-f", "--force"} & given.keys():
                return call.fail(f"cannot remove '{name}': No such file or directory")
            continue
        if not is_file and not {"-r", "--recursive"} & given.keys():
            return call.fail(f"cannot remove '{name}': Is a directory")
        if refused := _refused(call, "remove", name):
            return refused
        for gone in [path, *below]:
            call.host.files.pop(gone, None)
        call.host.directories -= {d for d in call.host.directories if d == path or d.startswith(f"{path}/")}
    return Answer()


def _rmdir(call: Call) -> Answer:
    options, rest = getopt.gnu_getopt(call.arguments, "", ["ignore-fail-on-non-empty"])
    for name in rest:
        path = call.path(name)
        if not exists(call.host, path):
            return call.fail(f"failed to remove '{name}': No such file or directory")
        if any(other.startswith(f"{path}/") for other in (*call.host.files, *call.host.directories)):
            if options:
                continue
            return call.fail(f"failed to remove '{name}': Directory not empty")
        if not call.may_write(path):
            return call.fail(f"failed to remove '{name}': Permission denied")
        call.host.directories.discard(path)
    return Answer()


def _sha256sum(call: Call) -> Answer:
    out, problems = "", ""
    for name in [name for name in call.arguments if name != "--"] or ["-"]:
        text = call.stdin if name == "-" else call.read(call.path(name))
        if text is None:
            problems += f"sha256sum: {name}: {_why_not_readable(call, name)}\n"
        else:
            out += f"{hashlib.sha256(text.encode()).hexdigest()}  {name}\n"
    return Answer(1 if problems else 0, out, problems)


def _id(call: Call) -> Answer:
    number = "0" if call.user == "root" else "2001"
    match call.arguments:
        case ["-u"] | ["-g"]:
            return Answer(stdout=f"{number}\n")
        case ["-un"] | ["-gn"] | ["-u", "-n"]:
            return Answer(stdout=f"{call.user}\n")
    raise NoRule(missing(call.argv))


def _df(call: Call) -> Answer:
    options, rest = getopt.gnu_getopt(call.arguments, "PkB:", ["output=", "block-size="])
    free, size = (0, 10_000_000) if call.host.disk_full else (5_000_000, 10_000_000)
    given = dict(options)
    unit = 1024 if given.get("-B", given.get("--block-size", "")) == "1" else 1
    if given.get("--output") == "avail":
        return Answer(stdout=f"Avail\n{free * unit}\n")
    head = "Filesystem     1024-blocks    Used Available Capacity Mounted on"
    used = f"{(size - free) * unit:>8} {free * unit:>9} {100 * (size - free) // size:>7}%"
    lines = [f"/dev/sda1      {size * unit:>11} {used} /\n" for _ in rest or [""]]
    return Answer(stdout=f"{head}\n{''.join(lines)}")


def _sleep(call: Call) -> Answer:
    return Answer(takes=sum(float(word.rstrip("s")) for word in call.arguments))


def _echo(call: Call) -> Answer:
    words = call.arguments
    bare = words[:1] == ["-n"]
    return Answer(stdout=" ".join(words[1:] if bare else words) + ("" if bare else "\n"))


RULES: dict[str, Rule] = {
    "[": _test,
    "cat": _cat,
    "df": _df,
    "echo": _echo,
    "false": lambda _call: Answer(1),
    "hostname": lambda call: Answer(stdout=f"{call.host.name}\n"),
    "id": _id,
    "install": _install,
    "mkdir": _mkdir,
    "rm": _rm,
    "rmdir": _rmdir,
    "sha256sum": _sha256sum,
    "sleep": _sleep,
    "sync": lambda _call: Answer(),
    "systemctl": systemctl,
    "test": _test,
    "touch": _touch,
    "true": lambda _call: Answer(),
    "whoami": lambda call: Answer(stdout=f"{call.user}\n"),
}
"""What can be answered without a scenario."""
