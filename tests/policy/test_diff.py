"""What differs between two policies, told by what they say."""

from __future__ import annotations

import dataclasses
import random
import time
from typing import Any

import pytest

from railscribe.policy import Policy, load_policy, parse_policy, ready_policies
from railscribe.policy.diff import Change, diff
from railscribe.reasoning import ReasoningPlan
from railscribe.values import Action, Reasoning, Side, Stage


def policy(**fields: Any) -> Policy:
    document = {
        "name": "shop",
        "version": "1",
        "description": "A shop.",
        "builtin": False,
        "categories": [
            {"name": "Refund Promise", "definition": "promises money back", "action": "flag"},
            {"name": "Betting"},
        ],
        "disallowed": ["Promising a refund to a customer", "Talk of competitors and their prices"],
        "allowed": ["Explaining our opening hours to anybody"],
    }
    return parse_policy(document | fields)


def told(after: Policy, before: Policy | None = None) -> list[tuple[str, str, Any]]:
    return [(change.kind, change.what, change.name) for change in diff(before or policy(), after)]


def test_a_policy_does_not_differ_from_itself() -> None:
    """Nothing is said of two that are the same, shipped ones included."""
    for name in ready_policies():
        assert diff(load_policy(name), load_policy(name)) == ()


def test_a_behaviour_moves_is_reworded_comes_and_goes() -> None:
    """Each change of a list is told as what it is, once."""
    after = policy(
        disallowed=["Explaining our opening hours to anybody", "Promising a full refund to a customer"],
        allowed=["Naming our prices"],
    )

    assert diff(policy(), after) == (
        Change(
            kind="moved",
            what="allowed",
            before="Explaining our opening hours to anybody",
            after="Explaining our opening hours to anybody",
            moved_to="disallowed",
        ),
        Change(
            kind="reworded",
            what="disallowed",
            before="Promising a refund to a customer",
            after="Promising a full refund to a customer",
        ),
        Change(kind="removed", what="disallowed", before="Talk of competitors and their prices"),
        Change(kind="added", what="allowed", after="Naming our prices"),
    )


def test_a_behaviour_may_be_moved_and_reworded() -> None:
    """Near words on the other side are one move, with both wordings."""
    after = policy(
        disallowed=["Talk of competitors and their prices"],
        allowed=["Explaining our opening hours to anybody", "Promising the refund to a customer"],
    )

    (change,) = diff(policy(), after)

    assert (change.kind, change.what, change.moved_to) == ("moved", "disallowed", "allowed")
    assert change.after == "Promising the refund to a customer"


def test_categories_change_field_by_field() -> None:
    """Definition, action and threshold are told by name; a category that was renamed is not two changes."""
    categories = [
        {"name": "Refund Promises", "definition": "promises money back", "action": "block"},
        {"name": "Betting", "definition": "odds and wagers", "threshold": 0.4},
    ]

    assert told(policy(categories=categories)) == [
        ("renamed", "category", "Refund Promises"),
        ("changed", "category", "Refund Promises.action"),
        ("changed", "category", "Betting.definition"),
        ("changed", "category", "Betting.threshold"),
    ]


def test_order_counts() -> None:
    """The model reads from the top, so another order is another policy."""
    before = policy()
    turned = policy(disallowed=list(before.disallowed[::-1]))

    assert told(turned) == [("reordered", "disallowed", None)]


def test_all_built_in_categories_are_one_change() -> None:
    """Switching them on is told once, not two dozen times."""
    assert told(policy(builtin=True)) == [("changed", "builtin", None)]
    assert told(policy(), policy(builtin=True)) == [("changed", "builtin", None)]


OTHER: dict[str, Any] = {
    "wait_for": Stage.SEALED,
    "name": "other",
    "version": "2",
    "description": "Another.",
    "mode": "policy",
    "unlisted_action": Action.FLAG,
    "input_sides": (Side.USER, Side.RESPONSE),
    "output_sides": (Side.USER, Side.RESPONSE),
    "refusal": "No.",
    "reasoning": ReasoningPlan(mode=Reasoning.DEFERRED),
    "review_band": (0.3, 0.7),
    "threshold": 0.4,
    "languages": ("de",),
    "applies_to": ("input",),
    "refusals": (("de", "Nein."),),
    "disallowed": (),
    "allowed": (),
}


def test_what_is_suppressed_is_told() -> None:
    """With the category that it takes out."""
    assert told(policy(builtin=True, suppressed=["Profanity"]), policy(builtin=True)) == [
        ("changed", "suppressed", None),
        ("removed", "category", "Profanity"),
    ]


LISTED = ("categories", "builtin", "suppressed")
"""What cannot change alone; tests above change them."""


@pytest.mark.parametrize(
    "field", [field.name for field in dataclasses.fields(Policy) if field.name not in LISTED]
)
def test_no_field_differs_unseen(field: str) -> None:
    """Whatever changes the digest is told; a field that is added to policies must be given an example here."""
    changed = dataclasses.replace(policy(), **{field: OTHER[field]})

    assert changed.digest != policy().digest
    assert diff(policy(), changed)


def test_any_two_policies_differ_exactly_where_their_digests_do() -> None:
    """Over many random pairs out of few clauses: no change is missed, and none is made up."""
    rng = random.Random(7)
    clauses = [f"{verb} {thing} in the shop" for verb in ("Selling", "Naming") for thing in ("a", "b", "c")]

    def any_policy() -> Policy:
        some = rng.sample(clauses, rng.randint(1, 4))
        cut = rng.randint(0, len(some) - 1)
        names = rng.sample(["Betting", "Bettings", "Refunds"], 2)
        return policy(
            categories=[{"name": name} for name in names], disallowed=some[cut:], allowed=some[:cut]
        )

    for _ in range(200):
        one, other = any_policy(), any_policy()
        assert bool(diff(one, other)) == (one.digest != other.digest)


def test_large_policies_are_compared_soon() -> None:
    """Nearness is looked for only as far as it can be afforded."""
    many = [policy(disallowed=[f"Talk {letter} of matter {n}" for n in range(1500)]) for letter in "ab"]
    began = time.process_time()

    changes = diff(*many)

    assert len(changes) == 3000
    assert time.process_time() - began < 5
