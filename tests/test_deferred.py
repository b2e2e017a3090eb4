"""Thinking at once, thinking when it applies, thinking afterwards: with a scripted engine and a real store."""

from __future__ import annotations

import asyncio
import dataclasses
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from railscribe.audit import AuditStore
from railscribe.errors import AuditError, EngineTimeoutError
from railscribe.guard import Guard
from railscribe.policy import Policy, load_policy
from railscribe.reasoning import ReasoningFor, ReasoningPlan
from railscribe.settings import Settings
from railscribe.standing import StandingGuard
from railscribe.testing import ScriptedEngine
from railscribe.values import (
    Completion,
    Enforcement,
    Exchange,
    Flags,
    LateTrace,
    Outcome,
    Reasoning,
    Record,
    Request,
    Side,
)

SAFE, UNSAFE = "User Safety: safe", "User Safety: unsafe"
HELLO = Exchange(user="hello")
Answer = str | Completion | Exception | Callable[[], Awaitable[str]]


def reply(text: str, score: float | None = None) -> Completion:
    return Completion(text=text, finish_reason="stop", scores={} if score is None else {Side.USER: score})


def engine_that(fast: Answer, thinking: Answer) -> ScriptedEngine:
    """An engine that gives one answer without thinking and another with it."""

    def answer(request: Request) -> Any:
        chosen = thinking if request.flags.thinking else fast
        return chosen() if callable(chosen) else chosen

    return ScriptedEngine(answer)


def guard_with(store: AuditStore, engine: ScriptedEngine, **settings: Any) -> Guard:
    policy = settings.pop("policy", None) or load_policy("default")
    return Guard(engine=engine, store=store, policy=policy, settings=Settings(**settings))


def on_record(store: AuditStore, record: Record) -> dict[str, Any]:
    return store.record(record.id)


# At once.
async def test_a_verdict_with_thinking_is_one_call(store: AuditStore) -> None:
    """``verdict`` for all asks once, with thinking, and decides on that."""
    engine = engine_that(SAFE, f"<think>It is a threat.</think>{UNSAFE}")
    guard = guard_with(store, engine, reasoning="verdict")

    record = await guard.check(HELLO)

    assert [request.flags.thinking for request in engine.requests] == [True]
    assert (record.decision.outcome, record.reasoning) == (Outcome.BLOCK, Reasoning.VERDICT)
    assert (record.reviews, record.pieces) == ((), ())
    assert on_record(store, record)["trace_received"] is True


async def test_think_is_short_for_that(store: AuditStore) -> None:
    """The older setting goes on working, and an empty hand instead of a trace is a reason for review."""
    guard = guard_with(store, engine_that(UNSAFE, SAFE), think=True)

    record = await guard.check(HELLO)

    assert (record.reasoning, record.decision.outcome) == (Reasoning.VERDICT, Outcome.ALLOW)
    assert on_record(store, record)["reviews"] == ["trace_missing"]


async def test_a_trace_that_contradicts_its_verdict_is_up_for_review(store: AuditStore) -> None:
    """The verdict counts; that its own trace came to another label is on record."""
    trace = "The user plans a burglary. This violates the policy, so the request is unsafe."
    guard = guard_with(store, engine_that("", f"<think>{trace}</think>{SAFE}"), reasoning="verdict")

    record = await guard.check(HELLO)

    assert record.decision.outcome is Outcome.ALLOW
    assert on_record(store, record)["reviews"] == ["trace_contradicts"]
    assert store.select("SELECT reason, found_by FROM v_reviews")[1] == [("trace_contradicts", "check")]


# When it applies.
@pytest.mark.parametrize(
    ("fast", "thinking", "outcome", "deciding"),
    [
        (UNSAFE, f"<think>A joke.</think>{SAFE}", Outcome.BLOCK, 0),
        (UNSAFE, f"<think>A threat.</think>{UNSAFE}", Outcome.BLOCK, 1),
        (UNSAFE, EngineTimeoutError(), Outcome.BLOCK, 0),
    ],
)
async def test_the_stricter_of_two_verdicts_counts(
    store: AuditStore, fast: Answer, thinking: Answer, outcome: Outcome, deciding: int
) -> None:
    """What the fast verdict blocked no thinking lets pass; both are on record, and which of them counted."""
    guard = guard_with(store, engine_that(fast, thinking), reasoning="verdict", reasoning_for="blocked")

    record = await guard.check(HELLO)

    assert (record.decision.outcome, record.enforcement) == (outcome, Enforcement.REFUSED)
    assert [piece.thinking for piece in record.pieces] == [False, True]
    assert [piece.deciding for piece in record.pieces] == [deciding == 0, deciding == 1]
    found = on_record(store, record)
    assert [piece["trace_requested"] for piece in found["pieces"]] == [False, True]
    assert found["requested"]["trace"] is True
    kept = found["content"]["trace"]
    assert (kept and kept["text"]) == (record.verdict.trace if isinstance(thinking, str) else None)


