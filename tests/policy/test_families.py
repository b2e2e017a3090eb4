"""Parents, thresholds, examples and refusals of categories: what is inherited, what is refused, what never weakens."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from railscribe.errors import PolicyError
from railscribe.policy import Policy, decide, parse_policy, render
from railscribe.policy.families import Families
from railscribe.taxonomy import BUILTIN_CATEGORIES, SEXUAL_MINOR, SEXUAL_MINOR_DEFINITION
from railscribe.values import (
    Action,
    Category,
    Direction,
    Label,
    Outcome,
    Side,
    SideVerdict,
    Verdict,
)

MINIMAL: dict[str, Any] = {"name": "p", "version": "1", "description": "d"}


def parsed(*categories: dict[str, Any], **changes: Any) -> Policy:
    return parse_policy(MINIMAL | {"categories": list(categories)} | changes)


def problem(*categories: dict[str, Any], **changes: Any) -> str:
    with pytest.raises(PolicyError) as refused:
        parsed(*categories, **changes)
    return str(refused.value)


def own(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, **fields}


# What is inherited.
def test_a_child_has_what_its_nearest_ancestor_says() -> None:
    """Action and threshold come down, in whatever order the categories are written, and may be tightened."""
    policy = parsed(
        own("Grandchild", parent="Child"),
        own("Child", parent="Top", threshold=0.4),
        own("Top", action="flag", threshold=0.6),
        own("Strict", parent="Top", action="block"),
        own("Alone"),
        action="allow",
    )

    found = {c.name: (c.action, c.threshold) for c in policy.categories if c.name not in BUILTIN_CATEGORIES}
    assert found == {
        "Grandchild": (Action.FLAG, 0.4),
        "Child": (Action.FLAG, 0.4),
        "Top": (Action.FLAG, 0.6),
        "Strict": (Action.BLOCK, 0.6),
        "Alone": (Action.ALLOW, None),
    }
    grandchild = policy.category("Grandchild")
    assert grandchild is not None
    assert [one.name for one in policy.line(grandchild)] == ["Grandchild", "Child", "Top"]


def test_a_builtin_category_may_be_the_parent() -> None:
    """Of whatever the policy holds, and only of that."""
    policy = parsed(own("Phishing", parent="Fraud/Deception"))
    phishing = policy.category("Phishing")
    assert phishing is not None
    assert phishing.parent == "Fraud/Deception"
    assert "categories.0.parent: 'Fraud/Deception' is no category of this policy" in problem(
        own("Phishing", parent="Fraud/Deception"), suppressed=["Fraud/Deception"]
    )


@pytest.mark.parametrize(
    ("categories", "message"),
    [
        ([own("A", parent="B")], "categories.0.parent: 'B' is no category of this policy"),
        (
            [own("Tickets"), own("A", parent="tickets")],
            "categories.1.parent: 'tickets' is no category of this policy; did you mean 'Tickets'?",
        ),
        ([own("A", parent="A")], "categories.0.parent: leads back to the category itself: 'A', 'A'"),
        (
            [own("A", parent="C"), own("B", parent="A"), own("C", parent="B")],
            "categories.0.parent: leads back to the category itself: 'A', 'C', 'B', 'A'",
        ),
        (
            [own("A", action="block"), own("B", parent="A", action="flag")],
            "categories.1.action: is softer than block, its parent's",
        ),
        ([own("A"), own("B", parent="A", action="allow")], "categories.1.action: is softer than block"),
        (
            [own("A", threshold=0.5), own("B", parent="A"), own("C", parent="B", threshold=0.6)],
            "categories.2.threshold: is above 0.5, its parent's",
        ),
        ([own("A", threshold=1)], "categories.0.threshold: must be less than 1"),
        ([own("A", threshold=0)], "categories.0.threshold: must be more than 0"),
        ([own("A", action="allow", threshold=0.5)], "categories.0.threshold: is without effect"),
        ([own("A", examples=[" "])], "categories.0.examples.0: is empty"),
        ([own("A", examples=["\ud800"])], "categories.0.examples.0: "),
        ([own("A", refusals={"xx": "No."})], "categories.0.refusals.xx.[key]: 'xx' is no two-letter code"),
        ([own("A", refusals={"de": 1})], "categories.0.refusals.de: must be text"),
        ([own("A", exmples=[])], "categories.0.exmples: no such field; did you mean 'examples'?"),
    ],
)
def test_refused_with_its_field(categories: list[dict[str, Any]], message: str) -> None:
    """What a family cannot be is refused with the field's path and what to do."""
    assert message in problem(*categories)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"languages": ["english"]}, "languages.0: 'english' is no two-letter code of ISO 639-1"),
        ({"languages": ["en", "de", "en"]}, "languages: en is listed twice"),
        ({"applies_to": []}, "applies_to: is empty"),
        ({"applies_to": ["retrieval"]}, "applies_to.0: must be 'input', 'output' or 'tools'"),
        ({"refusals": {"DE": "Nein."}}, "refusals.DE.[key]: 'DE' is no two-letter code"),
        ({"refusals": {"de": " "}}, "refusals.de: is empty"),
    ],
)
def test_policy_fields_are_refused_with_their_place(changes: dict[str, Any], message: str) -> None:
    """The policy's own new fields as well."""
    assert message in problem(**changes)


