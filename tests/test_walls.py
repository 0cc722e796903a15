"""The house rules, as tests: the way imports point, who may import what, who may read a clock, how long files get."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "cutover"
FILES = sorted(PACKAGE.rglob("*.py"))

# Lower numbers know nothing of higher ones.
LEVELS = {
    "errors": 0,
    "model": 1,
    "ports": 2,
    "protocol": 2,
    "channels": 3,
    "checks": 3,
    "engine": 4,
    "planning": 4,
    "steps": 4,
    "journal": 5,
    "simulator": 5,
    "transports": 5,
    "client": 6,
    "audit": 6,
    "stream": 6,
    "tui": 6,
    "wiring": 7,
    "cli": 8,
    "__main__": 9,
}
ONLY_IN = {
    "asyncssh": ("transports/",),
    "httpx": ("transports/",),
    "psycopg": ("transports/", "journal/postgres.py"),
    "transitions": ("engine/machine.py",),
    "textual": ("tui/", "stream/"),
}
# The clocks themselves, the fault injector's seed, and the composition root (ids, waiting for a child process).
CLOCKS = ("transports/clock.py", "simulator/clock.py", "simulator/faults.py", "wiring/")
# Served by processes of their own, beside the engine.
ENTRY_POINTS = ("simulator/server.py",)
LONGEST_FILE = 400
LONGEST_FUNCTION = 70


def _name(file: Path) -> str:
    return file.relative_to(PACKAGE).as_posix()


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _part(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "cutover" and len(parts) > 1 and parts[1] in LEVELS else None


@pytest.mark.parametrize("file", FILES, ids=_name)
def test_imports_point_down(file: Path) -> None:
    own = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own == "__init__" or _name(file) in ENTRY_POINTS:
        return
    for module in _imports(ast.parse(file.read_text())):
        part = _part(module)
        allowed = part is None or part == own or LEVELS[part] < LEVELS[own]
        same = part is not None and LEVELS[part] == LEVELS[own] == 4  # engine, planning, steps know their neighbours
        assert allowed or (same and (own, part) == ("engine", "steps")), f"{_name(file)} imports {module}"


@pytest.mark.parametrize("file", FILES, ids=_name)
def test_libraries_stay_where_they_belong(file: Path) -> None:
    for module in _imports(ast.parse(file.read_text())):
        places = ONLY_IN.get(module.split(".")[0])
        assert places is None or _name(file).startswith(places), f"{_name(file)} imports {module}"


@pytest.mark.parametrize("file", FILES, ids=_name)
def test_time_and_chance_are_arguments(file: Path) -> None:
    if _name(file).startswith(CLOCKS):
        return
    banned = {
        ("time", "time"), ("time", "monotonic"), ("time", "sleep"), ("time", "perf_counter"),
        ("datetime", "now"), ("datetime", "utcnow"), ("random", "random"), ("random", "choice"),
        ("random", "randint"), ("random", "SystemRandom"), ("uuid", "uuid4"), ("secrets", "token_hex"),
    }  # fmt: skip
    for node in ast.walk(ast.parse(file.read_text())):
        if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
            continue
        call = (node.value.id, node.attr)
        assert call not in banned, f"{_name(file)}:{node.lineno} uses {'.'.join(call)}"
        if call == ("asyncio", "sleep"):
            line = file.read_text().splitlines()[node.lineno - 1]
            assert "sleep(0)" in line, f"{_name(file)}:{node.lineno} sleeps outside a clock"


@pytest.mark.parametrize("file", FILES, ids=_name)
def test_files_and_functions_stay_short(file: Path) -> None:
    text = file.read_text()
    assert len(text.splitlines()) <= LONGEST_FILE, f"{_name(file)}: is there a seam inside?"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
            length = node.end_lineno - node.lineno + 1
            assert length <= LONGEST_FUNCTION, f"{_name(file)}:{node.lineno} {node.name} has {length} lines"


def test_a_plan_is_made_without_the_network_libraries() -> None:
    """A static check cannot see deferred imports: a fresh interpreter can."""
    script = (
        "import sys; import cutover.planning.planner, cutover.steps, cutover.engine.engine\n"
        "print(*[name for name in ('asyncssh', 'httpx', 'psycopg', 'textual') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []


def test_nothing_here_names_the_machine_it_was_made_on() -> None:
    tracked = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()
    for name in tracked:
        file = ROOT / name
        if file.suffix in (".py", ".md", ".yaml", ".toml", ".sh", "") and file.is_file():
            text = file.read_text(errors="replace")
            assert str(ROOT) + "/" not in text, name
