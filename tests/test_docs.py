"""What the README and the pages in docs/ point to is there: files, headings, and commands that parse."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import typer

from railscribe.cli.main import app

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS]
COMMAND: Any = typer.main.get_command(app)
_FENCED = re.compile(r"^```[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.fixture(params=PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def page(request: pytest.FixtureRequest) -> Path:
    """Each page."""
    return Path(request.param)


def prose(path: Path) -> str:
    """Return a page without its blocks of code."""
    return _FENCED.sub("", path.read_text(encoding="utf-8"))


def links(path: Path) -> list[tuple[str, str]]:
    """Return the targets of a page's links to files, each with its anchor."""
    found = [target.partition("#") for target in _LINK.findall(_INLINE.sub("", prose(path)))]
    return [(unquote(file), anchor) for file, _, anchor in found if "://" not in file]


def anchors(path: Path) -> set[str]:
    """Return what a page's headings are called in links, as GitHub does it."""
    headings = re.findall(r"^#+ +(.+?) *$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def lines(path: Path) -> list[str]:
    """Return the commands of ours in a page's blocks of code, each on one line."""
    blocks = "".join(_FENCED.findall(path.read_text(encoding="utf-8"))).replace("\\\n", " ")
    # What begins with an option goes on with the line above: that is how an outline of a command is written.
    found = re.findall(r"^railscribe .*(?:\n +[-\[].*)*", blocks, re.MULTILINE)
    return [line.replace("\n", " ") for line in found]


def verb(words: list[str]) -> tuple[Any, list[str]]:
    """Return the command that *words* call, and what is left for it."""
    command, rest = COMMAND, words[1:]
    while (inner := getattr(command, "commands", None)) is not None:
        assert {*rest[:1]} & {*inner}, f"no such verb: {' '.join(words)}"
        command, rest = inner[rest[0]], rest[1:]
    return command, rest


def test_links_lead_somewhere(page: Path) -> None:
    """Each link is to a file that is there and, with an anchor, to one of its headings."""
    for file, anchor in links(page):
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), file
        assert not anchor or anchor in anchors(target), f"{file}#{anchor}"


def test_the_tests_that_pages_name_are_there(page: Path) -> None:
    """Each file of tests that a page names is there, and each test in one of those that it names, or in any."""
    named = _INLINE.findall(page.read_text(encoding="utf-8"))
    files = {name for name in named if name.startswith("tests/")}
    tests = {name for name in named if name.startswith("test_") and name.isidentifier()}
    assert not [name for name in files if not (ROOT / name).exists()]
    found = {ROOT / name for name in files if name.endswith(".py")} or set(
        (ROOT / "tests").rglob("test_*.py")
    )
    there = {
        name for path in found for name in re.findall(r"def (test_\w+)", path.read_text(encoding="utf-8"))
    }
    assert tests <= there


def test_each_defence_names_a_test() -> None:
    """Each row of the threat model says which test would notice, or that there is no defence."""
    text = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")][1:]

    assert len(rows) > 15
    assert not [row[0] for row in rows if "`test" not in row[2] and not row[2].startswith("none")]


def test_the_index_lists_every_page() -> None:
    """docs/README.md links to each page beside it, and the README to the index."""
    index = ROOT / "docs" / "README.md"

    assert {file for file, _ in links(index)} >= {path.name for path in DOCS} - {index.name}
    assert ("docs/README.md", "") in links(ROOT / "README.md")


def test_commands_parse(page: Path) -> None:
    """A command in a block of code has a verb of ours, and the arguments and options that this verb takes."""
    for line in lines(page):
        # A line that shows what can be given has choices and brackets.
        words = [word.partition("|")[0].strip("[]") for word in shlex.split(line, comments=True)]
        command, rest = verb(words)
        command.make_context(command.name, rest)


def test_commands_in_a_sentence_exist(page: Path) -> None:
    """A command about policies that a sentence names has a verb of ours."""
    for code in _INLINE.findall(prose(page)):
        if code.startswith("railscribe policy "):
            verb(code.split())


def test_the_readme_names_what_can_be_done_with_policies() -> None:
    """Each verb about policies stands in the README."""
    named = "".join(_FENCED.findall((ROOT / "README.md").read_text(encoding="utf-8")))

    missing = [
        name for name in COMMAND.commands["policy"].commands if f"railscribe policy {name}" not in named
    ]
    assert missing == []
