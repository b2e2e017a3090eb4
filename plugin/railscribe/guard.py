"""The one road: an exchange in, a recorded decision out. Every rail, runnable and command walks it.

A check, step by step

(1) refuse what cannot be judged at all: nothing, too much, too many pictures, under a policy that does not fit
(2) render the policy (pure)
(3) let the engine judge it, in one call or in several (``judging.py``)
(4) decide on the verdict, and settle what is enforced (pure); where the plan for reasoning applies only now, (2)
    to (4) once more with thinking, and the stricter decision counts
(5) append the record; only then is the decision released
(6) where reasoning was deferred, think in the background (``deferred.py``)

Whatever fails in (1) to (3) becomes an undecided decision with its cause and is recorded like any other. What
fails in (5) is raised: a decision without a durable record is not released.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial

from railscribe.audit import AuditStore, KnownProbes, open_store
from railscribe.choosing import KnownPolicies, refuse_unloadable
from railscribe.deferred import DeferredReasoning
from railscribe.engines import Engine, open_engine
from railscribe.errors import PolicyError
from railscribe.identity import current_identity
from railscribe.judging import Judged, Judgement, judge, unjudged
from railscribe.nemotron.reply import unreadable
from railscribe.policy import Policy, decide, render
from railscribe.reader import open_reader
from railscribe.reasoning import ReasoningPlan, reviews
from railscribe.settings import OnUndecided, Settings
from railscribe.values import (
    Cause,
    Completion,
    Decision,
    Direction,
    Enforcement,
    EngineInfo,
    Exchange,
    Flags,
    Identity,
    ImageReading,
    ImageUse,
    Mode,
    Outcome,
    ProbeName,
    ProbeResult,
    Reasoning,
    Record,
    Rendering,
    Stage,
    Verdict,
)

logger = logging.getLogger(__name__)

_PROBE_OF_MODE = {Mode.POLICY: ProbeName.POLICY, Mode.TAXONOMY: ProbeName.TAXONOMY}


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Which binding asks: its rail and the host it serves, for the record."""

    rail: str = "guard"
    host: str = "python"


