"""Rows, their split and their targets."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from railscribe.errors import UsageError
from railscribe.nemotron import parse_reply
from railscribe.policy import parse_policy
from railscribe.taxonomy import BUILTIN_CATEGORIES
from railscribe.training.examples import _as_shown
from railscribe.training.recipe import recipe_rows
from railscribe.training.rows import as_item, read_rows, row_of, split, target_reply
from railscribe.values import Label

OWN = Path(__file__).parents[2] / "plugin" / "railscribe" / "training" / "rows"


@pytest.mark.skipif(not OWN.is_dir(), reason="the rows are not part of the wheel")
def test_every_row_of_ours_has_a_target_that_reads_as_its_labels() -> None:
    """What the model is taught to say is the contract's grammar, and says what the row is labelled."""
    policies = {
        document["name"]: document for document in json.loads((OWN / "policies.json").read_text("utf-8"))
    }
    count = 0
    for path in sorted(OWN.glob("*.jsonl")):
        for row in read_rows(path):
            names = [c["name"] for c in policies[row.policy]["categories"]] if row.policy else []
            for thinking in {False, row.trace is not None}:
                verdict = parse_reply(
                    target_reply(row, categories=True, thinking=thinking),
                    response_sent=row.response is not None,
                    category_names=(*BUILTIN_CATEGORIES, *names),
                )
                count += 1
                assert verdict.user.label is row.prompt_label, row
                assert (verdict.response.label if verdict.response else None) is row.response_label, row
                assert {c.name for c in verdict.categories} == set(row.categories), row
                assert all(c.known for c in verdict.categories), row
                assert verdict.trace == (row.trace if thinking else None)
    assert count > 2000


def test_the_split_keeps_kin_together() -> None:
    """A jailbreak's goal decides the side of all its rows, whatever wraps it."""
    rows = [
        row_of({"prompt": f"{wrap} {goal}", "prompt_label": "unsafe", "goal": f"goal {goal}"}, source="x")
        for goal in range(200)
        for wrap in ("please", "now")
    ]

    to_train, apart = split(rows)

    assert {row.kin for row in to_train}.isdisjoint(row.kin for row in apart)
    assert 0.03 < len(apart) / len(rows) < 0.14


def test_a_row_survives_being_written_and_read(tmp_path: Path) -> None:
    """The held-out file reads back as the rows it was written from."""
    row = row_of(
        {
            "prompt": "p",
            "response": "r",
            "prompt_label": "safe",
            "response_label": "unsafe",
            "categories": ["Threat"],
        },
        source="held",
    )
    path = tmp_path / "held.jsonl"
    path.write_text(json.dumps(as_item(row)) + "\n", encoding="utf-8")

    assert list(read_rows(path)) == [row]


@pytest.mark.parametrize(
    "line", ["{", '{"prompt": "x"}', '{"prompt": "x", "prompt_label": "mostly safe"}', "[]"]
)
def test_a_line_that_is_no_row_is_named(tmp_path: Path, line: str) -> None:
    """A bad line is refused with its file and number."""
    path = tmp_path / "rows.jsonl"
    path.write_text(f"\n{line}\n", encoding="utf-8")

    with pytest.raises(UsageError, match=r"rows\.jsonl, line 2"):
        list(read_rows(path))


def test_a_row_may_hold_a_separator_of_unicode(tmp_path: Path) -> None:
    """JSON allows it inside a text: it ends no line."""
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "a\u2028b", "prompt_label": "safe"}\n', encoding="utf-8")

    assert [row.prompt for row in read_rows(path)] == ["a\u2028b"]


def test_the_recipe_maps_hazards_to_the_models_names(tmp_path: Path) -> None:
    """A known source is relabelled with the model's category names, and what the recipe leaves out is gone."""
    path = tmp_path / "ailuminate_en.jsonl"
    lines = [
        {"prompt": "a", "prompt_label": "unsafe", "source_category": "cse"},
        {"prompt": "b", "prompt_label": "unsafe", "source_category": "spc_fin"},
    ]
    path.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")

    rows = recipe_rows(path)

    assert [(row.prompt, row.categories, row.prompt_label) for row in rows] == [
        ("a", ("Sexual (minor)",), Label.UNSAFE)
    ]


def test_a_policy_of_behaviours_alone_is_not_shown_as_a_taxonomy() -> None:
    """Mode B has no place for them, so nothing would be left of it."""
    policy = parse_policy(
        {"name": "p", "version": "1", "description": "d", "builtin": False, "disallowed": ["Selling tickets"]}
    )

    assert {_as_shown(policy, random.Random(seed)).mode for seed in range(50)} == {"auto"}
