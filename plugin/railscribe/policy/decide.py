"""From the model's word to what the policy makes of it, and the rule that won.

Rules

1. Only the sides that the rail's direction decides on count (the policy may have widened them).
2. If one of them is unreadable, the decision is undecided with that side's cause: what cannot be read may
   hide anything. So it is where one of several calls was unreadable and what was read would pass.
3. A side is unsafe where the model says so or, under a policy with a threshold, from that score on. A side that
   has no score cannot be held against a threshold: undecided. If all are safe, the decision is allow, or flag where
   a score lies in the policy's review band: the model was not sure, so a person looks at it.
4. Otherwise the strictest action among the named categories decides; a category that the policy does not
   know, and an unsafe verdict without any, count as ``unlisted_action``, and so does one that is known by its
   likeness alone and would be allowed.
5. A category with a threshold acts from its score on, whatever the label and whether it was named or not; named
   with a lower score it does not act, unless its parent would on the name alone. Categories stand together: what
   falls on those that act from a score or below it, whatever their number, acts from that score on
   (``_together``). Without scores for the categories such a policy is undecided.
6. ``Sexual (minor)``, and what stands below it, blocks, whatever the document came to say and whatever the model
   called it; no threshold applies to it.
7. The rule that won is told in the policy's words, never in the content's or the model's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from railscribe.policy.document import Policy, PolicyCategory
from railscribe.policy.families import HIGHEST_FOR_MINOR
from railscribe.reasoning import in_band
from railscribe.taxonomy import SEXUAL_MINOR, names_sexual_minor
from railscribe.values import (
    SEVERITY,
    Action,
    Category,
    Cause,
    Decision,
    Direction,
    Label,
    Outcome,
    Side,
    SideVerdict,
    Verdict,
)

_EVEN = 0.5
"""Where a category without a threshold stands among those with one, unless the policy has a threshold."""
_DOES = {Action.ALLOW: "is allowed", Action.FLAG: "flags", Action.BLOCK: "blocks"}


class _Found(NamedTuple):
    """One reason to act."""

    action: Action
    names: tuple[str, ...]
    """As the verdict has them."""
    rule: str


def decide(verdict: Verdict, policy: Policy, direction: Direction) -> Decision:
    """Return what *policy* makes of *verdict* for content travelling in *direction*."""
    sides = policy.sides(direction)
    judged = [side_verdict for side in sides if (side_verdict := verdict.side(side)) is not None]
    unreadable = next(
        (side_verdict for side_verdict in judged if side_verdict.label is Label.UNREADABLE), None
    )
    if unreadable is not None:
        return _undecided(unreadable.cause or Cause.ENGINE_FAILED, sides)
    if not judged:
        raise ValueError("the verdict has none of the sides that this direction decides on")
    said_unsafe = any(side.label is Label.UNSAFE for side in judged)
    floor = [category for category in verdict.categories if said_unsafe and _is_floor(policy, category)]
    if floor:
        found = [_Found(Action.BLOCK, (one.name,), _floor_rule(policy, one)) for one in floor]
        return _acting(found, Action.BLOCK, sides)
    if (verdict.category_score(SEXUAL_MINOR, sides) or 0.0) >= HIGHEST_FOR_MINOR:
        rule = f"category {SEXUAL_MINOR!r} blocks by its score (under any policy)"
        return _acting([_Found(Action.BLOCK, (SEXUAL_MINOR,), rule)], Action.BLOCK, sides)
    if _lacks_scores(verdict, policy, sides, judged):
        return _undecided(Cause.SCORE_MISSING, sides)
    decision = _decided(verdict, policy, sides, judged)
    unread = next((side.unread for side in judged if side.unread is not None), None)
    passes = decision.outcome in (Outcome.ALLOW, Outcome.FLAG)
    return decision if unread is None or not passes else _undecided(unread, sides)


def _decided(
    verdict: Verdict, policy: Policy, sides: tuple[Side, ...], judged: Sequence[SideVerdict]
) -> Decision:
    """Rules 3 to 5, of sides that can be read."""
    # What was called unsafe without a name may be what no threshold lifts.
    nameless = verdict.unnamed or not verdict.categories
    unsafe = [_is_unsafe(side, policy) or (nameless and side.label is Label.UNSAFE) for side in judged]
    found: list[_Found] = []
    below: list[str] = []
    if any(unsafe):
        for category in verdict.categories:
            one = _named(category, policy, below, verdict, sides)
            found += [one] if one else []
        if nameless:
            action = policy.unlisted_action
            found.append(_Found(action, (), f"unsafe without a category {_DOES[action]} (unlisted_action)"))
    if policy.scores_categories:
        found += _together(verdict, policy, sides)
    if found:
        return _acting(found, max((one.action for one in found), key=SEVERITY.index), sides)
    # What one category leaves below its threshold may still be in the band.
    if in_band(judged, policy.review_band):
        low, high = policy.review_band or (0.0, 0.0)
        return Decision(
            outcome=Outcome.FLAG, sides=sides, rule=f"the score lies in the review band {low:g} to {high:g}"
        )
    return Decision(outcome=Outcome.ALLOW, sides=sides, rule="; ".join(below) or _safe_rule(policy))


def _is_unsafe(side: SideVerdict, policy: Policy) -> bool:
    if policy.threshold is None:
        return side.label is Label.UNSAFE
    return (side.score or 0.0) >= policy.threshold


def _lacks_scores(
    verdict: Verdict, policy: Policy, sides: Sequence[Side], judged: Sequence[SideVerdict]
) -> bool:
    """Whether *policy* has thresholds and there is nothing to hold against them."""
    if policy.threshold is not None and any(side.score is None for side in judged):
        return True
    sent = [side for side in sides if verdict.side(side) is not None]
    names = {category.name for category in policy.categories}
    return policy.scores_categories and any(
        not names <= set(verdict.category_scores.get(side, ())) for side in sent
    )


def _named(
    category: Category, policy: Policy, below: list[str], verdict: Verdict, sides: Sequence[Side]
) -> _Found | None:
    """Return what naming *category* leads to; where its score is too low, nothing, and why goes to *below*."""
    known = policy.category(category.name)
    if known is None or category.near:
        # By likeness alone nothing is let off: neither by a gentler action nor by a threshold.
        action = max(policy.unlisted_action, known.action if known else Action.ALLOW, key=SEVERITY.index)
        what = "a category that the policy does not know" if known is None else "a category known by likeness"
        return _Found(action, (category.name,), f"{what} {_DOES[action]} (unlisted_action)")
    if policy.acts_when_named(known):
        return _Found(known.action, (known.name,), f"category {known.name!r} {_DOES[known.action]}")
    score, threshold = verdict.category_score(known.name, sides) or 0.0, known.threshold or 0.0
    if score < threshold:
        below.append(f"category {known.name!r} stays below its threshold ({score:.2f} < {threshold:g})")
    return None  # with a higher score it is found as such


def _together(verdict: Verdict, policy: Policy, sides: Sequence[Side]) -> Iterator[_Found]:
    """Yield the categories that act by their scores (rule 5): alone, or else together.

    A text that falls on several categories divides its score among them. For each action and each threshold, those
    that do at least that from at most that threshold are summed, up to the side's own score. A category without a
    threshold stands at the policy's, or at one half.
    """
    acting = [category for category in policy.categories if category.action is not Action.ALLOW]
    for side in sides:
        scores = verdict.category_scores.get(side)
        judged = verdict.side(side)
        if scores is None or judged is None:
            continue
        alone = [
            _Found(
                category.action,
                (category.name,),
                f"category {category.name!r} {_DOES[category.action]}"
                f" (score {scores[category.name]:.2f} >= {category.threshold:g})",
            )
            for category in acting
            if category.threshold is not None and scores[category.name] >= category.threshold
        ]
        yield from alone
        most = judged.score if judged.score is not None else 1.0
        for action in (Action.BLOCK, Action.FLAG):
            if not any(found.action is action for found in alone):
                yield from _pooled(
                    [c for c in acting if SEVERITY.index(c.action) >= SEVERITY.index(action)],
                    policy,
                    {name: min(score, most) for name, score in scores.items()},
                    most,
                    action,
                )


def _pooled(
    acting: Sequence[PolicyCategory], policy: Policy, scores: dict[str, float], most: float, action: Action
) -> Iterator[_Found]:
    default = policy.threshold or _EVEN
    for threshold in sorted({category.threshold for category in acting if category.threshold is not None}):
        pool = [c for c in acting if (default if c.threshold is None else c.threshold) <= threshold]
        total = min(sum(scores[category.name] for category in pool), most)
        if len(pool) > 1 and total >= threshold:
            likely = sorted(pool, key=lambda category: -scores[category.name])
            share, names = 0.0, []
            for category in likely:
                names.append(category.name)
                share += scores[category.name]
                if share >= threshold:
                    break
            yield _Found(
                action,
                tuple(names),
                f"categories {' and '.join(map(repr, names[:3]))}{' and others' if len(names) > 3 else ''}"
                f" together {'block' if action is Action.BLOCK else 'flag'} (score {total:.2f} >= {threshold:g})",
            )
            return


def _acting(found: Sequence[_Found], action: Action, sides: tuple[Side, ...]) -> Decision:
    """Return the decision for the strictest *action* of *found*; its first rule is the one that is told."""
    led = [one for one in found if one.action is action]
    names = dict.fromkeys(name for one in led for name in one.names)
    return Decision(
        outcome=Outcome(action.value),
        sides=sides,
        categories=() if action is Action.ALLOW else tuple(names),
        rule=led[0].rule,
    )


def _undecided(cause: Cause, sides: tuple[Side, ...]) -> Decision:
    return Decision(outcome=Outcome.UNDECIDED, sides=sides, cause=cause, rule=f"no verdict: {cause.value}")


def _safe_rule(policy: Policy) -> str:
    if policy.threshold is None:
        return "safe on every side that counts"
    return f"every score that counts is below {policy.threshold:g}"


def _is_floor(policy: Policy, category: Category) -> bool:
    known = policy.category(category.name)
    line = policy.line(known) if known else ()
    return names_sexual_minor(category.name) or any(
        names_sexual_minor(f"{one.name}: {one.definition}") for one in line
    )


def _floor_rule(policy: Policy, category: Category) -> str:
    known = policy.category(category.name)
    named = f"category {known.name!r}" if known else "a category of sexual content with minors"
    return f"{named} blocks under every policy"
