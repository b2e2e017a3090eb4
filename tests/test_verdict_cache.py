"""Verdicts that are remembered."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from railscribe.audit import AuditStore
from railscribe.guard import Guard
from railscribe.judging import Judgement
from railscribe.policy import load_policy, parse_policy, render
from railscribe.settings import Settings
from railscribe.testing import ScriptedEngine
from railscribe.values import (
    Completion,
    EngineInfo,
    Exchange,
    Flags,
    Identity,
    Image,
    Label,
    Outcome,
    Piece,
    SideVerdict,
    Verdict,
)
from railscribe.verdict_cache import Question, VerdictCache

UNSAFE = "User Safety: unsafe\nSafety Categories: Violence"
THREAT = Exchange(user="I'll break your legs.")


def guard_with(database_url: str, engine: ScriptedEngine, **settings: Any) -> Guard:
    return Guard(
        engine=engine,
        store=AuditStore.open(database_url),
        policy=load_policy("default"),
        settings=Settings(database_url=database_url, **settings),
    )


async def test_nothing_is_remembered_by_default(database_url: str) -> None:
    """Without the setting every check asks the engine."""
    engine = ScriptedEngine(lambda _: UNSAFE)
    guard = guard_with(database_url, engine)

    for _ in range(2):
        await guard.check(THREAT)

    assert len(engine.requests) == 2


async def test_a_repeat_asks_nobody_and_has_a_record_that_says_so(database_url: str) -> None:
    """The second check has the verdict of the first, names it, and is decided and recorded like any other."""
    engine = ScriptedEngine([UNSAFE])
    guard = guard_with(database_url, engine, cache_verdicts=10)

    first, second = [await guard.check(THREAT) for _ in range(2)]

    assert (first.repeats, second.repeats) == (None, first.id)
    assert second.decision == first.decision
    kept = guard.store.record(second.id)
    assert (kept["repeats"], kept["decision"]["outcome"]) == (first.id, "block")
    assert kept["completion"]["finish_reason"] is None  # no engine replied


async def test_of_two_that_come_at_once_one_is_judged(database_url: str) -> None:
    """The second waits for the first, and repeats it."""
    engine = ScriptedEngine([UNSAFE])
    guard = guard_with(database_url, engine, cache_verdicts=10)

    records = await asyncio.gather(*(guard.check(THREAT) for _ in range(5)))

    asked = [record for record in records if record.repeats is None]
    assert len(asked) == 1
    assert {record.repeats for record in records if record.repeats} == {asked[0].id}


async def test_a_third_check_names_the_one_that_was_judged(database_url: str) -> None:
    """A repeat is not repeated in turn: every one of them names the check that asked the engine."""
    guard = guard_with(database_url, ScriptedEngine([UNSAFE]), cache_verdicts=10)

    first, _, third = [await guard.check(THREAT) for _ in range(3)]

    assert third.repeats == first.id


@pytest.mark.parametrize("what", ["tenant", "policy", "flags", "text", "response"])
async def test_another_question_is_asked_anew(database_url: str, what: str) -> None:
    """Tenant, policy, flags and content are all part of the question."""
    engine = ScriptedEngine(["User Safety: safe", "User Safety: safe\nResponse Safety: safe"])
    guard = guard_with(database_url, engine, cache_verdicts=10)
    exchange = Exchange(user="Good morning")
    await guard.check(exchange, identity=Identity(tenant="acme"))

    other = parse_policy(
        {"name": "other", "version": "1", "description": "Another.", "disallowed": ["Talk about the weather"]}
    )
    asks: dict[str, dict[str, Any]] = {
        "tenant": {"identity": Identity(tenant="globex")},
        "policy": {"policy": other},
        "flags": {"flags": Flags(categories=False)},
    }
    asked = asks.get(what, {})
    exchange = {"text": Exchange(user="Good evening"), "response": replace(exchange, response="Hello")}.get(
        what, exchange
    )
    asked.setdefault("identity", Identity(tenant="acme"))
    record = await guard.check(exchange, **asked)

    assert record.repeats is None
    assert len(engine.requests) == 2


async def test_what_is_undecided_is_not_remembered(database_url: str) -> None:
    """An unreadable reply is asked for again."""
    engine = ScriptedEngine(["nonsense", UNSAFE])
    guard = guard_with(database_url, engine, cache_verdicts=10)

    first, second = [await guard.check(THREAT) for _ in range(2)]

    assert (first.decision.outcome, second.decision.outcome) == (Outcome.UNDECIDED, Outcome.BLOCK)


async def test_a_changed_policy_decides_on_a_remembered_verdict_under_its_own_digest(
    database_url: str,
) -> None:
    """A policy of the same text with another threshold is another policy: nothing is taken over."""
    engine = ScriptedEngine(lambda _: UNSAFE)
    guard = guard_with(database_url, engine, cache_verdicts=10)
    policies = [
        parse_policy(
            {
                "name": "p",
                "version": "1",
                "description": "One of two.",
                "categories": [{"name": "Violence", "action": action}],
            }
        )
        for action in ("block", "flag")
    ]

    outcomes = [(await guard.check(THREAT, policy=policy)).decision.outcome for policy in policies]

    assert outcomes == [Outcome.BLOCK, Outcome.FLAG]
    assert len(engine.requests) == 2


def question(exchange: Exchange) -> Question | None:
    rendering = render(load_policy("default"))
    return Question.of(exchange, rendering, Flags(), EngineInfo(name="e", model="m"), "acme")


def judged(label: Label = Label.SAFE) -> Judgement:
    verdict = Verdict(user=SideVerdict(label=label), response=None, categories=(), trace=None, reply="")
    piece = Piece(
        verdict=verdict,
        completion=Completion(text="User Safety: safe", finish_reason="stop"),
        user_span=None,
        response_span=None,
        image=None,
        engine_ms=1.0,
        thinking=False,
        deciding=True,
    )
    return Judgement(pieces=(piece,), verdict=verdict)


def test_a_picture_given_by_its_address_is_never_found_again() -> None:
    """What lies at an address may change; a file is known by its digest and frame."""
    facts: dict[str, Any] = {"media_type": None, "width": None, "height": None}
    there = Image(data=None, url="https://example.org/a.png", digest=None, **facts)
    here = Image(data=b"x", digest="d", **facts)

    assert question(Exchange(user="", images=(there,))) is None
    assert question(Exchange(user="", images=(here,))) != question(
        Exchange(user="", images=(replace(here, frame=2),))
    )


def test_verdicts_are_forgotten_in_time_and_by_number() -> None:
    """The oldest goes when there are too many, and each goes when its time is over."""
    now = [0.0]
    cache = VerdictCache(most=2, seconds=10, clock=lambda: now[0])
    asked = [question(Exchange(user=text)) for text in ("one", "two", "three")]
    for number, each in enumerate(asked):
        assert each is not None
        cache.put(each, judged(), f"record-{number}")

    found = [cache.get(each) for each in asked if each]
    assert [each.repeats if each else None for each in found] == [None, "record-1", "record-2"]

    now[0] = 11
    assert [cache.get(each) for each in asked if each] == [None, None, None]
