"""What is refused before any engine is asked: exchanges that cannot be judged, policies that cannot decide. Pure."""

from __future__ import annotations

from railscribe.engines import Engine
from railscribe.errors import PolicyError
from railscribe.policy import Policy
from railscribe.settings import Settings
from railscribe.values import Cause, Direction, Exchange


def direction_of(exchange: Exchange) -> Direction:
    """Return the direction that *exchange* was travelling in, going by what it holds."""
    return Direction.INPUT if exchange.response is None else Direction.OUTPUT


def unjudgeable(exchange: Exchange, direction: Direction, settings: Settings) -> Cause | None:
    """Return why *exchange* cannot go to any engine, if it cannot: step (1)."""
    judged = exchange.user if direction.to_the_model else exchange.response
    if not (judged or "").strip() and not (direction.to_the_model and exchange.images):
        return Cause.EMPTY
    if max(len(exchange.user), len(exchange.response or "")) > settings.max_text_chars:
        return Cause.TOO_LONG
    if len(exchange.images) > settings.max_images:
        return Cause.TOO_MANY_IMAGES
    return None


def undecidable(policy: Policy, direction: Direction, engine: Engine) -> Cause | None:
    """Return why *policy* cannot decide on what travels in *direction* and *engine* judges, if it cannot."""
    if not policy.applies(direction):
        return Cause.POLICY_NOT_APPLICABLE
    if policy.scores_categories and not engine.scores_categories:
        return Cause.NO_CATEGORY_SCORES
    return None


def refuse_misfit(policy: Policy, direction: Direction, engine: Engine) -> None:
    """Refuse *policy* for a rail in *direction* that *engine* judges for, where it could only ever refuse.

    Raises:
        PolicyError: it does not apply to the direction, or needs scores that the engine never gives.
    """
    if not policy.applies(direction):
        raise PolicyError(
            f"The policy {policy.name} does not apply to {direction.value}, where a rail is to use it.",
            hint=f"Its applies_to names {', '.join(policy.applies_to or ())}.",
        )
    refuse_unscored(policy, engine)


def refuse_unscored(policy: Policy, engine: Engine) -> None:
    """Refuse *policy* where it needs scores that *engine* never gives.

    Raises:
        PolicyError: it does.
    """
    if policy.scores_categories and not engine.scores_categories:
        named = [category.name for category in policy.categories if category.threshold is not None]
        raise PolicyError(
            f"The policy {policy.name} has thresholds on categories ({', '.join(named[:3])}"
            f"{', …' if len(named) > 3 else ''}), and the {engine.info.name} engine gives them no scores.",
            hint="Use an engine in process (embedded, transformers), or the policy's one threshold: for all of them.",
        )
