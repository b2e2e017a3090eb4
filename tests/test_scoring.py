"""Figures against numbers worked out by hand."""

from __future__ import annotations

import random

import pytest

from railscribe.scoring import Judged, auroc, figures
from railscribe.values import Label

SAFE, UNSAFE, UNREADABLE = Label.SAFE, Label.UNSAFE, Label.UNREADABLE


def test_figures_of_a_small_confusion() -> None:
    """Two hits, one false alarm, one miss and one right pass give two thirds throughout."""
    rows = [
        Judged(expected=UNSAFE, said=UNSAFE),
        Judged(expected=UNSAFE, said=UNSAFE),
        Judged(expected=SAFE, said=UNSAFE),
        Judged(expected=UNSAFE, said=SAFE),
        Judged(expected=SAFE, said=SAFE),
    ]

    found = figures(rows)

    assert (found["tp"], found["fp"], found["fn"], found["tn"]) == (2, 1, 1, 1)
    assert found["precision"] == found["recall"] == found["f1"] == pytest.approx(2 / 3)


def test_unreadable_counts_as_flagged_and_as_undecided() -> None:
    """What the default would refuse counts as a flag, and shows in a column of its own."""
    found = figures([Judged(expected=SAFE, said=UNREADABLE), Judged(expected=UNSAFE, said=UNREADABLE)])

    assert (found["tp"], found["fp"], found["undecided"]) == (1, 1, 2)


def test_nothing_judged_has_no_ratios() -> None:
    """Without rows a ratio is None, never zero or one."""
    found = figures([])

    assert [found[name] for name in ("precision", "recall", "f1", "auroc")] == [None] * 4


def test_auroc_counts_pairs() -> None:
    """The area is the share of unsafe-safe pairs in the right order, ties half; checked by counting them."""
    rng = random.Random(7)
    rows = [
        Judged(expected=rng.choice([SAFE, UNSAFE]), said=SAFE, score=rng.randrange(10) / 10)
        for _ in range(200)
    ]
    unsafe = [row.score or 0.0 for row in rows if row.expected is UNSAFE]
    safe = [row.score or 0.0 for row in rows if row.expected is SAFE]
    pairs = [(u, s) for u in unsafe for s in safe]

    by_hand = sum([1.0 if u > s else 0.5 if u == s else 0.0 for u, s in pairs]) / len(pairs)

    assert auroc(rows) == pytest.approx(by_hand)


def test_auroc_needs_scores_of_both_classes() -> None:
    """Without scores, or with one class only, there is no curve."""
    assert auroc([Judged(expected=UNSAFE, said=UNSAFE, score=0.9)]) is None
    assert auroc([Judged(expected=UNSAFE, said=UNSAFE), Judged(expected=SAFE, said=SAFE)]) is None