class Guard:
    """Checks exchanges against policies with one engine and one audit store; safe to call concurrently.

    *policy*, itself or by reference, is for checks that nothing else names one for (docs/policy-registry.md).

    Raises:
        PolicyError: a policy that *policy* or the settings name does not exist, or cannot be decided by here.
        AuditError: the registry was needed and could not be read.
    """

    def __init__(
        self, *, engine: Engine, store: AuditStore, policy: Policy | str, settings: Settings
    ) -> None:
        self.engine = engine
        self.store = store
        self.settings = settings
        self.policies = KnownPolicies(store, refresh_s=settings.policy_refresh_s)
        self._default = policy
        refuse_unscored(self.policy, engine)
        for tenant, reference in settings.policy_by_tenant.items():
            refuse_unscored(self.policies.find(reference, tenant), engine)
        self._deferred = DeferredReasoning(
            store.append_late_trace,
            queue=settings.reasoning_queue,
            in_flight=settings.reasoning_in_flight,
            timeout_s=settings.reasoning_timeout_s,
        )
        self._probes = KnownProbes(store)
        self._reader = open_reader(settings)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, *, start: bool = True) -> AsyncIterator[Guard]:
        """Open the store, load the policy, start the engine (unless told not to yet), and close both at the end.

        Raises:
            RailscribeError: what is missing, with the command that mends it.
        """
        refuse_unloadable(settings.policy)
        with open_store(settings) as store:
            engine = open_engine(settings)
            try:
                guard = cls(engine=engine, store=store, policy=settings.policy, settings=settings)
                try:
                    if start:
                        await engine.start()
                    yield guard
                finally:
                    await guard.aclose()
            finally:
                await engine.aclose()

    @property
    def policy(self) -> Policy:
        """The policy for checks that nothing else names one for, as it was last known."""
        return self._default if isinstance(self._default, Policy) else self.policies.last(self._default)

    async def policy_for(self, named: Policy | str | None = None, identity: Identity | None = None) -> Policy:
        """Return the policy that judges for *identity* where the caller or the rail names *named*.

        The first that is there: *named* as a policy, the request's (``identity.policy``), *named* as a
        reference, the tenant's (``policy_by_tenant``), the guard's own.

        Raises:
            PolicyError: it does not exist.
            AuditError: the registry was needed and could not be read.
        """
        identity = identity or current_identity()
        tenants = self.settings.policy_by_tenant
        if isinstance(named, Policy):
            return named
        chosen = identity.policy or named or tenants.get(identity.tenant) or self._default
        if isinstance(chosen, Policy):
            return chosen
        at_hand = self.policies.at_hand(chosen, identity.tenant)
        if at_hand is not None:
            return at_hand
        return await asyncio.to_thread(self._find, chosen, identity.tenant)

    def _find(self, reference: str, tenant: str) -> Policy:
        if reference == self._default:
            self.policies.find(reference)  # so that what is last known is as new as the checks are
        return self.policies.find(reference, tenant)

    async def aclose(self) -> None:
        """Wait a while (``reasoning_drain_s``) for deferred reasoning, and put on record what is then lost.

        Neither engine nor store is closed: they belong to whoever opened them.
        """
        await self._deferred.drain(self.settings.reasoning_drain_s)

    async def check(
        self,
        exchange: Exchange,
        *,
        direction: Direction | None = None,
        policy: Policy | str | None = None,
        identity: Identity | None = None,
        flags: Flags | None = None,
        reasoning: ReasoningPlan | None = None,
        on_undecided: OnUndecided | None = None,
        wait_for: Stage | None = None,
        caller: Caller = Caller(),
        problem: Cause | None = None,
    ) -> Record:
        """Judge *exchange*, record the result and return the record when it has reached *wait_for*.

        *direction* defaults to output where there is a response, else input; *policy* to what
        :meth:`policy_for` chooses. *reasoning*, or else *flags*, goes
        before the policy's and the settings' plan for reasoning. *problem* is for a rail that already knows why
        nothing can be judged (a broken picture): it is recorded as undecided.

        Raises:
            AuditError: the record was not kept, so there is no decision to release.
            PolicyError: the policy that was named does not exist, so there is nothing to decide by.
        """
        identity = identity or current_identity()
        policy = await self.policy_for(policy, identity)
        direction = direction or direction_of(exchange)
        plan = reasoning or self._plan(policy, flags)
        flags = replace(flags or Flags(), thinking=plan.thinks_at_once)
        problem = undecidable(policy, direction, self.engine) or problem
        problem = problem or unjudgeable(exchange, direction, self.settings)
        record_id, checked_at = _new_id()
        stages = _Stages()
        ask = partial(self._ask, exchange, policy, direction, identity, stages)
        first = await ask(flags, problem)
        band = policy.review_band or self.settings.reasoning_band
        applies = first.replied and plan.applies(record_id, first.decision, first.sides, band)
        thought = first if flags.thinking else None
        if applies and plan.mode is Reasoning.VERDICT and thought is None:
            thought = await ask(replace(flags, thinking=True), problem)
        final = first if thought is None else first.with_thinking(thought)
        judgement, decision = final.judgement, final.decision
        record = Record(
            id=record_id,
            checked_at=checked_at,
            identity=identity,
            direction=direction,
            rail=caller.rail,
            host=caller.host,
            exchange=exchange,
            rendering=final.rendering,
            engine=self._engine_info(final.rendering, identity, judgement.completion),
            flags=final.flags,
            neutralised=judgement.neutralised,
            completion=judgement.completion,
            verdict=judgement.verdict,
            decision=decision,
            enforcement=_enforce(decision, on_undecided or self.settings.on_undecided),
            image=_together(judgement.readings),
            readings=judgement.readings,
            latency_ms=stages.laps,
            pieces=judgement.pieces if len(judgement.pieces) > 1 else (),
            reasoning=_reasoning(plan, applies=applies, thought=thought),
            reviews=reviews(
                fast=None if first is thought else first.judgement.verdict,
                thinking=thought.judgement.verdict if thought and thought.judgement.pieces else None,
                sides=first.sides + (thought.sides if thought else []),
                band=band,
            ),
        )
        await self.store.append_async(record, wait=wait_for or self.settings.wait_for)
        if judgement.cancelled is not None:
            raise judgement.cancelled
        if record.reasoning is Reasoning.DEFERRED:
            await self._deferred.submit(record, partial(self._think, record, policy))
        return record

    def _plan(self, policy: Policy, flags: Flags | None) -> ReasoningPlan:
        """Return when the model is to think: by the caller's flags, else by the policy, else by the settings."""
        if flags is not None:
            return ReasoningPlan(mode=Reasoning.VERDICT if flags.thinking else Reasoning.OFF)
        return policy.reasoning or self.settings.reasoning_plan()

    async def _ask(
        self,
        exchange: Exchange,
        policy: Policy,
        direction: Direction,
        identity: Identity,
        stages: _Stages,
        flags: Flags,
        problem: Cause | None,
    ) -> Judged:
        """Steps (2) to (4)."""
        rendering = render(policy, thinking=flags.thinking)
        stages.lap("render")
        judgement = await self._judge(exchange, rendering, flags, identity, problem)
        stages.lap("engine")
        decision = decide(judgement.verdict, policy, direction)
        stages.lap("decide")
        return Judged(rendering=rendering, flags=flags, judgement=judgement, decision=decision)

    async def _think(self, record: Record, policy: Policy) -> tuple[Completion | None, Verdict]:
        """Step (6): what the engine says of *record*'s exchange when it thinks."""
        flags = replace(record.flags, thinking=True)
        rendering = render(policy, thinking=True)
        judgement = await self._judge(record.exchange, rendering, flags, record.identity, None)
        return judgement.completion, judgement.verdict

    async def _judge(
        self,
        exchange: Exchange,
        rendering: Rendering,
        flags: Flags,
        identity: Identity,
        problem: Cause | None,
    ) -> Judgement:
        """Step (3): what the engine says, or the cause why it says nothing."""
        if problem is not None:
            return unjudged(problem, exchange, rendering, flags)
        adapter = self._adapter(rendering, identity)
        try:
            if await self._is_ignored(rendering, adapter):
                return unjudged(Cause.POLICY_IGNORED, exchange, rendering, flags)
            judgement = await judge(
                self.engine,
                exchange,
                rendering,
                flags,
                adapter=adapter,
                scope=identity.tenant if self.settings.prefix_cache_scope == "tenant" else None,
                reader=self._reader,
            )
            # An engine that starts late knows itself only now.
            if judgement.cancelled is None and await self._is_ignored(rendering, adapter):
                ignored = unreadable(Cause.POLICY_IGNORED, response_sent=exchange.response is not None)
                return replace(judgement, verdict=ignored)
        except asyncio.CancelledError as error:  # a check that was begun goes on record all the same
            return replace(unjudged(Cause.CANCELLED, exchange, rendering, flags), cancelled=error)
        else:
            return judgement

    async def _is_ignored(self, rendering: Rendering, adapter: str | None) -> bool:
        """Whether the doctor found that the engine ignores policies of this mode: it would judge by another."""
        name = _PROBE_OF_MODE.get(rendering.mode)
        if name is None or self.settings.allow_ignored_policy:
            return False
        engine = self.engine
        found = await self._probes.result(engine.info_for(adapter), engine.address, name)
        return found is ProbeResult.IGNORED

    def _adapter(self, rendering: Rendering, identity: Identity) -> str | None:
        """Return which of the engine's adapters judges here: the policy's, else the tenant's, else its own."""
        settings = self.settings
        return settings.adapter_by_policy.get(
            rendering.policy_name, settings.adapter_by_tenant.get(identity.tenant)
        )

    def _engine_info(
        self, rendering: Rendering, identity: Identity, completion: Completion | None
    ) -> EngineInfo:
        info = self.engine.info_for(self._adapter(rendering, identity))
        return info if completion is None else replace(info, decoding=completion.decoding)


