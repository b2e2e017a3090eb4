"""What is known of each engine before one is opened, and without the packages that it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from railscribe.settings import EngineName, Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFacts:
    """What one engine can do at the most; the checkpoint or the server that it gets may do less."""

    context_tokens: int
    """What the model reads in all."""
    scores_categories: bool
    in_process: bool


FACTS: Mapping[EngineName, EngineFacts] = {
    "embedded": EngineFacts(context_tokens=32_768, scores_categories=True, in_process=True),  # Gemma 3 270M
    "transformers": EngineFacts(
        context_tokens=131_072, scores_categories=True, in_process=True
    ),  # Gemma 3 4B
    "openai_compatible": EngineFacts(context_tokens=131_072, scores_categories=False, in_process=False),
}


def policy_tokens(settings: Settings) -> int:
    """Return how many tokens a policy may have with *settings*: what the model reads but for a window of exchange.

    ``context_tokens`` of the settings is such a window, and an engine behind a server knows none.
    """
    facts = FACTS[settings.engine]
    window = settings.context_tokens if facts.in_process else None
    return max(0, facts.context_tokens - (window or 0))