async def test_thinking_may_be_stricter(store: AuditStore) -> None:
    """A score in the band is thought about, and what thinking calls unsafe is blocked."""
    policy = dataclasses.replace(
        load_policy("default"),
        review_band=(0.3, 0.7),
        reasoning=ReasoningPlan(mode=Reasoning.VERDICT, applies_to=ReasoningFor.BAND),
    )
    engine = engine_that(reply(SAFE, 0.4), reply(f"<think>Read twice, a threat.</think>{UNSAFE}", 0.9))
    guard = guard_with(store, engine, policy=policy)

    record = await guard.check(HELLO)

    assert (record.decision.outcome, record.verdict.user.score) == (Outcome.BLOCK, 0.9)
    assert on_record(store, record)["reviews"] == ["score_in_band", "think_disagrees"]


async def test_what_a_plan_is_not_for_is_not_thought_about(store: AuditStore) -> None:
    """A plan for blocks leaves what was allowed at one call without thinking."""
    engine = engine_that(SAFE, UNSAFE)
    guard = guard_with(store, engine, reasoning="verdict", reasoning_for="blocked")

    record = await guard.check(HELLO)

    assert len(engine.requests) == 1
    assert (record.reasoning, record.reviews, record.pieces) == (Reasoning.OFF, (), ())


async def test_no_reply_is_not_thought_about(store: AuditStore) -> None:
    """Where the engine failed, or was not asked, there is nothing to think about."""
    engine = engine_that(EngineTimeoutError(), SAFE)
    guard = guard_with(store, engine, reasoning="deferred")

    failed, empty = await guard.check(HELLO), await guard.check(Exchange(user=" "))

    assert len(engine.requests) == 1
    assert (failed.reasoning, empty.reasoning) == (Reasoning.OFF, Reasoning.OFF)
    thinking = guard_with(store, engine, reasoning="verdict")
    assert (await thinking.check(Exchange(user=" "))).reviews == ()


# Who says so.
async def test_the_nearest_plan_counts(store: AuditStore) -> None:
    """The caller's plan goes before the caller's flags, those before the policy's plan, that before the settings'."""
    off, at_once = (ReasoningPlan(mode=mode) for mode in (Reasoning.OFF, Reasoning.VERDICT))
    engine = engine_that(SAFE, f"<think>Fine.</think>{SAFE}")
    guard = guard_with(store, engine, reasoning="deferred")
    thoughtful = dataclasses.replace(guard.policy, reasoning=at_once)

    async def mode(**how: Any) -> Reasoning:
        return (await guard.check(HELLO, **how)).reasoning

    assert await mode() is Reasoning.DEFERRED
    assert await mode(policy=thoughtful) is Reasoning.VERDICT
    assert await mode(policy=thoughtful, flags=Flags()) is Reasoning.OFF
    assert await mode(policy=thoughtful, flags=Flags(), reasoning=at_once) is Reasoning.VERDICT
    assert await mode(policy=thoughtful, reasoning=off) is Reasoning.OFF
    await guard.aclose()


# Afterwards.
async def test_deferred_decides_fast_and_thinks_later(store: AuditStore) -> None:
    """The decision does not wait for the trace, which is appended to the record when it comes."""
    gate = asyncio.Event()

    async def slowly() -> str:
        await gate.wait()
        return f"<think>It is a threat.</think>{UNSAFE}"

    guard = guard_with(store, engine_that(SAFE, slowly), reasoning="deferred")

    record = await guard.check(HELLO)

    assert (record.decision.outcome, record.flags.thinking) == (Outcome.ALLOW, False)
    before = on_record(store, record)
    assert (before["late_trace"], before["reviews"]) == (None, ["trace_awaited"])
    gate.set()
    await guard.aclose()
    found = on_record(store, record)
    late = found["late_trace"]
    assert (late["state"], late["user"]["label"], late["disagrees"]) == ("received", "unsafe", True)
    assert (late["trace"]["text"], late["contradicts"]) == ("It is a threat.", False)
    assert late["engine_ms"] > 0
    assert (found["reviews"], found["decision"]["outcome"]) == (["think_disagrees"], "allow")


