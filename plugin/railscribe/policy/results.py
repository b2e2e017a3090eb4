"""What came of a policy's cases, and whether it is good enough.

Rules

1. ``category`` is met when any one of its names was among the verdict's.
2. A *known failure* is a case that one guard gets wrong, with the reason; it counts apart, for that guard only. That
   it passes after all is worth a line.
3. A case that is run several times passes if it always does, and is *flaky* if it does not always end alike.
4. A file's cases are good enough where none failed or was flaky, or else where the share that was asked for passes,
   known failures counted as not passed. What nobody ran is not held against them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from railscribe.policy.cases import Case, Expected, Suite
from railscribe.values import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that came otherwise than expected."""

    field: str
    expected: str
    got: str


class Standing(str, Enum):
    """How a case ended (rules 2 and 3)."""

    PASSED = "passed"
    FAILED = "failed"
    FLAKY = "flaky"
    KNOWN_FAILURE = "known_failure"
    UNEXPECTED_PASS = "unexpected_pass"  # noqa: S105 - no password


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of one case."""

    case: Case
    records: tuple[Record, ...]
    """One for each time that it was run."""
    differences: tuple[tuple[Difference, ...], ...]
    """Of each record."""

    @property
    def standing(self) -> Standing:
        """How it ended, for the guard that judged it."""
        failed = sum(map(bool, self.differences))
        known = self.records[0].engine.name in self.case.known_failures
        if not failed:
            return Standing.UNEXPECTED_PASS if known else Standing.PASSED
        if known:
            return Standing.KNOWN_FAILURE
        return Standing.FAILED if failed == len(self.differences) else Standing.FLAKY

    @property
    def scores(self) -> tuple[float, ...]:
        """The scores of the side that was decided on, where there are any."""
        said = [record.verdict.side(side) for record in self.records for side in record.decision.sides]
        return tuple(side.score for side in said if side is not None and side.score is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What became of the cases of one file that were run."""

    suite: Suite
    """With these cases alone."""
    results: tuple[Result, ...]
    left_out: int = 0
    """How many others the file has."""
    min_pass: float | None = None
    """The share that must pass; ``None``: all but known failures."""
    strict: bool = False
    """Whether a known failure that passes counts as failed."""

    @property
    def share(self) -> float | None:
        """The share that ended as expected; ``None`` where none was run."""
        passed = sum(each.standing in (Standing.PASSED, Standing.UNEXPECTED_PASS) for each in self.results)
        return passed / len(self.results) if self.results else None

    @property
    def too_few(self) -> str | None:
        """That fewer pass than must, in words."""
        if self.share is None or self.min_pass is None or self.share >= self.min_pass:
            return None
        return f"{self.share:.1%} of the cases pass, fewer than the {self.min_pass:.1%} that must"

    def fails(self, result: Result) -> bool:
        """Return whether *result*, one of these, is held against the policy."""
        if result.standing is Standing.UNEXPECTED_PASS:
            return self.strict
        bad = result.standing in (Standing.FAILED, Standing.FLAKY)
        return bad and (self.min_pass is None or self.too_few is not None)

    @property
    def ok(self) -> bool:
        """Whether it is good enough (rule 4)."""
        return self.too_few is None and not any(map(self.fails, self.results))


def compare(case: Case, record: Record) -> tuple[Difference, ...]:
    """Return where *record* differs from what *case* expects."""
    return tuple(_differences(case.expected, record))


def _differences(expected: Expected, record: Record) -> Iterator[Difference]:
    decision, verdict = record.decision, record.verdict
    if expected.decision not in (None, decision.outcome):
        cause = f" ({decision.cause.value})" if decision.cause else ""
        yield Difference(
            field="decision", expected=expected.decision.value, got=f"{decision.outcome.value}{cause}"
        )
    if expected.user not in (None, verdict.user.label):
        yield Difference(field="user", expected=expected.user.value, got=verdict.user.label.value)
    if expected.response is not None:
        label = verdict.response.label.value if verdict.response else "none"
        if label != expected.response.value:
            yield Difference(field="response", expected=expected.response.value, got=label)
    named = [category.name for category in verdict.categories]
    if expected.categories and not set(expected.categories) & set(named):
        yield Difference(
            field="category", expected=" or ".join(expected.categories), got=", ".join(named) or "none"
        )


def counts(results: Sequence[Result]) -> dict[str, int]:
    """Return how many of *results* stand how."""
    return {standing.value: sum(result.standing is standing for result in results) for standing in Standing}


def as_item(result: Result) -> dict[str, Any]:
    """Return *result* as ``--json`` promises it."""
    first = result.records[0]
    return {
        "name": result.case.name,
        "line": result.case.line,
        "standing": result.standing.value,
        "runs": len(result.records),
        "failed_runs": sum(map(bool, result.differences)),
        "differences": [
            {"field": each.field, "expected": each.expected, "got": each.got}
            for each in next(filter(None, result.differences), ())
        ],
        "decision": first.decision.outcome.value,
        "categories": [category.name for category in first.verdict.categories],
        "scores": [round(score, 6) for score in result.scores],
        "record_id": first.id,
    }
