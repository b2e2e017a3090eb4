"""Bad input gets one clear sentence on stderr, the documented exit code, and a record where one was due."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
"""The fixture ``railscribe``: runs the command line and returns its code, out and err."""


def closed_port() -> str:
    """An address at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/v1"


def one_sentence(ran: Any) -> str:
    """Return stderr, which must be one line, for people, and no traceback."""
    assert ran.err.startswith("railscribe: "), ran.err
    assert len(ran.err.strip().splitlines()) == 1, ran.err
    return str(ran.err)


def test_a_missing_database_names_the_command(railscribe: Run) -> None:
    """Without a database nothing is judged, and the command to type is there."""
    ran = railscribe("check", "hello")

    assert ran.code == 3
    assert "railscribe db upgrade" in one_sentence(ran)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--policy", "dev-tool-assistant"), "dev-tools-assistant"),
        (("--policy", "missing.yaml"), "missing.yaml"),
        (("--engine", "embeded"), "engine"),
        (("--engine", "openai_compatible"), "base-url"),
        (("--engine", "transformers"), "model"),
        (("--image", "missing.png"), "missing.png"),
        (("--timeout-s", "0"), "timeout_s"),
        (("--database-url", "nonsense"), "database"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_usage_exits_with_two(railscribe: Run, arguments: tuple[str, ...], words: str) -> None:
    """What the caller can mend exits with 2 and names what to mend."""
    railscribe("db", "upgrade")

    ran = railscribe("check", "hello", *arguments)

    assert ran.code == 2, ran
    assert words in one_sentence(ran)


def test_a_policy_file_with_a_mistake_is_placed(railscribe: Run, tmp_path: Path) -> None:
    """A malformed policy names file, line and field, and guesses what was meant."""
    (tmp_path / "house.yaml").write_text(
        'name: house\nversion: "1"\ndescription: d\ndisalowed: [x]\n', encoding="utf-8"
    )
    railscribe("db", "upgrade")

    ran = railscribe("check", "hello", "--policy", "house.yaml")

    assert ran.code == 2
    assert all(word in one_sentence(ran) for word in ("house.yaml", "line 4", "disalowed", "'disallowed'"))


def test_a_server_that_is_away_leaves_a_record(railscribe: Run) -> None:
    """No server: exit 3, one sentence, and a record that says undecided and refused."""
    railscribe("db", "upgrade")

    ran = railscribe("check", "hello", "--json", "--base-url", closed_port(), "--model", "guard")

    assert ran.code == 3
    one_sentence(ran)
    assert (ran.json()["decision"], ran.json()["cause"]) == ("undecided", "engine_unavailable")
    listed = railscribe("audit", "list", "--json").json()
    assert [(row["outcome"], row["enforcement"]) for row in listed] == [("undecided", "refused")]


def test_no_weights_leaves_a_record(railscribe: Run, tmp_path: Path) -> None:
    """A folder without weights: exit 3, one sentence, a record."""
    railscribe("db", "upgrade")

    ran = railscribe("check", "hello", "--engine", "transformers", "--model", str(tmp_path / "nothing"))

    assert ran.code == 3
    assert "nothing" in one_sentence(ran)
    assert len(railscribe("audit", "list", "--json").json()) == 1


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (("",), "empty"),
        (("hello", "--image", "broken.png"), "bad_image"),
        (("hello", "--image", "https://example.org/cat.png"), "bad_image"),
    ],
    ids=["empty text", "broken picture", "picture by address"],
)
def test_what_cannot_be_judged_is_undecided_and_recorded(
    railscribe: Run, tmp_path: Path, arguments: tuple[str, ...], cause: str
) -> None:
    """What no engine could judge needs none: it is undecided at once, with its cause, and on record."""
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    railscribe("db", "upgrade")

    # An engine that cannot be reached shows that none was asked.
    ran = railscribe("check", *arguments, "--json", "--base-url", closed_port(), "--model", "guard")

    assert (ran.code, ran.json()["cause"]) == (12, cause)
    assert railscribe("audit", "list", "--json").json()[0]["cause"] == cause