@pytest.mark.parametrize(
    ("thinking", "state", "cause", "reviews"),
    [
        (EngineTimeoutError(), "failed", "timeout", ["trace_missing"]),
        (ValueError("a bug"), "failed", "engine_failed", ["trace_missing"]),
        (SAFE, "received", None, ["trace_missing"]),
        ("<think>Hm.</think>no verdict", "received", "stray_text", []),
        (f"<think>The request is harmful.</think>{SAFE}", "received", None, ["trace_contradicts"]),
    ],
)
async def test_what_can_become_of_it(
    store: AuditStore, thinking: Answer, state: str, cause: str | None, reviews: list[str]
) -> None:
    """A failure, a reply without a trace, one without a verdict, a contradiction: each is told apart."""
    guard = guard_with(store, engine_that(SAFE, thinking), reasoning="deferred")

    record = await guard.check(HELLO)
    await guard.aclose()

    found = on_record(store, record)
    assert (found["late_trace"]["state"], found["late_trace"]["cause"]) == (state, cause)
    assert found["reviews"] == reviews


async def test_it_takes_no_longer_than_it_may(store: AuditStore) -> None:
    """A trace that does not come in its time is a failure by time-out."""

    async def never() -> str:
        await asyncio.sleep(60)
        return SAFE

    guard = guard_with(store, engine_that(SAFE, never), reasoning="deferred", reasoning_timeout_s=0.05)

    record = await guard.check(HELLO)
    await guard.aclose()

    late = on_record(store, record)["late_trace"]
    assert (late["state"], late["cause"]) == ("failed", "timeout")


async def test_few_at_a_time_and_no_more_than_the_queue_holds(store: AuditStore) -> None:
    """At most so many run together, so many wait in their order, and the rest are lost at once, on record."""
    running, most, gate = 0, 0, asyncio.Event()

    async def counted() -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await gate.wait()
        running -= 1
        return f"<think>Fine.</think>{SAFE}"

    guard = guard_with(
        store, engine_that(SAFE, counted), reasoning="deferred", reasoning_queue=3, reasoning_in_flight=2
    )

    records = [await guard.check(HELLO) for _ in range(7)]
    early = [on_record(store, record)["late_trace"] for record in records]
    gate.set()
    await guard.aclose()

    assert most == 2
    assert [late and (late["state"], late["cause"]) for late in early] == [
        *[None] * 5,
        *[("lost", "queue_full")] * 2,
    ]
    states = [on_record(store, record)["late_trace"]["state"] for record in records]
    assert states == ["received"] * 5 + ["lost"] * 2


async def test_closing_accounts_for_every_one(store: AuditStore) -> None:
    """What is still open when the time for draining is over is lost, on record, and nothing more is taken."""

    async def never() -> str:
        await asyncio.sleep(60)
        return SAFE

    guard = guard_with(
        store, engine_that(SAFE, never), reasoning="deferred", reasoning_in_flight=1, reasoning_drain_s=0.05
    )

    records = [await guard.check(HELLO) for _ in range(4)]
    await guard.aclose()
    await guard.aclose()
    records.append(await guard.check(HELLO))

    states = [on_record(store, record)["late_trace"] for record in records]
    assert [(late["state"], late["cause"]) for late in states] == [("lost", "closed")] * 5
    assert store.select("SELECT state, count(*) FROM v_late_traces GROUP BY state")[1] == [("lost", 5)]


def test_a_loop_that_ends_leaves_nothing_open(store: AuditStore) -> None:
    """When the event loop ends without the guard being closed, what was open is lost, and on record."""

    async def never() -> str:
        await asyncio.sleep(60)
        return SAFE

    guard = guard_with(store, engine_that(SAFE, never), reasoning="deferred", reasoning_in_flight=1)

    async def check_thrice() -> list[Record]:
        return [await guard.check(HELLO) for _ in range(3)]

    records = asyncio.run(check_thrice())

    assert {on_record(store, record)["late_trace"]["state"] for record in records} == {"lost"}


