"""Deciding: the whole table of labels, directions, sides and actions."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
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


# Thresholds on categories.
def scored(
    score: float,
    shares: dict[str, float],
    *,
    named: Sequence[str] = (),
    side: Side = Side.USER,
    names: Sequence[str] = ("Tickets", "Fares", "Delays", SEXUAL_MINOR),
) -> Verdict:
    """A verdict with a score, of which *shares* fall on the categories of the policy."""
    label = Label.UNSAFE if score >= 0.5 else Label.SAFE
    one, other = SideVerdict(label=label, score=score), SideVerdict(label=Label.SAFE, score=0.0)
    scores = {name: score * shares.get(name, 0.0) for name in names}
    none = dict.fromkeys(names, 0.0)
    return Verdict(
        user=one if side is Side.USER else other,
        response=one if side is Side.RESPONSE else None,
        categories=tuple(Category(name=name, said=name, known=name in names) for name in named),
        category_scores={Side.USER: scores} if side is Side.USER else {side: scores, Side.USER: none},
    )


def by_scores(tickets: float, fares: float | None = None, **changes: Any) -> Policy:
    categories = [
        {"name": "Tickets", "threshold": tickets},
        {"name": "Fares", "action": "flag"} | ({"threshold": fares} if fares else {}),
        {"name": "Delays", "action": "allow"},
    ]
    return policy(**({"categories": categories} | changes))


@pytest.mark.parametrize(
    ("score", "shares", "named", "thresholds", "outcome", "rule"),
    [
        # Alone, named or not, above one half or below.
        (0.9, {"Tickets": 0.8}, ["Tickets"], (0.7,), Outcome.BLOCK, "category 'Tickets' blocks (score 0.72 >= 0.7)"),
        (0.9, {"Tickets": 0.8}, [], (0.7,), Outcome.BLOCK, "unsafe without a category blocks (unlisted_action)"),
        (0.4, {"Tickets": 0.8}, [], (0.3,), Outcome.BLOCK, "category 'Tickets' blocks (score 0.32 >= 0.3)"),
        (0.4, {"Tickets": 0.7}, [], (0.3,), Outcome.ALLOW, "safe on every side that counts"),
        (
            0.9, {"Tickets": 0.7}, ["Tickets"], (0.7,), Outcome.ALLOW,
            "category 'Tickets' stays below its threshold (0.63 < 0.7)",
        ),
        # One without a threshold still acts on its name.
        (0.9, {"Tickets": 0.5, "Fares": 0.4}, ["Fares"], (0.7,), Outcome.FLAG, "category 'Fares' flags"),
        (0.9, {"Tickets": 0.5}, ["Tickets", "Fares"], (0.7,), Outcome.FLAG, "category 'Fares' flags"),
        (0.9, {"Fares": 0.9}, ["Fares"], (0.7, 0.6), Outcome.FLAG, "category 'Fares' flags (score 0.81 >= 0.6)"),
        # Together.
        (
            0.9, {"Tickets": 0.5, "Fares": 0.4}, ["Tickets"], (0.6, 0.6), Outcome.FLAG,
            "categories 'Tickets' and 'Fares' together flag (score 0.81 >= 0.6)",
        ),
        (
            0.9, {"Tickets": 0.5, SEXUAL_MINOR: 0.4}, ["Tickets"], (0.6,), Outcome.BLOCK,
            "categories 'Tickets' and 'Sexual (minor)' together block (score 0.81 >= 0.6)",
        ),
        # Unknown names and none are what they were.
        (
            0.9, {}, ["Made Up"], (0.7,), Outcome.BLOCK,
            "a category that the policy does not know blocks (unlisted_action)",
        ),
        (0.9, {"Delays": 1.0}, ["Delays"], (0.7,), Outcome.ALLOW, "category 'Delays' is allowed"),
    ],
)  # fmt: skip
def test_a_category_acts_from_its_score_on(
    score: float,
    shares: dict[str, float],
    named: list[str],
    thresholds: tuple[float, ...],
    outcome: Outcome,
    rule: str,
) -> None:
    """Rule 5: its score decides and not its name, alone or together; the rule that won says so."""
    decision = decide(scored(score, shares, named=named), by_scores(*thresholds), Direction.INPUT)

    assert (decision.outcome, decision.rule) == (outcome, rule)


def test_the_side_that_counts_is_scored() -> None:
    """What a category scores on the user's side does not count for the response, unless the policy widens."""
    verdict = scored(0.9, {"Tickets": 0.9}, named=["Tickets"], side=Side.RESPONSE)

    assert decide(verdict, by_scores(0.5), Direction.OUTPUT).outcome is Outcome.BLOCK
    assert decide(verdict, by_scores(0.5), Direction.INPUT).outcome is Outcome.ALLOW
    widened = by_scores(0.5, sides={"input": ["user", "response"]})
    assert decide(verdict, widened, Direction.INPUT).outcome is Outcome.BLOCK


