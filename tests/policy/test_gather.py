"""Bad input: what does not parse, is not found, loops, or is written in another encoding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from railscribe.errors import PolicyError
from railscribe.policy.compiled import Compiled
from railscribe.policy.diagnostics import Clause, Source
from railscribe.policy.gather import gather

FLOW = 'define user ask about guns\n  "gun?"\n\ndefine flow\n  user ask about guns\n  bot refuse to respond\n'


def source_of(clause: Clause) -> Source:
    """Return where *clause* comes from; it must come from somewhere."""
    assert clause.source is not None
    return clause.source


@pytest.mark.parametrize(
    ("files", "code", "file", "line"),
    [
        ({"rails.co": FLOW + "\ndefine flow bad\n  frobnicate now\n"}, "C020", "rails.co", 9),
        ({"config.yml": 'colang_version: "2.x"\n', "a.co": 'flow a\n  bot say "x\n'}, "C020", "a.co", 2),
        ({"config.yml": "rails:\n  input: [\n", "rails.co": FLOW}, "C015", "config.yml", 3),
        ({"config.yml": "rails: {}\nrails: {}\n", "rails.co": FLOW}, "C025", "config.yml", 2),
        ({"config.yml": "- a\n", "rails.co": FLOW}, "C024", "config.yml", 1),
        ({"config.yml": "import_paths:\n  - nowhere/at/all\n", "rails.co": FLOW}, "C016", "config.yml", 2),
        ({"rails.co": FLOW.encode() + b"\n# caf\xe9\n"}, "C010", "rails.co", 8),
        ({"config.yml": 'colang_version: "2.x"\n', "rails.co": FLOW}, "C022", "rails.co", 1),
        (
            {
                "rails.co": FLOW,
                "again.co": FLOW.replace("define flow", "define flow x"),
                "x.co": "define flow x\n  user b\n  bot c\n",
            },
            "C017",
            "x.co",
            1,
        ),
    ],
)
def test_bad_input_names_file_and_line(
    compiled: Callable[..., Compiled], files: dict[str, str | bytes], code: str, file: str, line: int
) -> None:
    """Every kind of bad input is an error with its file and its line, and no policy comes of it."""
    result = compiled(files)

    assert (code, file, line) in [(found.code, found.file, found.line) for found in result.errors]
    assert result.failed


def test_a_byte_order_mark_is_taken_off(
    compiled: Callable[..., Compiled],
    codes_of: Callable[[Compiled], list[str]],
    clauses_of: Callable[[Compiled, str], list[str]],
) -> None:
    """A UTF-8 byte-order mark and Windows line ends change nothing but a warning."""
    result = compiled({"rails.co": b"\xef\xbb\xbf" + FLOW.replace("\n", "\r\n").encode()})

    assert clauses_of(result, "disallowed") == ["Asking about guns"]
    assert codes_of(result) == ["C011"]


def test_latin_1_is_read_once_it_is_allowed(
    compiled: Callable[..., Compiled], clauses_of: Callable[[Compiled, str], list[str]]
) -> None:
    """Another encoding fails, and compiles as Latin-1 for who allows it."""
    text = FLOW.replace("guns", "caf\xe9s").encode("latin-1")

    assert clauses_of(compiled({"rails.co": text}, allow=("C010",)), "disallowed") == [
        "Asking about caf\xe9s"
    ]


def test_links_in_a_circle_are_followed_once(tmp_path: Path) -> None:
    """A folder that links into itself, and a link that links to itself, end."""
    folder = tmp_path / "bot"
    (folder / "rails").mkdir(parents=True)
    (folder / "rails" / "a.co").write_text(FLOW)
    (folder / "rails" / "up").symlink_to(folder, target_is_directory=True)
    (folder / "self.co").symlink_to("self.co")

    found = gather(folder)

    assert [file.name for file in found.colang] == ["rails/a.co"]
    assert [said.code for said in found.diagnostics] == ["C012", "C012"]


def test_imports_that_import_each_other(
    compiled: Callable[..., Compiled], clauses_of: Callable[[Compiled, str], list[str]]
) -> None:
    """Configurations that import each other are each read once, and named relative to the one that is compiled."""
    result = compiled(
        {
            "main/config.yml": "import_paths:\n  - ../shared\n",
            "shared/config.yml": "import_paths:\n  - ../main\n",
            "shared/rails.co": FLOW,
        },
        only="main",
    )

    assert clauses_of(result, "disallowed") == ["Asking about guns"]
    assert source_of(result.clauses[0]).file == "../shared/rails.co"


def test_a_folder_without_a_configuration(
    compiled: Callable[..., Compiled], codes_of: Callable[[Compiled], list[str]]
) -> None:
    """An empty folder and one that holds several configurations are each named for what they are."""
    several = {"one/config.yml": "models: []\n", "two/config.yml": "models: []\n"}

    assert "C014" in codes_of(compiled({"README.md": "x"}))
    assert "C014" in codes_of(compiled(several))


def test_nothing_there(tmp_path: Path) -> None:
    """A path that leads nowhere, or to a file of another kind, is wrong usage."""
    (tmp_path / "a.txt").write_text("x")

    for path in (tmp_path / "missing", tmp_path / "a.txt"):
        with pytest.raises(PolicyError):
            gather(path)


def test_nested_too_deeply(
    compiled: Callable[..., Compiled], codes_of: Callable[[Compiled], list[str]]
) -> None:
    """Blocks and brackets nested without end are an error, not a crash."""
    deep = (
        "define flow x\n  user a\n"
        + "".join("  " * (n + 1) + "if $a\n" for n in range(400))
        + "  " * 402
        + "stop\n"
    )

    assert {"C020", "C021"} & set(codes_of(compiled({"rails.co": deep})))
    assert "C015" in codes_of(compiled({"config.yml": "a: " + "[" * 5000}))


def test_a_policy_of_200_kb(compiled: Callable[..., Compiled]) -> None:
    """A policy of 200 kB compiles; one larger than what is read back is refused by its size."""
    flows = "".join(
        f'define user ask about {"word " * 20}{n}\n  "{n}?"\n\ndefine flow f{n}\n  user ask about {"word " * 20}{n}\n'
        "  bot refuse to respond\n\n"
        for n in range(700)
    )
    fits = compiled({"rails.co": flows})
    larger = compiled(
        {"rails.co": flows, "more.co": flows.replace("word", "term").replace("flow f", "flow g")}
    )

    assert not fits.failed
    assert fits.refused_intents == 700
    assert [found.code for found in larger.errors] == ["C005"]
