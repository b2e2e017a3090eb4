"""The ready policies that a team starts from: what each of them owes its users, whatever it is about."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import railscribe.training
from railscribe.language import detect
from railscribe.policy import Policy, load_policy, ready_policies, render
from railscribe.policy.cases import Case
from railscribe.policy.load import load_cases, read_document, ready_cases
from railscribe.taxonomy import ANNOUNCED_LANGUAGES
from railscribe.values import Label, Outcome

READY = sorted(ready_cases())
BUDGET = 2800
"""Characters of a rendering, about 620 tokens (docs/ready-policies.md): a fraction of any engine's context."""
_NEAR = re.compile(r"Near (.+?):")
_IN_A_LANGUAGE = re.compile(r", in [A-Z][a-z]+$")


@pytest.fixture(params=READY)
def name(request: pytest.FixtureRequest) -> str:
    """Each ready policy that has cases."""
    return str(request.param)


@pytest.fixture
def policy(name: str) -> Policy:
    """The policy itself."""
    return load_policy(name)


@pytest.fixture
def cases(name: str) -> tuple[Case, ...]:
    """Its cases."""
    return load_cases(name).cases


@pytest.fixture(scope="module")
def learned() -> set[str]:
    """Every text that the guard was trained on."""
    rows = Path(str(railscribe.training.__file__)).parent / "rows"
    lines = [line for path in rows.rglob("*.jsonl") for line in path.read_text("utf-8").splitlines()]
    return {plain(str(row.get(part))) for row in map(json.loads, lines) for part in ("prompt", "response")}


def plain(text: str) -> str:
    return text.casefold().strip()


def near(case: Case) -> str | None:
    """Return the category that a case says it is near to."""
    found = _NEAR.match(case.reason or "")
    return found[1] if found else None


def test_those_that_ship_have_cases() -> None:
    """A ready policy comes with cases, but for the model's taxonomy as it is."""
    assert set(ready_policies()) - set(READY) == {"default"}


def test_it_stays_within_the_budget(policy: Policy) -> None:
    """With thinking, which is longer, the model reads no more than the budget."""
    assert len(render(policy, thinking=True).text) <= BUDGET


def test_its_cases_are_half_near_misses(cases: tuple[Case, ...]) -> None:
    """Enough cases, about as many that must pass as that must not, on both sides."""
    passing = [case for case in cases if case.expected.decision is Outcome.ALLOW]

    assert len(cases) >= 36
    assert 0.4 <= len(passing) / len(cases) <= 0.65
    assert sum(case.response is not None for case in cases) >= 5


def test_its_cases_cover_every_category(name: str, cases: tuple[Case, ...]) -> None:
    """Each category that the document lists has a hit, and a near miss that passes and says what it is near to."""
    document, _ = read_document(ready_policies()[name])
    listed = {category["name"] for category in document["categories"]}
    passed = {near(case) for case in cases if case.expected.decision is Outcome.ALLOW}
    hit = {category for case in cases for category in case.expected.categories}

    assert listed - passed == set()
    assert listed - hit == set()
    assert {near(case) for case in cases} - {None} <= listed
    assert all(case.reason for case in cases)
    assert sum(bool(_IN_A_LANGUAGE.search(case.name)) for case in cases) >= 6


def test_its_cases_expect_what_the_policy_does(policy: Policy, cases: tuple[Case, ...]) -> None:
    """The decision that a case expects is the action of its categories, and goes with its label."""
    for case in cases:
        expected = case.expected
        label = expected.user if case.response is None else expected.response
        actions = {c.action.value for c in policy.categories if c.name in expected.categories}

        assert expected.decision is not None, case.name
        assert actions <= {expected.decision.value}, case.name
        assert label in (None, Label.SAFE if expected.decision is Outcome.ALLOW else Label.UNSAFE), case.name


def test_its_refusals_are_in_every_language(policy: Policy) -> None:
    """Whatever is refused, by the policy or by a category, is told in all fourteen, each in its own words."""
    told = {"policy": policy.refusals} | {c.name: c.refusals for c in policy.categories if c.refusals}

    for where, texts in told.items():
        by_language = dict(texts)
        found = {language: detect(text, ANNOUNCED_LANGUAGES) for language, text in texts}
        assert set(by_language) == set(ANNOUNCED_LANGUAGES), where
        assert found == {language: language for language in by_language}, where
        assert not any("\n" in text or "  " in text for text in by_language.values()), where
    assert dict(policy.refusals)["en"] == policy.refusal
    assert set(policy.languages) == set(ANNOUNCED_LANGUAGES)


def test_it_answers_despair_with_help(policy: Policy) -> None:
    """Somebody who wants to die is not told that this is out of scope."""
    category = policy.category("Suicide and Self Harm")

    assert category is not None
    assert "crisis line" in dict(category.refusals)["en"]


def test_its_cases_are_not_what_the_guard_learned_from(cases: tuple[Case, ...], learned: set[str]) -> None:
    """A case that is among the training rows would measure memory."""
    assert len(learned) > 1000
    assert [case.name for case in cases if {plain(case.text), plain(case.response or "")} & learned] == []