@pytest.mark.parametrize(
    "category_scores", [{}, {Side.RESPONSE: {"Tickets": 0.1}}, {Side.USER: {"Tickets": 0.1}}]
)
def test_without_all_scores_a_threshold_is_undecided(category_scores: dict[Side, dict[str, float]]) -> None:
    """Nothing is guessed: neither that an unscored category is fine nor that an unnamed one is."""
    for label, named in ((Label.SAFE, ()), (Label.UNSAFE, ("Tickets",))):
        said = Verdict(
            user=SideVerdict(label=label, score=0.6),
            categories=tuple(Category(name=name, said=name, known=True) for name in named),
            category_scores=category_scores,
        )
        decision = decide(said, by_scores(0.7), Direction.INPUT)
        assert (decision.outcome, decision.cause) == (Outcome.UNDECIDED, Cause.SCORE_MISSING)
        assert decision.rule == "no verdict: score_missing"


def test_below_its_threshold_the_band_still_flags() -> None:
    """What a category leaves may be what a person should see."""
    decision = decide(
        scored(0.6, {"Tickets": 0.9}, named=["Tickets"]),
        by_scores(0.7, review_band=[0.4, 0.8]),
        Direction.INPUT,
    )

    assert (decision.outcome, decision.rule) == (Outcome.FLAG, "the score lies in the review band 0.4 to 0.8")


def test_a_near_name_never_lets_pass() -> None:
    """A category known by its likeness alone is let off nothing: neither by its own action nor by its threshold."""

    def of(name: str) -> Verdict:
        said = Category(name=name, said=f"{name}x", known=True, near=True)
        return Verdict(user=SideVerdict(label=Label.UNSAFE), categories=(said,))

    assert decide(of("Fares"), policy(), Direction.INPUT).outcome is Outcome.BLOCK
    decision = decide(of("Delays"), policy(), Direction.INPUT)
    assert (decision.outcome, decision.categories) == (Outcome.BLOCK, ("Delays",))
    assert decision.rule == "a category known by likeness blocks (unlisted_action)"


def test_what_is_unsafe_without_a_name_is_lifted_by_no_threshold() -> None:
    """It may be Sexual (minor), which no policy gives a threshold: so ``unlisted_action`` counts."""
    nameless = Verdict(user=SideVerdict(label=Label.UNSAFE, score=0.94))

    decision = decide(nameless, policy(threshold=0.95), Direction.INPUT)

    assert (decision.outcome, decision.rule) == (
        Outcome.BLOCK,
        "unsafe without a category blocks (unlisted_action)",
    )