def chain(length: int) -> list[dict[str, Any]]:
    """As many categories, each the parent of the next."""
    return [own("C0"), *(own(f"C{n}", parent=f"C{n - 1}") for n in range(1, length))]


def test_a_line_of_descent_has_sixteen_generations_above_at_most() -> None:
    """A longer one is a mistake, told once with its field, and no other family's; a long circle is one, too."""
    assert parsed(*chain(17)).category("C16")

    message = "has more than 16 parents above it, one above the other"
    assert problem(*chain(40), own("X", parent="C3")).splitlines() == [
        f"categories.17.parent: {message}; give it a nearer one"
    ]
    circle = chain(40)
    circle[0]["parent"] = "C39"
    assert problem(*circle).startswith(f"categories.0.parent: {message}")


def test_a_long_line_of_descent_is_followed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two thousand generations are refused at once, not in a minute: no line is walked for each that is below it."""
    asked = 0
    parent = Families.parent

    def counting(families: Families, name: str) -> str | None:
        nonlocal asked
        asked += 1
        return parent(families, name)

    monkeypatch.setattr(Families, "parent", counting)

    problem(*chain(2000))

    assert asked < 2 * 2000 * 20


def test_what_a_category_is_about_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each category's words are looked through a few times, however many have it above them."""
    read: list[str] = []

    def reading(text: str) -> bool:
        read.append(text)
        return False

    monkeypatch.setattr("railscribe.policy.families.names_sexual_minor", reading)

    parsed(*chain(16), *(own(f"Child {n}", parent="C15") for n in range(50)))

    assert max(map(read.count, read)) <= 3


# Identity.
NEW_FIELDS: list[dict[str, Any]] = [
    {"languages": ["de"]},
    {"applies_to": ["input"]},
    {"applies_to": ["input", "output"]},
    {"refusals": {"de": "Nein."}},
    {"categories": [own("Tickets", examples=["Two singles, please."])]},
    {"categories": [own("Tickets", parent="Other")]},
    {"categories": [own("Tickets", threshold=0.5)]},
    {"categories": [own("Tickets", refusals={"de": "Nein."})]},
]


@pytest.mark.parametrize("changes", NEW_FIELDS, ids=str)
def test_each_new_field_is_part_of_the_identity_and_none_of_the_text(changes: dict[str, Any]) -> None:
    """It changes the document's digest, and nothing that the model reads: examples above all."""
    plain = parse_policy(MINIMAL | {"categories": [own("Tickets")]})
    before, after = render(plain), render(parse_policy(MINIMAL | {"categories": [own("Tickets")]} | changes))

    assert after.policy_digest != before.policy_digest
    assert after.text == before.text


def test_unset_fields_are_not_in_the_document() -> None:
    """A document that uses none of the new fields is, to the byte, what it was before there were any."""
    digest = "8a90af44c1d801c8218e99d1d336dbdcfc0a3af7ae76845690a5685129cc8fb6"
    empty = MINIMAL | {"languages": [], "applies_to": None, "refusals": {}}

    assert parse_policy(empty).digest == digest
    tickets: dict[str, Any] = {"examples": [], "parent": None, "threshold": None, "refusals": {}}
    assert parsed(own("Tickets")).digest == parsed(own("Tickets", **tickets)).digest


def test_order_of_languages_and_directions_makes_no_other_policy() -> None:
    """What is a set is written as one."""
    one, other = (
        parsed(languages=languages, applies_to=directions, refusals=texts)
        for languages, directions, texts in (
            (["de", "en"], ["output", "input"], {"fr": "Non.", "de": "Nein."}),
            (["en", "de"], ["input", "output"], {"de": "Nein.", "fr": "Non."}),
        )
    )

    assert one.digest == other.digest


def test_inherited_is_the_same_as_written() -> None:
    """A child that repeats what it inherits is the same policy."""
    top = own("Top", action="flag", threshold=0.5)

    assert (
        parsed(top, own("Child", parent="Top")).digest
        == parsed(top, own("Child", parent="Top", action="flag", threshold=0.5)).digest
    )


