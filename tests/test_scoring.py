"""Figures against numbers worked out by hand."""

from __future__ import annotations

import random

import pytest

from railscribe.scoring import Judged, auroc, figures, intervals
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


def drawn(count: int, seed: int) -> list[Judged]:
    """Return rows of a guard that is right four times in five, with scores to match."""
    rng = random.Random(seed)
    rows = []
    for _ in range(count):
        expected = rng.choice([SAFE, UNSAFE])
        score = min(1.0, max(0.0, rng.gauss(0.7 if expected is UNSAFE else 0.3, 0.22)))
        rows.append(Judged(expected=expected, said=UNSAFE if score >= 0.5 else SAFE, score=score))
    return rows


def width(rows: list[Judged], name: str) -> float:
    interval = intervals(rows)[name]
    assert interval is not None
    return interval[1] - interval[0]


def test_an_interval_holds_its_figure_and_comes_out_alike() -> None:
    """Every ratio lies within its interval; the same rows give it again to the last digit, another seed moves it."""
    rows = drawn(300, seed=1)
    whole = figures(rows)

    found = intervals(rows)

    for name, interval in found.items():
        value = whole[name]
        assert interval is not None
        assert value is not None
        assert interval[0] < value < interval[1], name
    assert found == intervals(rows)
    assert found != intervals(rows, seed=2)


def test_an_interval_is_as_wide_as_theory_says() -> None:
    """For a share the normal approximation is known: 3.92 standard errors; four times the rows, half the width."""
    few, many = drawn(250, seed=3), drawn(1000, seed=3)
    share = figures(many)["accuracy"]
    assert share is not None

    assert width(many, "accuracy") == pytest.approx(3.92 * (share * (1 - share) / 1000) ** 0.5, rel=0.15)
    assert width(few, "auroc") / width(many, "auroc") == pytest.approx(2, rel=0.25)


def test_the_interval_of_auroc_is_that_of_the_function() -> None:
    """Counting by rank gives what resampling rows and calling auroc gives, ties and missing scores included."""
    rows = [
        Judged(
            expected=row.expected, said=row.said, score=None if number % 9 == 0 else round(row.score or 0, 1)
        )
        for number, row in enumerate(drawn(120, seed=4))
    ]
    rng = random.Random(5)
    areas = sorted(area for _ in range(1000) if (area := auroc(rng.choices(rows, k=len(rows)))) is not None)

    assert intervals(rows)["auroc"] == pytest.approx((areas[25], areas[974]), abs=0.015)


def test_where_all_rows_agree_there_is_no_interval() -> None:
    """Nothing drawn anew differs there, which is no certainty; nor has nothing an interval."""
    perfect = [Judged(expected=side, said=side, score=float(side is UNSAFE)) for side in (SAFE, UNSAFE) * 5]

    assert set(intervals(perfect).values()) == {None}
    assert set(intervals([]).values()) == {None}
    assert intervals([Judged(expected=UNSAFE, said=said) for said in (SAFE, UNSAFE)])["auroc"] is None
