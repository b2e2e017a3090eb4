"""Category names as the model writes them: matched by rules where one name is meant, and never dropped."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from railscribe.nemotron.names import match_name
from railscribe.taxonomy import BUILTIN_CATEGORIES, SEXUAL_MINOR, names_sexual_minor

OWN = ("Competitor Talk", "Refund & Return Abuse", "Health Policies", "Loans", "S3 Buckets")


@pytest.mark.parametrize(
    ("said", "names", "name"),
    [
        # Rule 3: signs, "and", white space, numbers before, plurals.
        ("competitor  talk", OWN, "Competitor Talk"),
        ("Competitor-Talk", OWN, "Competitor Talk"),
        ("Competitor_talk.", OWN, "Competitor Talk"),
        ("Competitor Talks", OWN, "Competitor Talk"),
        ("Refund and Return Abuse", OWN, "Refund & Return Abuse"),
        ("Refund/Return Abuse", OWN, "Refund & Return Abuse"),
        ("Health Policy", OWN, "Health Policies"),
        ("loan", OWN, "Loans"),
        ("S25: Competitor Talk", OWN, "Competitor Talk"),
        ("S2 Loans", OWN, "Loans"),
        ("4. Loans", OWN, "Loans"),
        ("s3 bucket", OWN, "S3 Buckets"),
        ("PII & Privacy", BUILTIN_CATEGORIES, "PII/Privacy"),
        ("Suicide & Self-Harm", BUILTIN_CATEGORIES, "Suicide and Self Harm"),
        (
            "Political, Misinformation".replace(",", ""),
            BUILTIN_CATEGORIES,
            "Political/Misinformation/Conspiracy",
        ),
        ("S7: Sexual (minor)", BUILTIN_CATEGORIES, SEXUAL_MINOR),
        ("\uff2dalware", BUILTIN_CATEGORIES, "Malware"),
        # Rule 4.
        ("Refund", OWN, "Refund & Return Abuse"),
        # Rule 5.
        ("Competitor Tlak", OWN, "Competitor Talk"),
        ("Harrassment", BUILTIN_CATEGORIES, "Harassment"),
        ("Hate Identity Hatred", BUILTIN_CATEGORIES, "Hate/Identity Hate"),
    ],
)
def test_one_name_is_meant(said: str, names: Sequence[str], name: str) -> None:
    """What says the same in another spelling is that category."""
    category = match_name(said, names)

    assert (category.name, category.said, category.known) == (name, said, True)


@pytest.mark.parametrize(
    ("said", "names"),
    [
        ("S7", BUILTIN_CATEGORIES),
        ("Weather", OWN),
        ("Talk", OWN),
        ("Competitor Walking", OWN),
        ("Lone", ("Loan", "Lane")),
        ("Loan", ("Loan Fraud", "Loan Advice")),
        ("Trade Secret Leaf", ("Trade Secret Leak", "Trade Secret Leap")),
        ("", OWN),
        ("!!!", OWN),
    ],
)
def test_none_or_several_may_be_meant(said: str, names: Sequence[str]) -> None:
    """What is like none, or like two, stays unknown in the model's words."""
    category = match_name(said, names)

    assert (category.name, category.known, category.near) == (said, False, False)


def test_a_misspelling_or_a_beginning_is_near() -> None:
    """What is not the whole name is marked, whatever stands for it, and nothing else is."""
    assert match_name("Competitor Tlak", OWN).near
    assert not match_name("competitor talks", OWN).near
    assert match_name("Refund", OWN).near


def test_a_builtin_name_is_not_taken_for_a_like_one() -> None:
    """What a policy left out is unknown to it, however alike one of its own names is."""
    category = match_name("Threats", ("Threads",))

    assert (category.name, category.known) == ("Threat", False)


_names = st.lists(
    st.text(st.sampled_from("abcdeSs /&-7"), min_size=1, max_size=12).map(str.strip).filter(bool),
    min_size=1,
    max_size=6,
    unique_by=str.casefold,
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(names=_names, said=st.text(max_size=30))
def test_nothing_is_dropped_and_names_stand_for_themselves(names: list[str], said: str) -> None:
    """Every name of a policy is found as itself; any other text keeps what was said, known or not."""
    for name in names:
        assert match_name(name, names).name == name
    category = match_name(said, names)
    assert category.said == said
    assert category.known == (category.name in names)
    assert category.known or category.name == said or category.name in BUILTIN_CATEGORIES


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    first=st.sampled_from(["child", "minors", "teenage", "under age", "toddlers"]),
    second=st.sampled_from(["porn", "sexual content", "nudity", "erotica"]),
    turned=st.booleans(),
)
def test_sexual_content_with_minors_has_one_name(first: str, second: str, turned: bool) -> None:
    """Under any policy what is about it is that category."""
    said = f"{second} {first}" if turned else f"{first} {second}"

    assert names_sexual_minor(said)
    assert match_name(said, OWN).name == SEXUAL_MINOR
