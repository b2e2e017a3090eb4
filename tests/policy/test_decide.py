"""Deciding: the whole table of labels, directions, sides and actions."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest

from railscribe.policy import Policy, decide, parse_policy
from railscribe.taxonomy import SEXUAL_MINOR
from railscribe.values import (
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

USER, RESPONSE = (Side.USER,), (Side.RESPONSE,)
BOTH = (Side.USER, Side.RESPONSE)


def policy(*, action: str = "block", unlisted: str = "block", **changes: Any) -> Policy:
    document = {
        "name": "p",
        "version": "1",
        "description": "d",
        "builtin": False,
        "unlisted_action": unlisted,
        "categories": [
            {"name": "Tickets", "action": action},
            {"name": "Fares", "action": "flag"},
            {"name": "Delays", "action": "allow"},
        ],
    }
    return parse_policy(document | changes)


def verdict(user: Label, response: Label | None, names: Sequence[str] = ()) -> Verdict:
    def side(label: Label) -> SideVerdict:
        return SideVerdict(label=label, cause=Cause.STRAY_TEXT if label is Label.UNREADABLE else None)

    return Verdict(
        user=side(user),
        response=None if response is None else side(response),
        categories=tuple(Category(name=name, said=name, known=True) for name in names),
    )


SIDES = {
    (Direction.INPUT, False): USER,
    (Direction.INPUT, True): BOTH,
    (Direction.OUTPUT, False): RESPONSE,
    (Direction.OUTPUT, True): BOTH,
}
TABLE = [
    (direction, widened, user, response, action)
    for (direction, widened), user, response, action in itertools.product(
        SIDES, Label, (*Label, None), Action
    )
    if not (direction is Direction.OUTPUT and response is None)
]


@pytest.mark.parametrize(
    ("direction", "widened", "user", "response", "action"),
    [pytest.param(*row, id="-".join(getattr(part, "value", str(part)) for part in row)) for row in TABLE],
)
def test_table(
    direction: Direction, widened: bool, user: Label, response: Label | None, action: Action
) -> None:
    """A side that counts and cannot be read is undecided; one that is unsafe gets the category's action."""
    sides = {"input": ["user", "response"], "output": ["user", "response"]} if widened else {}
    chosen = policy(action=action.value, sides=sides)
    counted = SIDES[direction, widened]
    labels = {label for side, label in ((Side.USER, user), (Side.RESPONSE, response)) if side in counted} - {
        None
    }

    decision = decide(verdict(user, response, ["Tickets"]), chosen, direction)

    if Label.UNREADABLE in labels:
        expected = Decision(outcome=Outcome.UNDECIDED, sides=counted, cause=Cause.STRAY_TEXT)
    elif labels == {Label.SAFE}:
        expected = Decision(outcome=Outcome.ALLOW, sides=counted)
    else:
        led = () if action is Action.ALLOW else ("Tickets",)
        expected = Decision(outcome=Outcome(action.value), sides=counted, categories=led)
    assert decision == expected


@pytest.mark.parametrize(
    ("names", "unlisted", "outcome", "led"),
    [
        (["Delays", "Fares", "Tickets"], "flag", Outcome.BLOCK, ("Tickets",)),
        (["Fares", "Delays"], "block", Outcome.FLAG, ("Fares",)),
        (["Delays"], "block", Outcome.ALLOW, ()),
        ([], "block", Outcome.BLOCK, ()),
        ([], "flag", Outcome.FLAG, ()),
        (["Made Up"], "block", Outcome.BLOCK, ("Made Up",)),
        (["Made Up"], "flag", Outcome.FLAG, ("Made Up",)),
        (["Delays", "Made Up"], "block", Outcome.BLOCK, ("Made Up",)),
        (["Fares", "Made Up"], "flag", Outcome.FLAG, ("Fares", "Made Up")),
        (["Violence"], "flag", Outcome.FLAG, ("Violence",)),
        ([SEXUAL_MINOR], "flag", Outcome.BLOCK, (SEXUAL_MINOR,)),
        (["Delays", SEXUAL_MINOR], "flag", Outcome.BLOCK, (SEXUAL_MINOR,)),
        (["Sexual content involving minors"], "flag", Outcome.BLOCK, ("Sexual content involving minors",)),
    ],
)
def test_strictest_category_decides(
    names: list[str], unlisted: str, outcome: Outcome, led: tuple[str, ...]
) -> None:
    """The strictest action among the named wins, an unknown or missing name counting as unlisted."""
    decision = decide(verdict(Label.UNSAFE, None, names), policy(unlisted=unlisted), Direction.INPUT)

    assert (decision.outcome, decision.categories) == (outcome, led)


