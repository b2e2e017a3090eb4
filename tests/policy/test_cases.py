"""Cases for a policy: what a file of them may say."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from railscribe.errors import PolicyError
from railscribe.policy.cases import Suite
from railscribe.policy.load import load_cases
from railscribe.values import Outcome

POLICY = {
    "name": "chess-club",
    "version": "1",
    "description": "A chess club.",
    "builtin": False,
    "categories": [{"name": "Betting", "definition": "Bets on games."}, {"name": "Cheating"}],
}


def loaded(folder: Path, cases: str) -> Suite:
    """Load *cases*, YAML, of the chess club's policy; the first of them stands in line 3."""
    (folder / "chess.json").write_text(json.dumps(POLICY), encoding="utf-8")
    path = folder / "cases.yaml"
    path.write_text(f"policy: chess.json\ncases:\n{cases}", encoding="utf-8")
    return load_cases(str(path))


def refusal(folder: Path, cases: str) -> str:
    with pytest.raises(PolicyError) as refused:
        loaded(folder, cases)
    return str(refused.value)


@pytest.mark.parametrize(
    ("lines", "field"),
    [
        ("  expect: {decision: }", "expect.decision"),
        ("  expect: {decision: block, user: }", "expect.user"),
        ("  expect: {decision: block, category: []}", "expect.category"),
        ("  expect: {decision: block, category: ''}", "expect.category"),
        ("  expect: {decision: block}\n  response:", "response"),
        ("  expect: {decision: block}\n  image:", "image"),
        ("  expect: {decision: block}\n  image: ' '", "image"),
        ("  expect: {decision: block}\n  known_failure:", "known_failure"),
        ("  expect: {decision: block}\n  known_failure: {embedded: ''}", "known_failure.embedded"),
    ],
)
def test_a_field_that_holds_nothing_is_refused(tmp_path: Path, lines: str, field: str) -> None:
    """Its author meant something: taken for absent, it would compare nothing or judge something else."""
    message = refusal(tmp_path, f"- name: a\n  text: t\n{lines}")

    assert f"cases.yaml: line {5 + lines.count(chr(10))}, cases.0.{field}: is empty" in message


def test_a_response_may_be_without_words(tmp_path: Path) -> None:
    """An assistant that says nothing is a thing to test."""
    suite = loaded(tmp_path, "- {name: a, text: t, response: '', expect: {decision: allow}}")

    assert suite.cases[0].response == ""


@pytest.mark.parametrize("image", ["none.png", "folder", "a\\0b", "x" * 5000])
def test_a_picture_that_is_not_there_is_refused(tmp_path: Path, image: str) -> None:
    """The case would be undecided for a reason that says nothing about the policy."""
    (tmp_path / "folder").mkdir()

    message = refusal(tmp_path, f'- {{name: a, text: t, image: "{image}", expect: {{decision: block}}}}')

    assert "cases.yaml: line 3, cases.0.image: there is no file" in message


def test_a_picture_that_is_no_picture_is_for_the_guard(tmp_path: Path) -> None:
    """A case may be about just that: the guard is undecided about it."""
    (tmp_path / "broken.png").write_bytes(b"no picture")

    suite = loaded(tmp_path, "- {name: a, text: t, image: broken.png, expect: {decision: undecided}}")

    assert suite.cases[0].expected.decision is Outcome.UNDECIDED


def test_a_known_failure_is_of_a_guard_that_there_is(tmp_path: Path) -> None:
    """Misspelt, it would excuse nobody; the names that there are, are told."""
    message = refusal(
        tmp_path, "- {name: a, text: t, expect: {decision: allow}, known_failure: {embeded: It is small.}}"
    )

    assert re.search(r"line 3, cases\.0\.known_failure\.embeded: there is no guard 'embeded'", message)
    assert "embedded, transformers, openai_compatible" in message


def test_every_mistake_is_named_at_once(tmp_path: Path) -> None:
    """Who wrote several finds them in one run, each with its line."""
    message = refusal(
        tmp_path,
        "- {name: a, text: t, image: no.png, expect: {decision: allow}}\n"
        "- {name: a, text: t, expect: {category: Noise}}\n",
    )

    assert [line.partition(": ")[2] for line in message.splitlines()] == [
        "line 3, cases.0.image: there is no file 'no.png' beside the cases",
        "line 4, cases.1.name: 'a' is the name of two cases",
        "line 4, cases.1.expect.category: 'Noise' is no category of the policy 'chess-club'",
    ]


def test_the_nearest_category_is_told(tmp_path: Path) -> None:
    """A misspelt one is told with what may be meant."""
    message = refusal(tmp_path, "- {name: a, text: t, expect: {category: Cheatin}}")

    assert "; did you mean 'Cheating'" in message
