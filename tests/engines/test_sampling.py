"""How much a model may write, and the score of a label."""

from __future__ import annotations

import pytest

from railscribe.engines.sampling import label_positions, token_budget, unsafe_share
from railscribe.testing import example_request
from railscribe.values import Flags, Side

VERDICT = ["User", " Safety", ":", " unsafe", "\n", "Response", " Safety", ":", " safe"]


@pytest.mark.parametrize(
    ("response", "thinking", "tokens"),
    [(None, False, 128), ("Paris.", False, 128), (None, True, 1024), ("Paris.", True, 2048)],
)
def test_a_trace_needs_a_larger_budget(response: str | None, thinking: bool, tokens: int) -> None:
    """The budget grows with the trace, and with the response that the trace is about."""
    request = example_request(response=response, flags=Flags(thinking=thinking))

    assert token_budget(request) == tokens


def test_the_label_is_the_token_after_its_field() -> None:
    """Each side's label is found where the model wrote it."""
    assert label_positions(VERDICT) == {Side.USER: 3, Side.RESPONSE: 8}


def test_labels_in_the_trace_are_no_labels() -> None:
    """What the trace says about a side does not move the score."""
    trace = ["<", "think", ">", "\n", "User", " Safety", ":", " safe", "\n", "</", "think", ">"]

    assert label_positions([*trace, *VERDICT]) == {Side.USER: 15, Side.RESPONSE: 20}


@pytest.mark.parametrize(
    "tokens",
    [
        [],
        ["User", " Safety", ":"],
        ["<think>", "User", " Safety", ":", " safe"],
        ["I say User", " Safety", ":", " safe"],
        ["User Safety: safe"],
    ],
    ids=["nothing", "no label", "unclosed trace", "not its own line", "label inside a longer token"],
)
def test_what_is_not_plainly_a_label_has_no_position(tokens: list[str]) -> None:
    """Where no token begins exactly at a label there is no score."""
    assert label_positions(tokens) == {}


def test_the_score_is_the_share_of_unsafe() -> None:
    """Only the two labels count, with or without the space, and whole or in the first of their pieces."""
    assert unsafe_share({" unsafe": 0.6, " safe": 0.2, " Safe": 0.2}) == pytest.approx(0.75)
    assert unsafe_share({" un": 0.3, "unsafe": 0.3, " safe": 0.2}) == pytest.approx(0.75)
    assert unsafe_share({" safe": 1.0}) == 0.0


def test_without_either_label_there_is_no_score() -> None:
    """A score is never made up."""
    assert unsafe_share({}) is None
    assert unsafe_share({" maybe": 1.0, "": 0.5}) is None
