"""When the model is asked to think, and what thinking shows. Pure.

Rules

1. What the caller asked for this very check comes first, then the policy's plan, then the settings'.
2. ``verdict`` for all asks with thinking at once. Any narrower plan starts with a fast verdict, which says whether
   the plan applies: to what was blocked, to scores in a band, or to a sample.
3. A sample goes by the record's id, so anybody can tell afterwards why a record was in it.
4. A check without a reply has nothing to think about: no narrower plan applies to it, and nothing is deferred.
5. Where a fast and a thinking verdict were both asked for, the stricter decision is enforced: block, then
   undecided, then flag, then allow. At equal strictness the thinking verdict counts, since it says why.
6. What differs, contradicts itself or is missing is a reason for review. None changes a decision.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from railscribe.values import Decision, Label, Outcome, Reasoning, Review, Side, SideVerdict, Verdict

Band = tuple[float, float]
"""Scores from and up to, both included."""

_STRICTNESS = (Outcome.ALLOW, Outcome.FLAG, Outcome.UNDECIDED, Outcome.BLOCK)


class ReasoningFor(str, Enum):
    """Which checks a plan is for."""

    ALL = "all"
    BLOCKED = "blocked"
    BAND = "band"
    SAMPLE = "sample"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningPlan:
    """When the model is asked to think."""

    mode: Reasoning
    applies_to: ReasoningFor = ReasoningFor.ALL
    sample: float | None = None
    """The share of checks, above 0 and up to 1, where it applies to a sample."""

    @property
    def thinks_at_once(self) -> bool:
        """Whether the first and only call thinks (rule 2)."""
        return self.mode is Reasoning.VERDICT and self.applies_to is ReasoningFor.ALL

    def applies(
        self, record_id: str, decision: Decision, sides: Sequence[SideVerdict], band: Band | None
    ) -> bool:
        """Return whether a check that came to *decision* on *sides* is to be thought about (rules 2 to 4)."""
        if self.mode is Reasoning.OFF:
            return False
        if self.applies_to is ReasoningFor.BLOCKED:
            return decision.outcome is Outcome.BLOCK
        if self.applies_to is ReasoningFor.BAND:
            return in_band(sides, band)
        return self.applies_to is ReasoningFor.ALL or sampled(record_id, self.sample or 0.0)


def sampled(record_id: str, share: float) -> bool:
    """Return whether the record *record_id* is in a sample of *share*: SHA-256 of the id, as a fraction (rule 3)."""
    return int.from_bytes(hashlib.sha256(record_id.encode()).digest()[:8], "big") < share * 2**64


def in_band(sides: Sequence[SideVerdict], band: Band | None) -> bool:
    """Return whether a score of *sides* lies in *band*."""
    return band is not None and any(
        side.score is not None and band[0] <= side.score <= band[1] for side in sides
    )


def judged_sides(verdict: Verdict, decision: Decision) -> list[SideVerdict]:
    """Return the sides of *verdict* that *decision* was made on."""
    return [said for side in decision.sides if (said := verdict.side(side)) is not None]


def stricter(fast: Decision, thinking: Decision) -> Decision:
    """Return the one that is enforced (rule 5)."""
    order = [_STRICTNESS.index(decision.outcome) for decision in (fast, thinking)]
    return fast if order[0] > order[1] else thinking


def disagree(fast: Verdict, thinking: Verdict) -> bool | None:
    """Return whether the two say different labels on a side; ``None`` where no side can be compared."""
    pairs = [(one, other) for side in Side if (one := fast.side(side)) and (other := thinking.side(side))]
    labels = [(one.label, other.label) for one, other in pairs]
    readable = [pair for pair in labels if Label.UNREADABLE not in pair]
    return any(one is not other for one, other in readable) if readable else None


def contradicts(verdict: Verdict) -> bool | None:
    """Return whether the trace of *verdict* comes to another label than it; ``None`` without a trace."""
    if not (verdict.trace or "").strip():
        return None
    return Review.TRACE_CONTRADICTS.value in verdict.notes


def reviews(
    *, fast: Verdict | None, thinking: Verdict | None, sides: Sequence[SideVerdict], band: Band | None
) -> tuple[Review, ...]:
    """Return why a person should look at a check (rule 6).

    *fast* is the verdict without thinking and *thinking* the one with it, each ``None`` where it was not asked for
    or could not be; *sides* are those that were decided on.
    """
    found = []
    if thinking is not None:
        if contradicts(thinking):
            found.append(Review.TRACE_CONTRADICTS)
        if fast is not None and disagree(fast, thinking):
            found.append(Review.THINK_DISAGREES)
        if not (thinking.trace or "").strip():
            found.append(Review.TRACE_MISSING)
    scores = [side.score for side in sides if side.label is not Label.UNREADABLE]
    if in_band(sides, band):
        found.append(Review.SCORE_IN_BAND)
    elif band is not None and scores and all(score is None for score in scores):
        found.append(Review.SCORE_MISSING)
    return tuple(found)
