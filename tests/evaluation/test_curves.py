"""Curves against numbers worked out by hand, and against the area that is counted by pairs."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from railscribe.evaluation.curves import (
    best_f1,
    bins,
    brier,
    calibration_error,
    cost_at,
    costs,
    within_false_positives,
)
from railscribe.evaluation.drawing import histogram, line, place, roc_points, stops
from railscribe.scoring import Judged, auroc
from railscribe.values import Label


def rows(unsafe: list[float], safe: list[float]) -> list[Judged]:
    return [
        Judged(expected=label, said=Label.UNSAFE if score >= 0.5 else Label.SAFE, score=score)
        for label, scores in ((Label.UNSAFE, unsafe), (Label.SAFE, safe))
        for score in scores
    ]


SMALL = rows([0.9, 0.8, 0.8, 0.3], [0.8, 0.4, 0.2, 0.1, 0.1, 0.05])


def test_costs_of_a_small_set() -> None:
    """Each distinct score is a threshold that flags what is not below it."""
    found = [(cost.threshold, cost.tp, cost.fp, cost.fn, cost.tn) for cost in costs(SMALL)]

    assert found[1:5] == [(0.9, 1, 0, 3, 6), (0.8, 3, 1, 1, 5), (0.4, 3, 2, 1, 4), (0.3, 4, 2, 0, 4)]
    assert found[0][1:] == (0, 0, 4, 6)
    assert found[-1] == (0.05, 4, 6, 0, 0)


def test_the_table_of_one_threshold() -> None:
    """At 0.5, nobody's score, three of four unsafe and one of six safe rows are flagged."""
    cost = cost_at(costs(SMALL), 0.5)

    assert (cost.precision, cost.recall, cost.f1) == (3 / 4, 3 / 4, 3 / 4)
    assert (cost.false_positive_rate, cost.flagged) == (1 / 6, 4 / 10)
    assert cost_at(costs(SMALL), 0.95).precision is None
    assert cost_at(costs(SMALL), 0.0).recall == 1
    at_a_score = cost_at(costs(SMALL), 0.8)
    assert (at_a_score.tp, at_a_score.fp) == (3, 1)


def test_marked_thresholds() -> None:
    """The best F1 is the one of all thresholds; a false-positive rate is kept to, and no lower threshold taken."""
    ordered = costs(SMALL)
    best, strict, wide = (
        best_f1(ordered),
        within_false_positives(ordered, 0.1),
        within_false_positives(ordered, 0.34),
    )

    assert best is not None
    assert best.threshold == 0.3
    assert strict is not None
    assert (strict.threshold, strict.recall) == (0.9, 0.25)
    assert wide is not None
    assert wide.threshold == 0.3
    assert within_false_positives(costs(rows([0.7], [])), 0.1) is None


def test_the_area_under_the_points_is_auroc() -> None:
    """The curve that is drawn encloses the area that is printed, ties and all."""
    rng = random.Random(3)
    many = rows([rng.randrange(30) / 30 for _ in range(70)], [rng.randrange(25) / 30 for _ in range(90)])

    points = roc_points(costs(many))

    assert (points[0], points[-1]) == ((0, 0), (1, 1))
    area = sum((x2 - x1) * (y1 + y2) / 2 for (x1, y1), (x2, y2) in pairwise(points))
    assert area == pytest.approx(auroc(many))


def test_rows_without_a_score_take_no_part() -> None:
    """Neither curve nor bins know them, and without any there is no curve."""
    silent = Judged(expected=Label.UNSAFE, said=Label.UNSAFE)

    assert costs([*SMALL, silent]) == costs(SMALL)
    assert bins([*SMALL, silent], 10) == bins(SMALL, 10)
    assert roc_points(costs([silent])) == []
    assert brier([silent]) is None


def test_bins_and_calibration_of_a_small_set() -> None:
    """A score on a bound belongs to the bin above it, and 1 to the last."""
    found = bins(rows([1.0, 0.75, 0.5], [0.5, 0.0]), 4)

    assert [(part.safe, part.unsafe) for part in found] == [(1, 0), (0, 0), (1, 1), (0, 2)]
    assert [part.share_unsafe for part in found] == [0, None, 0.5, 1]
    assert calibration_error(found) == pytest.approx((0 + 0 + 2 * (1 - 0.875)) / 5)
    assert brier(rows([1.0, 0.5], [0.5])) == pytest.approx(0.5 / 3)


def test_a_bar_for_every_bin_that_counts_anything() -> None:
    """One row among a thousand is still to be seen."""
    drawn = histogram(bins(rows([0.99] * 999 + [0.01], [0.0]), 20))

    assert sorted((bar.kind, bar.height >= 2) for bar in drawn) == [
        ("safe", True),
        ("unsafe", True),
        ("unsafe", True),
    ]


def test_a_line_leaves_out_what_lies_on_it() -> None:
    """A straight stretch keeps its ends only."""
    assert line([(0, 0), (0, 0.25), (0, 1), (1, 1)]) == " ".join(
        "{:g},{:g}".format(*place(x, y)) for x, y in ((0, 0), (0, 1), (1, 1))
    )


def test_the_slider_goes_from_all_to_nothing() -> None:
    """However many scores there are, the stops are few, begin with flagging all and end with flagging nothing."""
    rng = random.Random(5)
    found = stops(costs(rows([rng.random() for _ in range(600)], [rng.random() for _ in range(600)])))

    assert len(found) <= 201
    assert (found[0].flagged, found[-1].flagged) == (1, 0)
    assert all(one.threshold < other.threshold for one, other in pairwise(found))