def test_a_score_of_sexual_minor_blocks_unnamed() -> None:
    """Where categories are scored, its score blocks even where the model named another first."""
    strict = parse_policy(
        {
            "name": "p",
            "version": "1",
            "description": "d",
            "builtin": False,
            "threshold": 0.95,
            "categories": [{"name": "Tickets", "threshold": 0.95}],
        }
    )
    said = Verdict(
        user=SideVerdict(label=Label.UNSAFE, score=0.94),
        categories=(Category(name="Tickets", said="Tickets", known=True),),
        category_scores={Side.USER: {"Tickets": 0.04, SEXUAL_MINOR: 0.89}},
    )

    decision = decide(said, strict, Direction.INPUT)

    assert (decision.outcome, decision.categories) == (Outcome.BLOCK, (SEXUAL_MINOR,))


# Several calls.
@pytest.mark.parametrize(
    ("names", "unnamed", "unread", "threshold", "outcome"),
    [
        (["Delays"], False, None, None, Outcome.ALLOW),
        (["Delays"], False, Cause.TIMEOUT, None, Outcome.UNDECIDED),
        (["Fares"], False, Cause.TIMEOUT, None, Outcome.UNDECIDED),
        (["Tickets"], False, Cause.TIMEOUT, None, Outcome.BLOCK),
        (["Tickets"], False, Cause.TIMEOUT, 0.8, Outcome.UNDECIDED),
        (["Tickets"], False, None, 0.8, Outcome.ALLOW),
        (["Delays"], True, None, None, Outcome.BLOCK),
    ],
)
def test_a_call_that_hides_something_is_not_passed_over(
    names: list[str], unnamed: bool, unread: Cause | None, threshold: float | None, outcome: Outcome
) -> None:
    """Rule 2: beside an unreadable call, or an unsafe one without a name, what the others say lets nothing pass."""
    said = Verdict(
        user=SideVerdict(label=Label.UNSAFE, score=0.6, unread=unread),
        categories=tuple(Category(name=name, said=name, known=True) for name in names),
        unnamed=unnamed,
    )

    assert decide(said, policy(threshold=threshold), Direction.INPUT).outcome is outcome


# The rule that won.
@pytest.mark.parametrize(
    ("said", "changes", "rule"),
    [
        (verdict(Label.SAFE, None), {}, "safe on every side that counts"),
        (verdict(Label.UNREADABLE, None), {}, "no verdict: stray_text"),
        (verdict(Label.UNSAFE, None, ["Delays"]), {}, "category 'Delays' is allowed"),
        (verdict(Label.UNSAFE, None, ["Fares", "Tickets"]), {}, "category 'Tickets' blocks"),
        (verdict(Label.UNSAFE, None), {"unlisted": "flag"}, "unsafe without a category flags (unlisted_action)"),
        (
            verdict(Label.UNSAFE, None, ["CSAM stories"]), {},
            "a category of sexual content with minors blocks under every policy",
        ),
        (verdict(Label.UNSAFE, None, [SEXUAL_MINOR]), {}, "category 'Sexual (minor)' blocks under every policy"),
        (
            replace(verdict(Label.UNSAFE, None, ["Tickets"]), user=SideVerdict(label=Label.UNSAFE, score=0.6)),
            {"threshold": 0.7},
            "every score that counts is below 0.7",
        ),
    ],
)  # fmt: skip
def test_the_rule_that_won_is_told(said: Verdict, changes: dict[str, Any], rule: str) -> None:
    """Rule 7: in few words, and none of the model's."""
    assert decide(said, policy(**changes), Direction.INPUT).rule == rule


def test_a_hundred_and_fifty_categories() -> None:
    """The score of one among many is found, and what is spread over all of them acts together."""
    names = [f"Topic {n}" for n in range(150)]
    many = policy(categories=[{"name": name, "threshold": 0.5} for name in names])
    every = (*names, SEXUAL_MINOR)

    one = decide(scored(0.9, {"Topic 140": 0.9}, names=every), many, Direction.INPUT)
    spread = decide(
        scored(0.9, dict.fromkeys(names, 1 / 150), named=["Topic 3"], names=every), many, Direction.INPUT
    )

    assert one.categories == ("Topic 140",)
    assert spread.outcome is Outcome.BLOCK
    assert spread.rule.endswith("and others together block (score 0.90 >= 0.5)")
