"""What the user is told: the deciding category's words before the policy's, the user's language before the default."""

from __future__ import annotations

import pytest

from railscribe.policy import Policy, parse_policy, refusal_for, refusals_of
from railscribe.policy.refusal import refusal_languages
from railscribe.values import Decision, Outcome, Side


@pytest.fixture
def policy() -> Policy:
    """A policy with texts of its own, of a category, of its child and of none."""
    return parse_policy(
        {
            "name": "p",
            "version": "1",
            "description": "d",
            "refusal": "No.",
            "refusals": {"de": "Nein.", "fr": "Non."},
            "categories": [
                {"name": "Money", "refusals": {"de": "Kein Geld.", "es": "Sin dinero."}},
                {"name": "Loans", "parent": "Money", "refusals": {"es": "Sin crédito."}},
                {"name": "Weather"},
            ],
        }
    )


def decision(*names: str) -> Decision:
    return Decision(outcome=Outcome.BLOCK, sides=(Side.USER,), categories=names)


@pytest.mark.parametrize(
    ("names", "language", "text"),
    [
        (["Money"], "de", "Kein Geld."),
        (["Loans"], "de", "Kein Geld."),
        (["Loans"], "es", "Sin crédito."),
        (["Loans"], "fr", "Non."),
        (["Weather", "Money"], "de", "Kein Geld."),
        (["Weather"], "de", "Nein."),
        (["Weather"], "de-AT", "Nein."),
        (["Weather"], "DE_at", "Nein."),
        (["made up by the model"], "de", "Nein."),
        ([], "de", "Nein."),
        (["Money"], "it", "No."),
        (["Money"], None, "No."),
        (["Money"], "", "No."),
    ],
)
def test_the_nearest_text_in_the_language(
    policy: Policy, names: list[str], language: str | None, text: str
) -> None:
    """Category, then its ancestors, then the policy, then the default."""
    assert refusal_for(policy, decision(*names), language) == text


def test_all_texts_are_known(policy: Policy) -> None:
    """A rail can tell each of its own refusals, whatever category and language it was for."""
    assert refusals_of(policy) == {"No.", "Nein.", "Non.", "Kein Geld.", "Sin dinero.", "Sin crédito."}
    assert refusal_languages(policy) == {"de", "fr", "es"}
