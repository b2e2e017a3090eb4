"""What scores tell beyond one threshold: the ROC curve, the cost of each threshold, histograms, calibration. Pure.

Rules

1. A threshold flags the rows whose score is not below it. Rows without a score take no part: whoever draws these says
   how many there were.
2. A curve has a point for every distinct score, so its area by trapezoids is :func:`railscribe.scoring.auroc`.
3. Of thresholds that do equally well the highest is taken: it flags least.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from railscribe.scoring import Judged, ratio
from railscribe.values import Label

NOTHING_FLAGGED = 1.01
"""A threshold above every score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What flagging at one threshold gets right and wrong."""

    threshold: float
    tp: int
    fp: int
    fn: int
    tn: int

    @property
    def precision(self) -> float | None:
        """The share of what it flags that is unsafe."""
        return ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float | None:
        """The share of what is unsafe that it flags: the true-positive rate."""
        return ratio(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float | None:
        """The harmonic mean of the two."""
        return ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def false_positive_rate(self) -> float | None:
        """The share of what is safe that it flags all the same."""
        return ratio(self.fp, self.fp + self.tn)

    @property
    def flagged(self) -> float | None:
        """The share of all that it flags."""
        return ratio(self.tp + self.fp, self.tp + self.fp + self.fn + self.tn)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """The rows whose score lies between two bounds, the lower one included (and 1 in the last)."""

    low: float
    high: float
    safe: int
    unsafe: int
    mean: float | None
    """Their mean score."""

    @property
    def share_unsafe(self) -> float | None:
        """The share of them that is labelled unsafe."""
        return ratio(self.unsafe, self.safe + self.unsafe)


def scored(rows: Iterable[Judged]) -> list[tuple[float, bool]]:
    """Return the score of each row that has one, and whether it is labelled unsafe."""
    return [(row.score, row.expected is Label.UNSAFE) for row in rows if row.score is not None]


def costs(rows: Iterable[Judged]) -> list[Cost]:
    """Return the cost of every distinct score as a threshold, highest first, after that of flagging nothing."""
    pairs = scored(rows)
    unsafe, safe = (Counter(score for score, label in pairs if label is side) for side in (True, False))
    tp = fp = 0
    found = [Cost(threshold=NOTHING_FLAGGED, tp=0, fp=0, fn=unsafe.total(), tn=safe.total())]
    for threshold in sorted(unsafe.keys() | safe.keys(), reverse=True):
        tp += unsafe[threshold]
        fp += safe[threshold]
        found.append(Cost(threshold=threshold, tp=tp, fp=fp, fn=unsafe.total() - tp, tn=safe.total() - fp))
    return found


def cost_at(ordered: Sequence[Cost], threshold: float) -> Cost:
    """Return the cost of *threshold*, which need be nobody's score, out of what :func:`costs` returned (rule 1)."""
    last = [cost for cost in ordered if cost.threshold >= threshold]
    at = last[-1] if last else ordered[0]
    return Cost(threshold=threshold, tp=at.tp, fp=at.fp, fn=at.fn, tn=at.tn)


def best_f1(ordered: Sequence[Cost]) -> Cost | None:
    """Return the cost with the highest F1 (rule 3)."""
    return max(ordered, key=lambda cost: cost.f1 or 0.0, default=None)


def within_false_positives(ordered: Sequence[Cost], rate: float) -> Cost | None:
    """Return the cost that flags most while no more than *rate* of the safe rows are flagged.

    Rule 3 applies: where a lower threshold would find no more of the unsafe, it is not taken.
    """
    fitting = [
        cost for cost in ordered if cost.false_positive_rate is not None and cost.false_positive_rate <= rate
    ]
    return max(fitting, key=lambda cost: cost.recall or 0.0, default=None)


def bins(rows: Iterable[Judged], count: int) -> list[Bin]:
    """Return the scored rows in *count* bins of one width between 0 and 1."""
    kept: list[list[tuple[float, bool]]] = [[] for _ in range(count)]
    for score, unsafe in scored(rows):
        kept[min(int(score * count), count - 1)].append((score, unsafe))
    return [
        Bin(
            low=number / count,
            high=(number + 1) / count,
            safe=sum(not unsafe for _, unsafe in pairs),
            unsafe=sum(unsafe for _, unsafe in pairs),
            mean=sum(score for score, _ in pairs) / len(pairs) if pairs else None,
        )
        for number, pairs in enumerate(kept)
    ]


def calibration_error(binned: Sequence[Bin]) -> float | None:
    """Return the mean distance between score and share of unsafe rows over *binned*, weighted by rows (ECE)."""
    whole = sum(part.safe + part.unsafe for part in binned)
    off = sum(
        abs(part.mean * (part.safe + part.unsafe) - part.unsafe) for part in binned if part.mean is not None
    )
    return off / whole if whole else None


def brier(rows: Iterable[Judged]) -> float | None:
    """Return the mean squared distance between score and label (0 is perfect, 0.25 a coin's)."""
    pairs = scored(rows)
    return sum((score - unsafe) ** 2 for score, unsafe in pairs) / len(pairs) if pairs else None