# Directions.
@pytest.mark.parametrize(
    ("applies_to", "directions"),
    [
        (None, {"input", "retrieval", "output", "tool_output", "tool_input"}),
        (["input"], {"input", "retrieval"}),
        (["output", "tools"], {"output", "tool_output", "tool_input"}),
        (["tools"], {"tool_output", "tool_input"}),
    ],
)
def test_a_policy_says_where_it_applies(applies_to: list[str] | None, directions: set[str]) -> None:
    """Without a word to everything; retrieved text counts as input, calls of tools and their answers as tools."""
    policy = parsed(applies_to=applies_to)

    assert {direction.value for direction in Direction if policy.applies(direction)} == directions


# The floor.
@pytest.mark.parametrize("name", [SEXUAL_MINOR, "Sexual (minors)", "CSAM"])
def test_sexual_minor_takes_no_threshold_above_one_half(name: str) -> None:
    """Neither under its own name nor under another, nor below it."""
    message = "'Sexual (minor)', under any name, takes none above 0.5"

    assert f"categories.0.threshold: {message}" in problem(own(name, threshold=0.6))
    assert f"categories.1.threshold: {message}" in problem(
        own("CSAM"), own("Grooming", parent="CSAM", threshold=0.9)
    )
    assert parsed(own(name, threshold=0.5)).scores_categories


_share = st.floats(0.01, 0.99) | st.none()


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    fields=st.fixed_dictionaries(
        {},
        optional={
            "parent": st.sampled_from(["Top", "Violence", SEXUAL_MINOR, "Nobody"]),
            "threshold": _share,
            "action": st.sampled_from(["block", "flag", "allow"]),
            "examples": st.lists(st.text(max_size=20), max_size=2),
            "refusals": st.dictionaries(st.sampled_from(["de", "en", "xx"]), st.text(max_size=9), max_size=2),
        },
    ),
    top=st.fixed_dictionaries(
        {}, optional={"threshold": _share, "action": st.sampled_from(["flag", "allow"])}
    ),
    name=st.sampled_from([SEXUAL_MINOR, "Sexual (minors)", "Child porn"]),
    policy_threshold=_share,
    score=st.floats(0, 1),
    shares=st.lists(st.floats(0, 1), min_size=2, max_size=2),
    mode=st.sampled_from(["auto", "policy", "taxonomy"]),
)
def test_no_new_field_weakens_sexual_minor(
    fields: dict[str, Any],
    top: dict[str, Any],
    name: str,
    policy_threshold: float | None,
    score: float,
    shares: list[float],
    mode: str,
) -> None:
    """A document is refused; or it is restated whole, and what the model calls so is blocked, whatever the scores."""
    document = MINIMAL | {
        "mode": mode,
        "threshold": policy_threshold,
        "categories": [own(name, **fields), own("Top", **top), own("Below", parent=name)],
    }
    try:
        policy = parse_policy(document)
    except PolicyError:
        return

    rendering = render(policy)
    assert SEXUAL_MINOR in rendering.category_names
    assert rendering.mode.value == "builtin" or SEXUAL_MINOR_DEFINITION in rendering.text
    scores = {category.name: share * score for category in policy.categories for share in shares[:1]}
    for said in (name, SEXUAL_MINOR, "Below"):
        verdict = Verdict(
            user=SideVerdict(label=Label.UNSAFE, score=score),
            categories=(Category(name=said, said=said, known=True),),
            category_scores={Side.USER: scores},
        )
        decision = decide(verdict, policy, Direction.INPUT)
        assert decision.outcome is Outcome.BLOCK
        assert decision.categories == (said,)
        assert decision.rule.endswith("blocks under every policy")


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    tight=st.floats(0.05, 0.95),
    tighter=st.floats(0.05, 0.95),
    parent=st.booleans(),
    scores=st.lists(st.floats(0, 0.5), min_size=2, max_size=2),
    side=st.floats(0, 1),
    named=st.lists(st.sampled_from(["Top", "Child"]), unique=True, max_size=2),
)
def test_a_child_never_acts_less_than_its_parent_would(
    tight: float, tighter: float, parent: bool, scores: list[float], side: float, named: list[str]
) -> None:
    """Whatever blocks with the child at its parent's threshold blocks with it lower, too."""

    def outcome(threshold: float) -> Outcome:
        child = own("Child", parent="Top", threshold=threshold)
        policy = parsed(own("Top", **({"threshold": tight} if parent else {})), child)
        every = dict.fromkeys((c.name for c in policy.categories), 0.0)
        verdict = Verdict(
            user=SideVerdict(label=Label.UNSAFE if side >= 0.5 else Label.SAFE, score=side),
            categories=tuple(Category(name=n, said=n, known=True) for n in named if side >= 0.5),
            category_scores={Side.USER: every | dict(zip(["Top", "Child"], scores, strict=True))},
        )
        return decide(verdict, policy, Direction.INPUT).outcome

    low, high = sorted((tight, tighter))
    if not parent or high <= tight:
        assert outcome(high) is Outcome.ALLOW or outcome(low) is Outcome.BLOCK
