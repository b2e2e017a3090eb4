"""When the model is asked to think, and what thinking shows."""

from __future__ import annotations

import itertools

import pytest

from railscribe.errors import SettingsError
from railscribe.reasoning import (
    ReasoningFor,
    ReasoningPlan,
    contradicts,
    disagree,
    in_band,
    reviews,
    sampled,
    stricter,
)
from railscribe.settings import load_settings
from railscribe.values import Cause, Decision, Label, Outcome, Reasoning, Side, SideVerdict, Verdict


def side(label: str, score: float | None = None) -> SideVerdict:
    return SideVerdict(
        label=Label(label), score=score, cause=Cause.STRAY_TEXT if label == "unreadable" else None
    )


def verdict(user: str, response: str | None = None, **what: object) -> Verdict:
    return Verdict(user=side(user), response=response and side(response), **what)  # type: ignore[arg-type]


def decision(outcome: str) -> Decision:
    cause = Cause.TIMEOUT if outcome == "undecided" else None
    return Decision(outcome=Outcome(outcome), sides=(Side.USER,), cause=cause)


@pytest.mark.parametrize(
    ("applies_to", "outcome", "score", "expected"),
    [
        (ReasoningFor.ALL, "allow", 0.01, True),
        (ReasoningFor.BLOCKED, "block", 0.99, True),
        (ReasoningFor.BLOCKED, "flag", 0.5, False),
        (ReasoningFor.BAND, "allow", 0.3, True),
        (ReasoningFor.BAND, "block", 0.7, True),
        (ReasoningFor.BAND, "allow", 0.29, False),
        (ReasoningFor.BAND, "allow", None, False),
    ],
)
def test_what_a_plan_is_for(
    applies_to: ReasoningFor, outcome: str, score: float | None, expected: bool
) -> None:
    """A plan applies to all, to blocks, or to scores in the band, its ends included; off applies to nothing."""
    sides = [side("unsafe" if outcome == "block" else "safe", score)]

    for mode in Reasoning:
        plan = ReasoningPlan(mode=mode, applies_to=applies_to)
        applies = plan.applies("id", decision(outcome), sides, (0.3, 0.7))
        assert applies == (expected and mode is not Reasoning.OFF)


def test_a_sample_goes_by_the_id() -> None:
    """The same records are in a sample every time, in about its share, and a larger sample holds a smaller one."""
    ids = [f"019ced4f-0000-7000-8000-{number:012x}" for number in range(2000)]
    tenth, half = ({name for name in ids if sampled(name, share)} for share in (0.1, 0.5))

    assert 150 < len(tenth) < 250
    assert tenth < half
    assert all(sampled(name, 1.0) for name in ids)
    assert sampled(ids[0], 0.5) == (ids[0] in half)


def test_the_stricter_decision_counts() -> None:
    """Block, undecided, flag, allow, in that order; of two alike the one with the trace."""
    order = ["allow", "flag", "undecided", "block"]
    for fast, thinking in itertools.product(order, order):
        one, other = decision(fast), decision(thinking)
        assert stricter(one, other) is (one if order.index(fast) > order.index(thinking) else other)


@pytest.mark.parametrize(
    ("fast", "thinking", "expected"),
    [
        (verdict("safe"), verdict("safe"), False),
        (verdict("safe"), verdict("unsafe"), True),
        (verdict("safe", "safe"), verdict("safe", "unsafe"), True),
        (verdict("safe", "safe"), verdict("unreadable", "safe"), False),
        (verdict("unreadable"), verdict("unsafe"), None),
    ],
)
def test_disagreement_is_between_labels_that_were_read(
    fast: Verdict, thinking: Verdict, expected: bool | None
) -> None:
    """Sides are compared where both verdicts could be read; where none can, nobody disagrees or agrees."""
    assert disagree(fast, thinking) is expected


def test_contradiction_needs_a_trace() -> None:
    """Without a trace there is nothing that could contradict, which is another thing than agreeing."""
    note = ("trace_contradicts",)

    assert contradicts(verdict("safe", trace="It is unsafe.", notes=note)) is True
    assert contradicts(verdict("safe", trace="It is safe.")) is False
    assert contradicts(verdict("safe", trace=" ")) is None
    assert contradicts(verdict("safe")) is None


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"fast": verdict("safe"), "thinking": None}, []),
        ({"fast": verdict("safe"), "thinking": verdict("unsafe", trace="Bad.")}, ["think_disagrees"]),
        ({"fast": None, "thinking": verdict("safe")}, ["trace_missing"]),
        ({"fast": None, "thinking": verdict("safe", trace="")}, ["trace_missing"]),
        (
            {"fast": None, "thinking": verdict("safe", trace="Bad.", notes=("trace_contradicts",))},
            ["trace_contradicts"],
        ),
        ({"sides": [side("safe", 0.4)], "band": (0.3, 0.7)}, ["score_in_band"]),
        ({"sides": [side("safe", 0.1)], "band": (0.3, 0.7)}, []),
        ({"sides": [side("safe")], "band": (0.3, 0.7)}, ["score_missing"]),
        ({"sides": [side("unreadable")], "band": (0.3, 0.7)}, []),
        ({"sides": [side("safe")], "band": None}, []),
    ],
)
def test_reasons_for_review(found: dict[str, object], expected: list[str]) -> None:
    """Each thing that differs, contradicts itself or is missing is named."""
    what = {"fast": verdict("safe"), "thinking": None, "sides": [], "band": None, **found}

    assert [review.value for review in reviews(**what)] == expected  # type: ignore[arg-type]


def test_a_band_holds_its_ends() -> None:
    """Both ends of a band are in it, and no band holds nothing."""
    assert in_band([side("safe", 0.3)], (0.3, 0.7))
    assert in_band([side("safe", 0.1), side("unsafe", 0.7)], (0.3, 0.7))
    assert not in_band([side("safe", 0.5)], None)


def test_settings_give_a_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment says when to think; ``think`` is short for a verdict on all."""
    assert load_settings().reasoning_plan() == ReasoningPlan(mode=Reasoning.OFF)
    assert load_settings({"think": True}).reasoning_plan() == ReasoningPlan(mode=Reasoning.VERDICT)

    monkeypatch.setenv("RAILSCRIBE_REASONING", "deferred")
    monkeypatch.setenv("RAILSCRIBE_REASONING_FOR", "sample")
    monkeypatch.setenv("RAILSCRIBE_REASONING_SAMPLE", "0.25")

    expected = ReasoningPlan(mode=Reasoning.DEFERRED, applies_to=ReasoningFor.SAMPLE, sample=0.25)
    assert load_settings().reasoning_plan() == expected


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"think": True, "reasoning": "deferred"}, "give one of them"),
        ({"reasoning": "deferred", "reasoning_for": "band"}, "needs a reasoning_band"),
        ({"reasoning_band": [0.7, 0.3]}, "the lower first"),
        ({"reasoning_sample": 0}, "reasoning_sample"),
    ],
)
def test_settings_that_contradict_themselves(given: dict[str, object], said: str) -> None:
    """A plan that could never apply, or two plans at once, are refused where they are given."""
    with pytest.raises(SettingsError, match=said):
        load_settings(given)
