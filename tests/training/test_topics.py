"""Policies composed from topics."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from railscribe.errors import UsageError
from railscribe.policy import render
from railscribe.training.rows import row_of
from railscribe.training.topics import _OFF_TOPIC, Composed, Topic, compose, read_topics
from railscribe.values import Label

HARMFUL = [
    row_of({"prompt": f"harm {number}", "prompt_label": "unsafe", "categories": ["Violence"]}, source="x")
    for number in range(3)
]


def confined(composed: Composed) -> bool:
    """Whether all but what is allowed is off topic."""
    return any(category.name in _OFF_TOPIC for category in composed.policy.categories)


def test_a_text_is_unsafe_where_its_topic_is_forbidden_and_safe_everywhere_else(topics: list[Topic]) -> None:
    """The policy alone decides a label, and what decides it stands in the text that the model reads."""
    labels: dict[str, set[Label]] = {}
    for composed in compose(topics, HARMFUL, rounds=20, rng=random.Random(1)):
        text = render(composed.policy).text
        for row in composed.rows:
            labels.setdefault(row.prompt, set()).add(row.prompt_label)
            if row.prompt.startswith("harm"):
                assert composed.policy.builtin
                continue
            if confined(composed):
                continue  # the other way round: below
            topic = next(topic for topic in topics if topic.kin == row.kin)
            forbidding = (topic.definition, *topic.forbids)
            forbidden = topic.name in text or any(clause in text for clause in forbidding)
            inside = row.prompt in topic.inside
            assert (row.prompt_label is Label.UNSAFE) == (forbidden and inside), (text, row)
            assert row.response is None or (row.response_label is Label.UNSAFE) == forbidden
            assert set(row.categories) <= {category.name for category in composed.policy.categories}
    plain = [topic for topic in topics if not topic.form]
    assert all(labels[text] == {Label.SAFE, Label.UNSAFE} for topic in plain for text in topic.inside)
    assert all(labels[text] == {Label.SAFE} for topic in topics for text in topic.near)


def test_what_is_permitted_may_be_all_that_is_talked_about(topics: list[Topic]) -> None:
    """Where a policy confines the talk, its allowed subjects are safe and every other one is off topic."""
    made = [each for each in compose(topics, (), rounds=20, rng=random.Random(4)) if confined(each)]

    assert made
    for composed in made:
        for row in composed.rows:
            topic = next(topic for topic in topics if topic.kin == row.kin)
            allowed = topic.permits[0] in composed.policy.allowed
            assert (row.prompt_label is Label.SAFE) == allowed
            assert row.categories == (() if allowed else (composed.policy.categories[0].name,))


def test_what_is_about_form_is_judged_by_itself(topics: list[Topic]) -> None:
    """A rule about form holds for any text, so no text of another topic stands beside it."""
    form = topics[-1]

    for composed in compose(topics, HARMFUL, rounds=5, rng=random.Random(2)):
        kin = {row.kin for row in composed.rows}
        assert form.kin not in kin or kin == {form.kin}


def test_few_topics_are_composed_too(topics: list[Topic]) -> None:
    """The held-out topics of a small file may be one or two."""
    for count in range(3):
        made = list(compose(topics[:count], HARMFUL, rounds=3, rng=random.Random(5)))
        assert {row.kin for each in made for row in each.rows} - {"x"} >= {
            topic.kin for topic in topics[:count]
        }


def test_the_same_seed_composes_the_same_policies(topics: list[Topic]) -> None:
    """A training run can be repeated."""

    def composed() -> list[tuple[str, list[str]]]:
        made = compose(topics, HARMFUL, rounds=2, rng=random.Random(3))
        return [(each.policy.digest, [row.prompt for row in each.rows]) for each in made]

    assert composed() == composed()


TEA = {
    "topic": "tea",
    "name": "Tea",
    "define": "talk of tea",
    "forbid": ["Do not talk of tea."],
    "permit": ["Tea is welcome."],
    "in": ["I like\u2028tea."],
    "near": [],
    "in_responses": [["What do you drink?", "Tea."]],
}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"define": None}, "'define' must hold text"),
        ({"name": " "}, "'name' must hold text"),
        ({"permit": []}, "'permit' must be a list of texts, one at least"),
        ({"forbid": "Do not talk of tea."}, "'forbid' must be a list of texts, one at least"),
        ({"near": "coffee"}, "'near' must be a list of texts"),
        ({"in": [""]}, "'in' must hold text"),
        ({"in_responses": "no"}, "not a topic"),
        ({"in_responses": [["a", 1]]}, "'in_responses' must hold text"),
    ],
)
def test_a_line_that_is_no_topic_is_named(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    """Whoever writes topics learns which line to mend, before anything is composed of it."""
    path = tmp_path / "topics.jsonl"
    path.write_text(f"\n{json.dumps({**TEA, **change})}\n", encoding="utf-8")

    with pytest.raises(UsageError, match=r"topics\.jsonl, line 2: not a topic") as refused:
        read_topics(path)
    assert reason in str(refused.value)


def test_what_a_topic_lacks_is_named(tmp_path: Path) -> None:
    """So is what is no object at all."""
    path = tmp_path / "topics.jsonl"
    for text, reason in (('{"topic": "tea", "name": "Tea"}', "'define' is missing"), ("[]", ""), ('"x"', "")):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(UsageError, match=rf"topics\.jsonl, line 1: not a topic .*{reason}"):
            read_topics(path)


def test_a_text_may_hold_a_separator_of_unicode(tmp_path: Path) -> None:
    """JSON allows it inside a text: it ends no line."""
    path = tmp_path / "topics.jsonl"
    path.write_text(json.dumps(TEA, ensure_ascii=False), encoding="utf-8")

    assert read_topics(path)[0].inside == ("I like\u2028tea.",)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Missing, or no text."""
    (tmp_path / "bytes.jsonl").write_bytes(b"\xff")

    with pytest.raises(UsageError, match=r"Cannot read .*none\.jsonl: No such file"):
        read_topics(tmp_path / "none.jsonl")
    with pytest.raises(UsageError, match=r"bytes\.jsonl is not UTF-8"):
        read_topics(tmp_path / "bytes.jsonl")


def test_one_harmful_text_is_enough(topics: list[Topic]) -> None:
    """A policy that keeps the built-in categories judges what there is."""
    made = list(compose(topics, HARMFUL[:1], rounds=10, rng=random.Random(6)))

    assert any(row.prompt.startswith("harm") for each in made for row in each.rows)
