"""The geometry of the page's charts, in the units of their SVG. Pure.

Every chart has the same square field: (0, 0) at the lower left is ``LEFT, BOTTOM`` and (1, 1) is ``RIGHT, TOP``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from railscribe.evaluation.curves import Bin, Cost, cost_at

LEFT, RIGHT, TOP, BOTTOM = 40.0, 340.0, 10.0, 250.0
MIDDLE = (TOP + BOTTOM) / 2
STEPS = 200
"""Thresholds that the curves over thresholds and the slider stop at."""

Point = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar of a histogram, and what it counts."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    says: str


def place(x: float, y: float) -> Point:
    """Return where (x, y), both 0 to 1, lies in the field."""
    return round(LEFT + x * (RIGHT - LEFT), 2), round(BOTTOM - y * (BOTTOM - TOP), 2)


def line(points: Iterable[Point]) -> str:
    """Return *points*, both coordinates 0 to 1, as a polyline's, without those inside a straight stretch."""
    return " ".join(f"{x:g},{y:g}" for x, y in _corners([place(*point) for point in points]))


def roc_points(ordered: Sequence[Cost]) -> list[Point]:
    """Return the ROC curve of *ordered*; empty where one of the classes is missing."""
    points = [(cost.false_positive_rate, cost.recall) for cost in ordered]
    return [(x, y) for x, y in points if x is not None and y is not None]


def stops(ordered: Sequence[Cost]) -> list[Cost]:
    """Return the costs that a slider from flagging all to flagging nothing stops at: spread evenly over the rows."""
    rising = list(reversed(ordered))
    if len(rising) <= STEPS + 1:
        return rising
    return [rising[number * (len(rising) - 1) // STEPS] for number in range(STEPS + 1)]


def over_thresholds(ordered: Sequence[Cost], measure: str) -> str:
    """Return the line of *measure*, a property of :class:`Cost`, over thresholds from 0 to 1."""
    found = []
    for number in range(STEPS + 1):
        value = getattr(cost_at(ordered, number / STEPS), measure)
        if value is not None:
            found.append((number / STEPS, value))
    return line(found)


def histogram(binned: Sequence[Bin]) -> list[Bar]:
    """Return the bars of *binned*: unsafe rows upwards, safe ones downwards from the middle, as shares of their class.

    Heights go by the square root, and a bar that counts anything can be seen: the few rows on the wrong side are
    what one looks for.
    """
    shares = [count / max(1, sum(half)) for half in _counts(binned).values() for count in half]
    scale = ((BOTTOM - TOP) / 2 - 2) / max([*shares, 1e-9]) ** 0.5
    return [bar for kind, counts in _counts(binned).items() for bar in _half(binned, kind, counts, scale)]


def _counts(binned: Sequence[Bin]) -> dict[str, list[int]]:
    return {"unsafe": [part.unsafe for part in binned], "safe": [part.safe for part in binned]}


def _half(binned: Sequence[Bin], kind: str, counts: Sequence[int], scale: float) -> Iterator[Bar]:
    whole = sum(counts)
    for part, count in zip(binned, counts, strict=True):
        if count:
            height = round(max(2.0, scale * (count / whole) ** 0.5), 2)
            left, _ = place(part.low, 0)
            right, _ = place(part.high, 0)
            yield Bar(
                x=left + 0.75,
                y=round(MIDDLE - height, 2) if kind == "unsafe" else MIDDLE,
                width=round(right - left - 1.5, 2),
                height=height,
                kind=kind,
                says=f"{part.low:.2f} to {part.high:.2f}: {count} {kind} ({count / whole:.1%})",
            )


def _corners(points: Sequence[Point]) -> Iterator[Point]:
    for number, point in enumerate(points):
        if 0 < number < len(points) - 1:
            (ax, ay), (bx, by) = points[number - 1], points[number + 1]
            if (point[0] - ax) * (by - point[1]) == (point[1] - ay) * (bx - point[0]):
                continue
        yield point
