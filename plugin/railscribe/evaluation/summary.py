"""The figures of an evaluation, whole and by what its rows have in common. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
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


def summary(rows: Sequence[EvalRow], records: Sequence[Record]) -> dict[str, Any]:
    """Return the figures of *records* against the labels of *rows*, as ``railscribe eval --json`` prints them."""
    by: dict[str, dict[str, list[Judged]]] = {name: defaultdict(list) for name in _GROUPINGS}
    sides: dict[Side, list[Judged]] = {Side.USER: [], Side.RESPONSE: []}
    for row, record in zip(rows, records, strict=True):
        for side, judged in sides.items():
            found = judged_side(row, record, side)
            if found is not None:
                judged.append(found)
        for name, key in _keys(row):
            by[name][key].append(sides[Side.USER][-1])
    if set(by["group"]) <= {"?"}:
        del by["group"]
    return {
        "rows": len(rows),
        "prompt": _with_intervals(sides[Side.USER]),
        "response": _with_intervals(sides[Side.RESPONSE]),
        "by": {
            name: {
                # Groups are many and small: an interval there would say little and take long.
                key: figures(judged) if name == "group" else _with_intervals(judged)
                for key, judged in sorted(groups.items())
            }
            for name, groups in by.items()
        },
    }


def _keys(row: EvalRow) -> Iterable[tuple[str, str]]:
    for name in ("language", "source", "group"):
        yield name, str(row.item.get(name) or "?")
    for category in row.categories or ["none"]:
        yield "category", category


def _with_intervals(judged: Sequence[Judged]) -> dict[str, Any]:
    return {**figures(judged), "ci95": intervals(judged)}
