"""The figures of an evaluation, whole and by what its rows have in common, and its scores row by row. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from railscribe.evaluation.rows import EvalRow
from railscribe.scoring import Judged, figures, intervals
from railscribe.values import Record, Side

_GROUPINGS = ("language", "category", "source", "group")


def judged_side(row: EvalRow, record: Record, side: Side) -> Judged | None:
    """Return what *row* is labelled and *record* says on *side*; ``None`` where either says nothing."""
    expected = row.expected if side is Side.USER else row.expected_response
    said = record.verdict.side(side)
    if expected is None or said is None:
        return None
    return Judged(expected=expected, said=said.label, score=said.score)


def judged_rows(rows: Iterable[EvalRow], records: Iterable[Record], side: Side) -> list[Judged]:
    """Return :func:`judged_side` of the rows that have it."""
    found = (judged_side(row, record, side) for row, record in zip(rows, records, strict=True))
    return [judged for judged in found if judged is not None]


def summary(rows: Sequence[EvalRow], records: Sequence[Record]) -> dict[str, Any]:
    """Return the figures of *records* against the labels of *rows*, as ``railscribe eval --json`` prints them."""
    prompts = judged_rows(rows, records, Side.USER)
    by: dict[str, dict[str, list[Judged]]] = {name: defaultdict(list) for name in _GROUPINGS}
    for row, judged in zip(rows, prompts, strict=True):
        for name, key in _keys(row):
            by[name][key].append(judged)
    if set(by["group"]) == {"?"}:
        del by["group"]
    return {
        "rows": len(rows),
        "prompt": _with_intervals(prompts),
        "response": _with_intervals(judged_rows(rows, records, Side.RESPONSE)),
        "by": {
            name: {
                # Groups are many and small: an interval there would say little and take long.
                key: figures(judged) if name == "group" else _with_intervals(judged)
                for key, judged in sorted(groups.items())
            }
            for name, groups in by.items()
        },
    }


def score_lines(rows: Iterable[EvalRow], records: Iterable[Record]) -> Iterator[dict[str, Any]]:
    """Yield what each row was labelled, scored and said to be; none of its content."""
    for row, record in zip(rows, records, strict=True):
        user, response = record.verdict.user, record.verdict.response
        yield {
            "file": str(row.file),
            "line": row.line,
            "label": row.expected.value,
            "score": user.score,
            "said": user.label.value,
            "response_label": row.expected_response.value if row.expected_response else None,
            "response_score": response.score if response else None,
            "response_said": response.label.value if response else None,
            "decision": record.decision.outcome.value,
            "cause": record.decision.cause.value if record.decision.cause else None,
            "categories": [category.name for category in record.verdict.categories],
            "labelled": row.categories,
            **{name: row.item.get(name) for name in ("language", "source", "group", "policy")},
        }


def _keys(row: EvalRow) -> Iterator[tuple[str, str]]:
    for name in ("language", "source", "group"):
        yield name, str(row.item.get(name) or "?")
    for category in row.categories or ["none"]:
        yield "category", category


def _with_intervals(judged: Sequence[Judged]) -> dict[str, Any]:
    return {**figures(judged), "ci95": intervals(judged)}
