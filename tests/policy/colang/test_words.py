"""The lexical parts: what is a refusal, and how a clause is worded."""

from __future__ import annotations

import pytest

from railscribe.policy.colang.refusals import name_refuses, text_refuses, topic_of
from railscribe.policy.colang.wording import doing, intent_clause


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, I can't respond to that.",
        "I cannot talk about proprietary technology.",
        "Sorry, but I'm not able to assist with that.",
        "That goes against our guidelines.",
        "Je ne peux pas répondre à cela.",
        "Dabei kann ich leider nicht helfen.",
        "申し訳ありませんが、その質問にはお答えできません。",
        "抱歉,我无法回答。",
        "죄송하지만 도와드릴 수 없습니다.",
        "لا أستطيع المساعدة في ذلك",
        "Я не могу с этим помочь.",
    ],
)
def test_refusals_by_their_words(text: str) -> None:
    """A refusal is known by its words in the languages of the guard."""
    assert text_refuses(text)


@pytest.mark.parametrize(
    "text",
    [
        "You cannot withdraw before May.",
        "Hello! I can help you with that.",
        "Attention: the answer above is potentially inaccurate.",
        "I can't wait to hear from you!",
        "Your card has arrived.",
    ],
)
def test_information_is_no_refusal(text: str) -> None:
    """A sentence about what the user cannot do informs."""
    assert not text_refuses(text)


def test_refusals_by_name() -> None:
    """A message's name says that it refuses; that a card was declined or blocked does not."""
    refused = ["refuse to respond", "inform cannot answer", "deny", "block message", "decline_politely"]
    informs = [
        "comment declined payment",
        "comment on transfer not allowed",
        "confirm card blocked",
        "inform refund",
        "express greeting",
    ]

    assert [name for name in refused if not name_refuses(name)] == []
    assert [name for name in informs if name_refuses(name)] == []


def test_clause_of_an_intent() -> None:
    """The author's words, as a doing; the examples only where there are no words."""
    assert intent_clause("ask about hate speech", ["x"]) == "Asking about hate speech"
    assert intent_clause("user asked for politics", []) == "Asking for politics"
    assert intent_clause("make_threats", []) == "Making threats"
    assert intent_clause("q 12", ["What of it?"]) == 'Messages such as "What of it?"'
    assert doing("get a refund") == "Getting a refund"
    assert doing("insult, offend, or demean people") == "Insulting, offending, or demeaning people"
    assert doing("request change of address") == "Requesting change of address"


def test_topic_of_a_refusal() -> None:
    """What a refusal is about is read from its name, or from what it says."""
    assert topic_of("inform cannot about proprietary technology") == "proprietary technology"
    assert topic_of("deny", ["I cannot talk about politics."]) == "politics"
    assert topic_of("deny", ["No."]) == ""
