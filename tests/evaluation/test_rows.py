"""Rows of an evaluation: read, chosen by group, given their policies, refused with file and line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from railscribe.errors import PolicyError, UsageError
from railscribe.evaluation import read_rows

SAFE = {"prompt": "Hello", "prompt_label": "safe"}
DOCUMENT = {
    "name": "chess",
    "version": "1",
    "description": "A chess club.",
    "categories": [{"name": "Betting", "definition": "Bets on games."}],
}


def written(path: Path, items: Sequence[Any]) -> Path:
    path.write_text("\n".join(json.dumps(item) for item in items), encoding="utf-8")
    return path


def test_several_files_are_one_evaluation(tmp_path: Path) -> None:
    """Rows come in the order of the files, each knows its place, and the limit is each file's."""
    one = written(tmp_path / "one.jsonl", [SAFE, SAFE, SAFE])
    two = written(tmp_path / "two.jsonl", [SAFE])

    rows = read_rows([one, two], limit=2)

    assert [(row.file, row.line) for row in rows] == [(one, 1), (one, 2), (two, 1)]


def test_a_row_may_hold_the_line_separators_of_unicode(tmp_path: Path) -> None:
    """A line ends with a line feed; other separators are part of the text."""
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "a\u2028b", "prompt_label": "safe"}\n', encoding="utf-8")

    (row,) = read_rows([path])

    assert row.item["prompt"] == "a\u2028b"


def test_groups_are_chosen_by_pattern(tmp_path: Path) -> None:
    """Only rows whose group fits one of the patterns are judged; none left is an error."""
    path = written(
        tmp_path / "rows.jsonl",
        [{**SAFE, "group": "refund-late"}, {**SAFE, "group": "delivery"}, SAFE, {**SAFE, "group": "refund"}],
    )

    assert [row.line for row in read_rows([path], groups=["refund*"])] == [1, 4]
    assert [row.line for row in read_rows([path], groups=["refund*", "deli*"], limit=2)] == [1, 2]
    with pytest.raises(UsageError, match="nobody"):
        read_rows([path], groups=["nobody*"])


def test_policies_are_found_in_a_list_beside_the_rows_and_among_the_ready_ones(tmp_path: Path) -> None:
    """A list's name goes first, then a file beside the rows, then the policies that ship."""
    listed = written(tmp_path / "policies.json", [[DOCUMENT]])
    beside = {**DOCUMENT, "name": "beside"}
    (tmp_path / "mine.json").write_text(json.dumps(beside), encoding="utf-8")
    path = written(
        tmp_path / "rows.jsonl",
        [{**SAFE, "policy": name} for name in ("chess", "mine.json", "dev-tools-assistant")] + [SAFE],
    )

    rows = read_rows([path], policies=[listed])

    assert [row.policy.name if row.policy else None for row in rows] == [
        "chess",
        "beside",
        "dev-tools-assistant",
        None,
    ]
    assert rows[0].policy is not None
    assert not rows[0].policy.builtin


def test_an_unknown_policy_is_named_before_anything_is_judged(tmp_path: Path) -> None:
    """A row's policy that nobody knows is an error with the row's file and line."""
    path = written(tmp_path / "rows.jsonl", [SAFE, {**SAFE, "policy": "chess"}])

    with pytest.raises(PolicyError, match=r"rows\.jsonl, line 2.*chess"):
        read_rows([path])


@pytest.mark.parametrize(
    "line",
    ["{", "[]", '{"prompt": "x"}', '{"prompt": 1, "prompt_label": "safe"}', '{"prompt_label": "safe"}'],
)
def test_a_line_that_is_no_row_is_named_and_not_quoted(tmp_path: Path, line: str) -> None:
    """A bad line is refused with its file and number, in words of our own."""
    path = tmp_path / "rows.jsonl"
    path.write_text(f"\n{line}", encoding="utf-8")

    with pytest.raises(UsageError, match=r"rows\.jsonl, line 2: not a row"):
        read_rows([path])


def test_an_empty_file_is_no_evaluation(tmp_path: Path) -> None:
    """Figures over nothing would look like figures."""
    with pytest.raises(UsageError, match="no rows"):
        read_rows([written(tmp_path / "rows.jsonl", [])])