def test_a_huge_text_is_undecided(railscribe: Run) -> None:
    """More text than the limit is undecided, cause too_long; the text may come on standard input."""
    railscribe("db", "upgrade")

    ran = railscribe(
        "check", "-", "--json", "--base-url", closed_port(), "--model", "guard", stdin="x" * 200_000
    )

    assert (ran.code, ran.json()["cause"]) == (12, "too_long")


def test_a_read_only_database_is_an_error(railscribe: Run, tmp_path: Path) -> None:
    """A database that cannot be written gives no decision: exit 3 and a sentence."""
    railscribe("db", "upgrade")
    (tmp_path / "railscribe.db").rename(tmp_path / "locked.db")

    ran = railscribe("check", "", "--database-url", "sqlite:///file:locked.db?mode=ro&uri=true")

    assert ran.code == 3, ran
    one_sentence(ran)


def test_a_toml_file_is_read_and_its_mistakes_named(railscribe: Run, tmp_path: Path) -> None:
    """railscribe.toml gives settings; an unknown one is refused with its name."""
    (tmp_path / "railscribe.toml").write_text('database_url = "sqlite:///other.db"\n', encoding="utf-8")
    made = railscribe("db", "upgrade")
    (tmp_path / "railscribe.toml").write_text('databse_url = "x"\n', encoding="utf-8")

    ran = railscribe("db", "current")

    assert made.code == 0
    assert (tmp_path / "other.db").exists()
    assert ran.code == 2
    assert "databse_url" in one_sentence(ran)


def test_flags_beat_the_environment(railscribe: Run, tmp_path: Path) -> None:
    """A flag wins over a RAILSCRIBE_ variable, and the variable over the default."""
    by_variable = railscribe("db", "upgrade", RAILSCRIBE_DATABASE_URL="sqlite:///env.db")
    railscribe(
        "db", "upgrade", "--database-url", "sqlite:///flag.db", RAILSCRIBE_DATABASE_URL="sqlite:///no.db"
    )

    assert by_variable.code == 0
    assert {path.name for path in tmp_path.glob("*.db")} == {"env.db", "flag.db"}


def test_an_eval_file_with_a_bad_line_is_placed(railscribe: Run, tmp_path: Path) -> None:
    """A line that is no row is named with its number before any engine starts."""
    rows = [{"prompt": "a", "prompt_label": "safe"}, {"prompt": "b"}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")

    ran = railscribe("eval", "rows.jsonl")

    assert ran.code == 2
    assert "line 2" in one_sentence(ran)


def test_a_record_that_is_not_there(railscribe: Run) -> None:
    """Asking for an unknown record is wrong usage."""
    railscribe("db", "upgrade")

    assert railscribe("audit", "show", "ffff").code == 2


def test_init_never_overwrites(railscribe: Run, tmp_path: Path) -> None:
    """init writes into an empty folder and refuses to write over what is there."""
    first = railscribe("init", "house", "--json")
    again = railscribe("init", "house")

    assert first.code == 0
    assert all((tmp_path / path).exists() for path in first.json()["written"])
    assert again.code == 2
    one_sentence(again)


def test_a_policy_that_the_engine_cannot_decide_by_is_named(railscribe: Run, tmp_path: Path) -> None:
    """Thresholds on categories, on a server that gives no scores for them: wrong usage, with what to do instead."""
    railscribe("db", "upgrade")
    document = {"name": "shop", "version": "1", "description": "d"}
    categories = [{"name": "Competitor Talk", "threshold": 0.6}]
    (tmp_path / "shop.json").write_text(json.dumps(document | {"categories": categories}))

    ran = railscribe(
        *("check", "Hello.", "--policy", "shop.json", "--engine", "openai_compatible"),
        *("--base-url", "http://127.0.0.1:9/v1", "--model", "guard"),
    )

    assert ran.code == 2
    assert "The policy shop has thresholds on categories (Competitor Talk)" in ran.err
    assert "embedded, transformers" in ran.err


def test_init_starts_from_a_template(railscribe: Run) -> None:
    """The policy and its cases are written beside the configuration, and what to do with them is said."""
    ran = railscribe("init", "house", "--template", "retail-banking", "--colang", "2.x")
    unknown = railscribe("init", "other", "--template", "retail-bank")

    assert ran.code == 0, ran.err
    assert "railscribe policy test house/retail-banking.cases.yaml" in ran.out
    assert (unknown.code, "retail-banking" in unknown.err) == (2, True)
