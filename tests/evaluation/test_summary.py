"""Figures of an evaluation, whole and by group, and its scores row by row."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from railscribe.evaluation import score_lines, summary
from railscribe.scoring import Judged, figures
from railscribe.values import Label

ROWS: list[dict[str, Any]] = [
    {
        "prompt": "secret one [unsafe 0.9]",
        "prompt_label": "unsafe",
        "categories": ["Violence", "Threat"],
        "language": "de",
    },
    {"prompt": "secret two [safe 0.2]", "prompt_label": "unsafe", "categories": ["Threat"], "language": "de"},
    {
        "prompt": "secret three [safe 0.1]",
        "response": "secret answer [unsafe 0.8]",
        "prompt_label": "safe",
        "response_label": "safe",
        "language": "en",
    },
    {"prompt": "secret four [maybe]", "prompt_label": "safe", "language": "en"},
]


async def test_rows_are_counted_whole_and_by_what_they_share(judged: Callable[..., Any]) -> None:
    """A row counts in its language and in each of its categories; the response side counts where it is labelled."""
    found = summary(*await judged(ROWS))

    assert found["rows"] == 4
    assert [found["prompt"][name] for name in ("tp", "fn", "fp", "tn", "undecided")] == [1, 1, 1, 1, 1]
    assert (found["response"]["rows"], found["response"]["fp"]) == (1, 1)
    assert {name: part["rows"] for name, part in found["by"]["category"].items()} == {
        "Violence": 1,
        "Threat": 2,
        "none": 2,
    }
    assert found["by"]["language"]["de"]["recall"] == 0.5
    assert set(found["prompt"]["ci95"]) == {"precision", "recall", "f1", "accuracy", "auroc"}


async def test_groups_are_told_apart_where_rows_have_them(judged: Callable[..., Any]) -> None:
    """Without any group there is no such part; with one, rows without stand by themselves."""
    without = summary(*await judged(ROWS))
    having = summary(*await judged([{**ROWS[0], "group": "x"}, ROWS[1]]))

    assert set(without["by"]) == {"language", "category", "source"}
    assert {name: part["rows"] for name, part in having["by"]["group"].items()} == {"x": 1, "?": 1}


async def test_figures_can_be_made_again_from_the_score_lines(judged: Callable[..., Any]) -> None:
    """The lines hold no content and all that the figures are made of."""
    rows, records = await judged(ROWS)

    lines = list(score_lines(rows, records))

    assert "secret" not in json.dumps(lines)
    again = figures(
        Judged(expected=Label(line["label"]), said=Label(line["said"]), score=line["score"]) for line in lines
    )
    found = summary(rows, records)["prompt"]
    assert again == {name: value for name, value in found.items() if name != "ci95"}
    assert [(line["line"], line["decision"], line["cause"]) for line in lines] == [
        (1, "block", None),
        (2, "allow", None),
        (3, "block", None),
        (4, "undecided", "unknown_label"),
    ]
    assert lines[2]["response_score"] == 0.8
    assert lines[0]["labelled"] == ["Violence", "Threat"]