async def test_a_full_disk_stops_nothing(
    store: AuditStore, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A late trace that cannot be written is logged without its content, and the view still awaits it."""

    def refuse(_: LateTrace) -> None:
        raise AuditError("Appending a late trace: the disk is full.")

    monkeypatch.setattr(store, "append_late_trace", refuse)
    guard = guard_with(store, engine_that(SAFE, f"<think>Secret.</think>{SAFE}"), reasoning="deferred")

    record = await guard.check(HELLO)
    await guard.aclose()

    assert "a late trace was not recorded (AuditError)" in caplog.text
    assert "Secret" not in caplog.text
    assert store.select("SELECT id, state FROM v_late_traces")[1] == [(record.id, "awaited")]


async def test_a_sample_is_told_by_the_record(store: AuditStore) -> None:
    """Who is in the sample follows from the ids of the records."""
    guard = guard_with(
        store,
        engine_that(SAFE, f"<think>Fine.</think>{SAFE}"),
        reasoning="deferred",
        reasoning_for="sample",
        reasoning_sample=0.5,
    )

    records = [await guard.check(HELLO) for _ in range(24)]
    await guard.aclose()

    plan = guard.settings.reasoning_plan()
    expected = [plan.applies(record.id, record.decision, [], None) for record in records]
    assert [record.reasoning is Reasoning.DEFERRED for record in records] == expected
    assert 0 < sum(expected) < 24


# Bands.
@pytest.mark.parametrize(
    ("answer", "outcome", "reviews"),
    [
        (reply(SAFE, 0.2), Outcome.ALLOW, []),
        (reply(SAFE, 0.3), Outcome.FLAG, ["score_in_band"]),
        (reply(UNSAFE, 0.6), Outcome.BLOCK, ["score_in_band"]),
        (reply(SAFE), Outcome.ALLOW, ["score_missing"]),
    ],
)
async def test_a_policys_band_flags(
    store: AuditStore, answer: Completion, outcome: Outcome, reviews: list[str]
) -> None:
    """What is called safe with a score in the policy's band is flagged; where there is no score, that is said."""
    policy: Policy = dataclasses.replace(load_policy("default"), review_band=(0.3, 0.7))
    guard = guard_with(store, engine_that(answer, SAFE), policy=policy)

    record = await guard.check(HELLO)

    assert record.decision.outcome is outcome
    assert on_record(store, record)["reviews"] == reviews


# Standing guards.
async def test_a_standing_guard_thinks_on_its_own_loop(database_url: str) -> None:
    """Deferred reasoning of a standing guard outlives the call that brought it, and closing waits for it."""
    engine = engine_that(SAFE, f"<think>Fine.</think>{SAFE}")
    guard = StandingGuard.stand(Settings(database_url=database_url, reasoning="deferred"), engine=engine)  # type: ignore[arg-type]

    record = await guard.check(HELLO)
    await guard.aclose()

    assert guard.store.record(record.id)["late_trace"]["state"] == "received"


def test_a_process_that_ends_says_what_was_lost(database_url: str) -> None:
    """A host that never closes its standing guard leaves no trace unaccounted for when its process ends."""
    program = """
import asyncio, sys
from railscribe import Exchange, Settings
from railscribe.standing import StandingGuard
from railscribe.testing import ScriptedEngine

async def answer(request):
    if request.flags.thinking:
        await asyncio.sleep(60)
    return "User Safety: safe"

settings = Settings(database_url=sys.argv[1], reasoning="deferred", reasoning_in_flight=1)
guard = StandingGuard.stand(settings, engine=ScriptedEngine(answer, timeout_s=90))
for _ in range(3):
    asyncio.run(guard.check(Exchange(user="hello")))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, database_url], capture_output=True, text=True, timeout=60
    )

    assert (done.returncode, done.stderr) == (0, "")
    with AuditStore.open(database_url) as store:
        rows = store.select("SELECT state, cause, count(*) FROM v_late_traces GROUP BY state, cause")[1]
    assert rows == [("lost", "closed", 3)]
