"""The page of an evaluation: rows, records and figures in, one self-contained HTML text out. Pure.

Rules

1. The page loads nothing: styles, script and drawings are part of it, and its content policy lets a browser load or
   run nothing else, whatever a row may hold.
2. What rows and models wrote is escaped by the template engine, its control characters made visible, and its direction
   kept from spilling over.
3. It can be read without the script, which only moves a threshold, and printed.
4. Content stands only among the mistakes and the undecided; with ``mistakes=0`` there is none.
"""

from __future__ import annotations

import base64
import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import lru_cache
from importlib.resources import files
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined, Template
from markupsafe import Markup

from railscribe.audit.rows import fingerprint
from railscribe.evaluation import curves, drawing
from railscribe.evaluation.rows import EvalRow
from railscribe.evaluation.summary import judged_rows, judged_side
from railscribe.scoring import auroc
from railscribe.values import Label, Record, Side

_SIDES = {Side.USER: "prompt", Side.RESPONSE: "response"}
_GRID = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
_MAX_GROUPS = 30
_MAX_CHARS = 2000
"""Longer texts are quoted up to there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One file of rows as it was read."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """When and how the evaluation was made."""

    began: datetime
    ended: datetime
    command: str
    version: str
    sources: Sequence[Source]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mistake:
    """One side of one row that the guard judged wrong, or not at all."""

    row: EvalRow
    record: Record
    side: Side

    @property
    def score(self) -> float | None:
        said = self.record.verdict.side(self.side)
        return said.score if said else None


def render_page(
    rows: Sequence[EvalRow],
    records: Sequence[Record],
    figures: Mapping[str, Any],
    *,
    run: Run,
    mistakes: int = 20,
    rates: Sequence[float] = (0.01, 0.05, 0.1),
) -> str:
    """Return the page of *rows* judged as *records*, with *figures* as ``summary`` gives them.

    Up to *mistakes* of each kind are quoted; *rates* are the false-positive rates whose thresholds are marked.
    """
    script = _part("page.js")
    return _template().render(
        figures=figures,
        run=run,
        sides=[
            _side(name, judged_rows(rows, records, side), figures[name], rates)
            for side, name in _SIDES.items()
        ],
        groupings=[(name, *_ordered(groups)) for name, groups in figures["by"].items()],
        mistakes=[_mistakes(name, rows, records, side, mistakes) for side, name in _SIDES.items()],
        quoted=mistakes,
        undecided=_undecided(rows, records, mistakes),
        outcomes=Counter(record.decision.outcome.value for record in records).most_common(),
        sources=_sources(run, rows),
        policies=_policies(records),
        engines=_engines(records),
        thinking=any(record.flags.thinking for record in records),
        field=drawing,
        style=Markup(_part("page.css")),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _side(name: str, judged: list[Any], figures: Mapping[str, Any], rates: Sequence[float]) -> dict[str, Any]:
    """Return what the template draws of one side; ``scored`` is 0 where there is nothing to draw."""
    scored = len(curves.scored(judged))
    side: dict[str, Any] = {"name": name, "figures": figures, "scored": scored, "rows": len(judged)}
    side |= {"unsafe": sum(row.expected is Label.UNSAFE for row in judged)}
    if not scored:
        return side
    ordered = curves.costs(judged)
    tenths = curves.bins(judged, 10)
    own = (figures["fp"], figures["tn"] + figures["fp"], figures["tp"], figures["tp"] + figures["fn"])
    return side | {
        "auroc": auroc(judged),
        "roc": drawing.line(drawing.roc_points(ordered)),
        "own": drawing.place(own[0] / own[1], own[2] / own[3]) if own[1] and own[3] else None,
        "histogram": drawing.histogram(curves.bins(judged, 20)),
        "bins": curves.bins(judged, 20),
        "lines": [
            (measure, drawing.over_thresholds(ordered, measure))
            for measure in ("precision", "recall", "f1", "false_positive_rate")
        ],
        "thresholds": _thresholds(ordered, rates),
        "stops": [[cost.threshold, cost.tp, cost.fp, cost.fn, cost.tn] for cost in drawing.stops(ordered)],
        "reliability": tenths,
        "calibrated": [
            (drawing.place(part.mean, part.share_unsafe or 0.0), part)
            for part in tenths
            if part.mean is not None
        ],
        "ece": curves.calibration_error(tenths),
        "brier": curves.brier(judged),
    }


def _thresholds(
    ordered: Sequence[curves.Cost], rates: Sequence[float]
) -> list[tuple[curves.Cost, list[str]]]:
    """Return the rows of the table of thresholds, rising, each with what it is marked for."""
    marked: dict[curves.Cost, list[str]] = {}
    best = curves.best_f1(ordered)
    if best is not None and best.f1:
        marked.setdefault(best, []).append("best F1")
    for rate in rates:
        kept = curves.within_false_positives(ordered, rate)
        if kept is not None:
            marked.setdefault(kept, []).append(f"false positives ≤ {rate:.3g}")
    grid: list[tuple[curves.Cost, list[str]]] = [
        (curves.cost_at(ordered, threshold), []) for threshold in _GRID
    ]
    return sorted([*marked.items(), *grid], key=lambda entry: entry[0].threshold)


def _ordered(groups: Mapping[str, Any]) -> tuple[list[tuple[str, Any]], int]:
    """Return the groups with the most mistakes, the largest first, and how many more there are."""
    worst = sorted(groups.items(), key=lambda entry: -entry[1]["fp"] - entry[1]["fn"])[:_MAX_GROUPS]
    ordered = sorted(worst, key=lambda entry: (-entry[1]["rows"], entry[0]))
    return ordered, len(groups) - len(worst)


def _mistakes(
    name: str, rows: Sequence[EvalRow], records: Sequence[Record], side: Side, most: int
) -> dict[str, Any]:
    """Return the false positives, highest score first, and the false negatives, lowest first; scoreless ones last."""
    wrong: dict[Label, list[_Mistake]] = {Label.SAFE: [], Label.UNSAFE: []}
    labelled = 0
    for row, record in zip(rows, records, strict=True):
        judged = judged_side(row, record, side)
        labelled += judged is not None
        if judged is not None and judged.said not in (judged.expected, Label.UNREADABLE):
            wrong[judged.expected].append(_Mistake(row=row, record=record, side=side))
    kinds = []
    for label, sign, title in ((Label.SAFE, -1, "false positives"), (Label.UNSAFE, 1, "false negatives")):
        found = sorted(wrong[label], key=lambda m: (m.score is None, sign * (m.score or 0.0)))
        kinds.append((title, len(found), [_quoted(mistake) for mistake in found[:most]]))
    return {"name": name, "rows": labelled, "kinds": kinds}


def _undecided(rows: Sequence[EvalRow], records: Sequence[Record], most: int) -> dict[str, Any]:
    causes: Counter[tuple[str, str]] = Counter()
    found = []
    for row, record in zip(rows, records, strict=True):
        for side, name in _SIDES.items():
            said = record.verdict.side(side)
            if said is not None and said.cause is not None:
                causes[said.cause.value, name] += 1
                found.append(_Mistake(row=row, record=record, side=side))
    return {
        "causes": causes.most_common(),
        "quoted": [_quoted(mistake) for mistake in found[:most]],
        "decisions": sum(record.decision.cause is not None for record in records),
    }


def _quoted(mistake: _Mistake) -> dict[str, Any]:
    row, verdict = mistake.row, mistake.record.verdict
    said = verdict.side(mistake.side)
    texts = [("prompt", row.item["prompt"])]
    if mistake.side is Side.RESPONSE or row.item.get("response"):
        texts.append(("response", str(row.item.get("response") or "")))
    return {
        "score": mistake.score,
        "cause": said.cause.value if said and said.cause else None,
        "place": f"{row.file.name}, line {row.line}",
        "texts": [(name, visible(text[:_MAX_CHARS]), max(0, len(text) - _MAX_CHARS)) for name, text in texts],
        "labelled": row.categories,
        "said": [category.name for category in verdict.categories],
        "trace": visible(verdict.trace) if verdict.trace else None,
        "facts": [
            str(row.item[name]) for name in ("language", "policy", "source", "group") if row.item.get(name)
        ],
    }


def visible(text: str) -> str:
    """Return *text* with its control characters and lone surrogates made visible (rule 2)."""
    return "".join(
        "\N{REPLACEMENT CHARACTER}"
        if unicodedata.category(letter) in ("Cc", "Cs") and letter not in "\n\t"
        else letter
        for letter in text
    )


def _sources(run: Run, rows: Iterable[EvalRow]) -> list[tuple[Source, int]]:
    counts = Counter(str(row.file) for row in rows)
    return [(source, counts[source.name]) for source in run.sources]


def _policies(records: Iterable[Record]) -> list[tuple[Any, int]]:
    """Return the renderings that were judged by, and how often."""
    found = Counter(
        (r.policy_name, r.policy_version, r.policy_digest, r.mode.value, r.text_digest)
        for r in (record.rendering for record in records)
    )
    return found.most_common()


def _engines(records: Iterable[Record]) -> list[tuple[str, dict[str, Any], int]]:
    found = Counter(record.engine for record in records)
    return [
        (
            fingerprint(engine),
            {name: value for name, value in asdict(engine).items() if value is not None},
            count,
        )
        for engine, count in found.most_common()
    ]


_NONE, _TO = "\N{EN DASH}", "\N{EN DASH}"


def _number(value: float | None, digits: int = 3) -> str:
    return _NONE if value is None else f"{value:.{digits}f}"


def _percent(value: float | None) -> str:
    return _NONE if value is None else f"{value:.1%}"


def _bounds(figures: Mapping[str, Any], name: str) -> str:
    bounds = figures.get("ci95", {}).get(name)
    return "" if bounds is None else _TO.join(f"{bound:.2f}" for bound in bounds)


def _threshold(value: float) -> str:
    """Return *value* with as many digits as tell it from 0 and 1: there the scores of a sure guard lie."""
    if value > 1:
        return "flag nothing"
    for digits in range(3, 9):
        shown = f"{value:.{digits}f}"
        if float(shown) not in (0.0, 1.0):
            return shown
    return f"{value:.3g}"


def _part(name: str) -> str:
    return (files("railscribe.evaluation") / "page_parts" / name).read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _template() -> Template:
    names = ("page.html.jinja", "charts.html.jinja")
    environment = Environment(
        loader=DictLoader({name: _part(name) for name in names}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": _number,
        "percent": _percent,
        "bounds": _bounds,
        "threshold": _threshold,
    }
    return environment.get_template(names[0])
