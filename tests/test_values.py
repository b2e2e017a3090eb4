"""The values refuse to be misread."""

from __future__ import annotations

import dataclasses
import inspect
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from railscribe import values
from railscribe.policy import parse_policy, render
from railscribe.taxonomy import BUILTIN_CATEGORIES, LANGUAGES, SEXUAL_MINOR
from railscribe.values import (
    Action,
    Cause,
    Decision,
    Direction,
    Enforcement,
    EngineInfo,
    Exchange,
    Flags,
    Identity,
    Label,
    Outcome,
    Record,
    Side,
    SideVerdict,
    Verdict,
)

CLASSES = [found for _, found in inspect.getmembers(values, dataclasses.is_dataclass)]
SAFE = Verdict(user=SideVerdict(label=Label.SAFE))
ALLOW = Decision(outcome=Outcome.ALLOW, sides=(Side.USER,))


def record(**changes: Any) -> Record:
    fields: dict[str, Any] = {
        "id": "0190",
        "checked_at": datetime(2026, 11, 22, tzinfo=timezone.utc),
        "identity": Identity(),
        "direction": Direction.INPUT,
        "rail": "guard",
        "host": "python",
        "exchange": Exchange(user="hello"),
        "rendering": render(parse_policy({"name": "p", "version": "1", "description": "d"})),
        "engine": EngineInfo(name="none", model="none"),
        "flags": Flags(),
        "neutralised": (),
        "completion": None,
        "verdict": SAFE,
        "decision": ALLOW,
        "enforcement": Enforcement.PASSED,
        "image": None,
        "latency_ms": {},
    }
    return Record(**(fields | changes))


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_values_are_frozen_slotted_and_named(cls: Any) -> None:
    """No value can be changed, grown, or built from positions that could be mistaken."""
    assert cls.__dataclass_params__.frozen
    assert "__slots__" in vars(cls)
    assert all(field.kw_only for field in dataclasses.fields(cls))


def test_verdict_and_decision_have_no_truth() -> None:
    """Neither can be asked "is it so?": each reading of that is half of us wrong."""
    with pytest.raises(TypeError, match="not a boolean"):
        bool(SAFE)
    with pytest.raises(TypeError, match="not a boolean"):
        bool(ALLOW)


def test_verdict_gives_each_side() -> None:
    """A side is asked for by name; one that was not judged is none."""
    response = SideVerdict(label=Label.UNSAFE)

    assert SAFE.side(Side.USER) == SAFE.user
    assert SAFE.side(Side.RESPONSE) is None
    assert dataclasses.replace(SAFE, response=response).side(Side.RESPONSE) == response


def test_record_takes_aware_times_only() -> None:
    """A time without its zone is refused: nobody could say later when it was."""
    with pytest.raises(ValueError, match="aware"):
        record(checked_at=datetime(2026, 11, 22))  # noqa: DTZ001 - the point of the test

    assert record(checked_at=datetime(2026, 11, 22, tzinfo=timezone(timedelta(hours=2)))).checked_at.hour == 0


def test_stored_words_are_pinned() -> None:
    """What is written to the audit store is never renamed."""
    assert [action.value for action in Action] == ["allow", "flag", "block"]
    assert [outcome.value for outcome in Outcome] == ["allow", "flag", "block", "undecided"]
    assert [label.value for label in Label] == ["safe", "unsafe", "unreadable"]
    assert [cause.value for cause in Cause] == [
        *("empty_reply", "truncated", "finish_reason", "unclosed_think", "stray_text", "duplicate_field"),
        *("missing_side", "echoed_format", "unknown_label", "out_of_order", "uninvited_unsafe"),
        "categories_without_unsafe",
        *("timeout", "cancelled", "engine_failed", "engine_unavailable", "engine_refused", "engine_protocol"),
        *("bad_numbers", "out_of_memory", "policy_ignored"),
        *("modality", "too_long", "empty", "bad_image", "too_many_images"),
        "score_missing",
        *("policy_not_applicable", "no_category_scores"),
        *("not_run", "not_recorded"),
    ]
    assert [stage.value for stage in values.Stage] == ["accepted", "durable", "sealed"]
    assert [mode.value for mode in values.Reasoning] == ["off", "verdict", "deferred"]
    assert [review.value for review in values.Review] == [
        *("trace_contradicts", "think_disagrees", "trace_missing", "score_in_band", "score_missing"),
    ]
    assert [state.value for state in values.LateState] == ["received", "failed", "lost"]
    assert [why.value for why in values.Lost] == ["queue_full", "closed"]
    assert [name.value for name in values.ProbeName] == [
        *("policy", "taxonomy", "categories", "thinking", "response", "image", "logprobs"),
    ]
    assert [result.value for result in values.ProbeResult] == [
        *("honoured", "ignored", "refused", "failed", "not_applicable"),
    ]


def test_taxonomy_is_the_model_s() -> None:
    """There are 24 names, in no need of numbers, and each can stand in the model's comma-separated list."""
    assert len(set(BUILTIN_CATEGORIES)) == len(BUILTIN_CATEGORIES) == 24
    assert SEXUAL_MINOR in BUILTIN_CATEGORIES
    assert not any("," in name for name in BUILTIN_CATEGORIES)
    assert len(set(LANGUAGES)) == 12
