"""What a newcomer copies works: the template, every YAML block of the documentation, the tables."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from cutover.__main__ import main
from cutover.engine.commands import VERBS
from cutover.errors import CutoverError, ExitCode
from cutover.model.plan import Source
from cutover.planning.review import reviewed_plan
from cutover.planning.yaml_tree import parse
from cutover.steps import KINDS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks() -> Iterator[object]:
    """Every YAML block, by page and number."""
    for page in PAGES:
        text = page.read_text() if page.exists() else ""
        for number, match in enumerate(
            re.finditer(r"^([ \t]*)```ya?ml\n(.*?)^\1```", text, re.DOTALL | re.MULTILINE), 1
        ):
            indent = match[1]
            yaml = re.sub(rf"^{indent}", "", match[2], flags=re.MULTILINE)
            yield pytest.param(yaml, id=f"{page.relative_to(ROOT)}-{number}")


@pytest.mark.parametrize("yaml", list(blocks()))
def test_every_yaml_block_parses(yaml: str) -> None:
    """With the product's own parser; a whole runbook also has to load and to pass review."""
    tree, problems = parse(yaml, "block")
    assert tree is not None
    assert problems == []
    if re.search(r"^title:", yaml, re.MULTILINE) and re.search(r"^steps:", yaml, re.MULTILINE):
        reviewed_plan(Source(file="block.yaml", runbook=yaml), KINDS)


def test_init_writes_what_check_accepts_and_overwrites_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "move.yaml"
    assert main(["init", str(file)]) == 0
    assert file.read_text().startswith("# yaml-language-server: $schema=./cutover.schema.json\n")
    assert main(["check", str(file)]) == 0
    said = capsys.readouterr()
    assert "6 steps, plan" in said.out
    assert re.findall(r"Nothing proves|Did you mean|has no parameter", said.err) == ["Nothing proves"]  # no pins yet
    file.write_text("mine")
    assert main(["init", str(file)]) == ExitCode.USAGE
    assert file.read_text() == "mine"
    assert "is there already; it was left as it is" in capsys.readouterr().err


def test_the_table_of_exit_codes_is_the_one_in_the_code() -> None:
    rows = re.findall(r"^\| (\d+) \| ", (ROOT / "docs" / "exit-codes.md").read_text(), re.MULTILINE)
    assert [int(row) for row in rows] == [int(code) for code in ExitCode]


def test_every_class_of_error_has_a_code_of_the_table() -> None:
    def tree(cls: type[CutoverError]) -> Iterator[type[CutoverError]]:
        yield cls
        for sub in cls.__subclasses__():
            yield from tree(sub)

    assert all(isinstance(cls.exit_code, ExitCode) for cls in tree(CutoverError))


def test_the_protocol_page_has_every_verb_and_message() -> None:
    page = (ROOT / "docs" / "protocol.md").read_text()
    server = (ROOT / "cutover" / "engine" / "server.py").read_text()
    told = set(re.findall(r'"type": "([a-z]+)"', server)) | set(re.findall(r'case "([a-z]+)"', server))
    assert {word for word in (*VERBS, *told) if f"`{word}`" not in page} == set()


def test_every_link_between_pages_leads_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text() if page.exists() else ""):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
