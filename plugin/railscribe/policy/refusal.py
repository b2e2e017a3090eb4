"""What the user is told where a policy refuses.

Rules

1. The category that decided comes first, then those above it, then the policy, each with its text in the user's
   language; where none of them has one, the policy's default.
2. A language is a code of ISO 639-1; what follows it ("pt-BR") makes no difference.
"""

from __future__ import annotations

from collections.abc import Iterator

from railscribe.policy.document import ByLanguage, Policy
from railscribe.values import Decision


def refusal_for(policy: Policy, decision: Decision, language: str | None) -> str:
    """Return what the user is told in *language* (``None``: not known) where *decision* refuses (rule 1)."""
    code = (language or "").replace("_", "-").partition("-")[0].lower()
    return next(
        (dict(texts)[code] for texts in _texts(policy, decision) if code in dict(texts)), policy.refusal
    )


def refusals_of(policy: Policy) -> frozenset[str]:
    """Return all that a user may be told under *policy*."""
    texts = [policy.refusals, *(category.refusals for category in policy.categories)]
    return frozenset((policy.refusal, *(text for some in texts for _, text in some)))


def refusal_languages(policy: Policy) -> frozenset[str]:
    """Return the languages in which *policy* has something to say."""
    texts = [policy.refusals, *(category.refusals for category in policy.categories)]
    return frozenset(language for some in texts for language, _ in some)


def _texts(policy: Policy, decision: Decision) -> Iterator[ByLanguage]:
    for name in decision.categories:
        category = policy.category(name)
        if category is not None:
            yield from (one.refusals for one in policy.line(category))
    yield policy.refusals