class _Stages:
    """Wall-clock milliseconds by stage of one check."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._since = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.laps[stage] = self.laps.get(stage, 0.0) + (now - self._since) * 1000
        self._since = now


def direction_of(exchange: Exchange) -> Direction:
    """Return the direction that *exchange* was travelling in, going by what it holds."""
    return Direction.INPUT if exchange.response is None else Direction.OUTPUT


def unjudgeable(exchange: Exchange, direction: Direction, settings: Settings) -> Cause | None:
    """Return why *exchange* cannot go to any engine, if it cannot: step (1)."""
    judged = exchange.user if direction is Direction.INPUT else exchange.response
    if not (judged or "").strip() and not (direction is Direction.INPUT and exchange.images):
        return Cause.EMPTY
    if max(len(exchange.user), len(exchange.response or "")) > settings.max_text_chars:
        return Cause.TOO_LONG
    if len(exchange.images) > settings.max_images:
        return Cause.TOO_MANY_IMAGES
    return None


def undecidable(policy: Policy, direction: Direction, engine: Engine) -> Cause | None:
    """Return why *policy* cannot decide on what travels in *direction* and *engine* judges, if it cannot."""
    if not policy.applies(direction):
        return Cause.POLICY_NOT_APPLICABLE
    if policy.scores_categories and not engine.scores_categories:
        return Cause.NO_CATEGORY_SCORES
    return None


def refuse_misfit(policy: Policy, direction: Direction, engine: Engine) -> None:
    """Refuse *policy* for a rail in *direction* that *engine* judges for, where it could only ever refuse.

    Raises:
        PolicyError: it does not apply to the direction, or needs scores that the engine never gives.
    """
    if not policy.applies(direction):
        raise PolicyError(
            f"The policy {policy.name} does not apply to {direction.value}, where a rail is to use it.",
            hint=f"Its applies_to names {', '.join(policy.applies_to or ())}.",
        )
    refuse_unscored(policy, engine)


def refuse_unscored(policy: Policy, engine: Engine) -> None:
    """Refuse *policy* where it needs scores that *engine* never gives.

    Raises:
        PolicyError: it does.
    """
    if policy.scores_categories and not engine.scores_categories:
        named = [category.name for category in policy.categories if category.threshold is not None]
        raise PolicyError(
            f"The policy {policy.name} has thresholds on categories ({', '.join(named[:3])}"
            f"{', …' if len(named) > 3 else ''}), and the {engine.info.name} engine gives them no scores.",
            hint="Use an engine in process (embedded, transformers), or the policy's one threshold: for all of them.",
        )


_MISMATCH = (Cause.POLICY_NOT_APPLICABLE, Cause.NO_CATEGORY_SCORES)


def _enforce(decision: Decision, on_undecided: OnUndecided) -> Enforcement:
    refused = decision.outcome is Outcome.BLOCK or (
        decision.outcome is Outcome.UNDECIDED
        # A policy that does not fit is the operator's mistake, and no want of a verdict: no switch is for it.
        and (on_undecided == "block" or decision.cause in _MISMATCH)
    )
    return Enforcement.REFUSED if refused else Enforcement.PASSED


def _reasoning(plan: ReasoningPlan, *, applies: bool, thought: Judged | None) -> Reasoning:
    if thought is not None:
        return Reasoning.VERDICT
    return Reasoning.DEFERRED if applies and plan.mode is Reasoning.DEFERRED else Reasoning.OFF


_SAYS_LEAST = (
    *(ImageUse.NOT_JUDGED, ImageUse.NOTHING_READ),
    *(ImageUse.READ, ImageUse.SEEN, ImageUse.SEEN_AND_READ),
)


def _together(readings: Sequence[ImageReading]) -> ImageReading | None:
    """Return what became of the pictures as a whole."""
    if len(readings) < 2:
        return readings[0] if readings else None
    texts = [reading.text for reading in readings if reading.text]
    return ImageReading(
        use=min((reading.use for reading in readings), key=_SAYS_LEAST.index),
        text="\n".join(texts) if texts else None,
        reader=next((reading.reader for reading in readings if reading.reader), None),
    )


def _new_id() -> tuple[str, datetime]:
    """Return a version 7 UUID (RFC 9562) and the time it carries: ids sort by time, to the millisecond."""
    now_ns = time.time_ns()
    value = (now_ns // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value)), datetime.fromtimestamp(now_ns / 1e9, tz=timezone.utc)
