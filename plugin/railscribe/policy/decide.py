"""From the model's word to what the policy makes of it.

Rules

1. Only the sides that the rail's direction decides on count (the policy may have widened them).
2. If one of them is unreadable, the decision is undecided with that side's cause: what cannot be read may
   hide anything.
3. A side is unsafe where the model says so or, under a policy with a threshold, from that score on. A side that
   has no score cannot be held against a threshold: undecided. If all are safe, the decision is allow, or flag where
   a score lies in the policy's review band: the model was not sure, so a person looks at it.
4. Otherwise the strictest action among the named categories decides; a category that the policy does not
   know, and an unsafe verdict without any, count as ``unlisted_action``.
5. ``Sexual (minor)`` blocks, whatever the document came to say and whatever the model called it; no threshold
   applies to it.
"""

from __future__ import annotations

from railscribe.policy.document import Policy
from railscribe.reasoning import in_band
from railscribe.taxonomy import names_sexual_minor
from railscribe.values import Action, Cause, Decision, Direction, Label, Outcome, Verdict

_SEVERITY = (Action.ALLOW, Action.FLAG, Action.BLOCK)


def decide(verdict: Verdict, policy: Policy, direction: Direction) -> Decision:
    """Return what *policy* makes of *verdict* for content travelling in *direction*."""
    sides = policy.sides(direction)
    judged = [side_verdict for side in sides if (side_verdict := verdict.side(side)) is not None]
    causes = [side_verdict.cause for side_verdict in judged if side_verdict.label is Label.UNREADABLE]
    if causes:
        return Decision(outcome=Outcome.UNDECIDED, sides=sides, cause=causes[0])
    if not judged:
        raise ValueError("the verdict has none of the sides that this direction decides on")
    said_unsafe = [side_verdict.label is Label.UNSAFE for side_verdict in judged]
    if policy.threshold is not None and not (any(said_unsafe) and _names_minor(verdict)):
        if any(side_verdict.score is None for side_verdict in judged):
            return Decision(outcome=Outcome.UNDECIDED, sides=sides, cause=Cause.SCORE_MISSING)
        said_unsafe = [(side_verdict.score or 0.0) >= policy.threshold for side_verdict in judged]
    if not any(said_unsafe):
        unsure = in_band(judged, policy.review_band)
        return Decision(outcome=Outcome.FLAG if unsure else Outcome.ALLOW, sides=sides)
    actions = {category.name: _action(policy, category.name) for category in verdict.categories}
    strictest = max(actions.values() or [policy.unlisted_action], key=_SEVERITY.index)
    named = tuple(name for name, action in actions.items() if action is strictest is not Action.ALLOW)
    return Decision(outcome=Outcome(strictest.value), sides=sides, categories=named)


def _names_minor(verdict: Verdict) -> bool:
    return any(names_sexual_minor(category.name) for category in verdict.categories)


def _action(policy: Policy, name: str) -> Action:
    if names_sexual_minor(name):
        return Action.BLOCK
    category = policy.category(name)
    return policy.unlisted_action if category is None else category.action