@pytest.mark.parametrize("action", ["flag", "allow"])
def test_sexual_minor_blocks_under_a_soft_policy(action: str) -> None:
    """A policy whose every other category is let through still blocks this one."""
    soft = parse_policy(
        {
            "name": "soft",
            "version": "1",
            "description": "d",
            "action": action,
            "unlisted_action": "flag",
            "disallowed": ["Selling tickets"],
        }
    )

    decision = decide(verdict(Label.UNSAFE, None, ["Violence", SEXUAL_MINOR]), soft, Direction.INPUT)

    assert decision.outcome is Outcome.BLOCK
    assert decision.categories == (SEXUAL_MINOR,)


def test_the_other_side_does_not_count() -> None:
    """An output rail lets a good answer to a bad question pass, and an input rail a good question."""
    bad_question = verdict(Label.UNSAFE, Label.SAFE, ["Tickets"])
    bad_answer = verdict(Label.SAFE, Label.UNSAFE, ["Tickets"])

    assert decide(bad_question, policy(), Direction.OUTPUT).outcome is Outcome.ALLOW
    assert decide(bad_answer, policy(), Direction.INPUT).outcome is Outcome.ALLOW
    assert decide(bad_question, policy(), Direction.INPUT).outcome is Outcome.BLOCK
    assert decide(bad_answer, policy(), Direction.OUTPUT).outcome is Outcome.BLOCK


def test_output_without_a_response_cannot_be_decided() -> None:
    """A verdict that lacks the only side that counts is a bug of the caller, not an allow."""
    with pytest.raises(ValueError, match="none of the sides"):
        decide(verdict(Label.SAFE, None), policy(), Direction.OUTPUT)


@pytest.mark.parametrize(
    ("labels", "scores", "direction", "outcome"),
    [
        ((Label.SAFE, None), (0.4, None), Direction.INPUT, Outcome.FLAG),
        ((Label.SAFE, None), (0.2, None), Direction.INPUT, Outcome.ALLOW),
        ((Label.SAFE, None), (0.8, None), Direction.INPUT, Outcome.ALLOW),
        ((Label.SAFE, None), (None, None), Direction.INPUT, Outcome.ALLOW),
        ((Label.SAFE, Label.SAFE), (0.4, 0.1), Direction.OUTPUT, Outcome.ALLOW),
        ((Label.SAFE, Label.SAFE), (0.1, 0.4), Direction.OUTPUT, Outcome.FLAG),
        ((Label.UNSAFE, None), (0.4, None), Direction.INPUT, Outcome.BLOCK),
    ],
)
def test_a_review_band_flags_what_is_called_safe(
    labels: tuple[Label, Label | None],
    scores: tuple[float | None, float | None],
    direction: Direction,
    outcome: Outcome,
) -> None:
    """Rule 3: on the sides that are decided on, a score in the band turns allow to flag and nothing else."""
    user, response = (
        None if label is None else SideVerdict(label=label, score=score)
        for label, score in zip(labels, scores, strict=True)
    )
    assert user is not None

    found = decide(Verdict(user=user, response=response), policy(review_band=[0.3, 0.7]), direction)

    assert (found.outcome, found.categories) == (outcome, ())


@pytest.mark.parametrize(
    ("label", "score", "threshold", "categories", "outcome", "cause"),
    [
        (Label.SAFE, 0.35, 0.3, (), Outcome.BLOCK, None),
        (Label.SAFE, 0.25, 0.3, (), Outcome.ALLOW, None),
        (Label.UNSAFE, 0.6, 0.8, ("Violence",), Outcome.ALLOW, None),
        (Label.UNSAFE, 0.8, 0.8, ("Violence",), Outcome.BLOCK, None),
        (Label.UNSAFE, 0.6, 0.8, ("Violence", "Sexual (minor)"), Outcome.BLOCK, None),
        (Label.UNSAFE, None, 0.8, ("Sexual (minor)",), Outcome.BLOCK, None),
        (Label.SAFE, None, 0.8, (), Outcome.UNDECIDED, Cause.SCORE_MISSING),
        (Label.UNSAFE, None, 0.8, ("Violence",), Outcome.UNDECIDED, Cause.SCORE_MISSING),
    ],
)
def test_a_threshold_moves_the_line(
    label: Label,
    score: float | None,
    threshold: float,
    categories: tuple[str, ...],
    outcome: Outcome,
    cause: Cause | None,
) -> None:
    """Rules 3 and 5: the score decides, nothing is guessed without one, and Sexual (minor) is above it."""
    said = Verdict(
        user=SideVerdict(label=label, score=score),
        categories=tuple(Category(name=name, said=name, known=True) for name in categories),
    )

    found = decide(said, policy(threshold=threshold), Direction.INPUT)

    assert (found.outcome, found.cause) == (outcome, cause)
