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
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial

from railscribe.admission import direction_of, refuse_unscored, undecidable, unjudgeable
from railscribe.audit import AuditStore, KnownProbes, open_store
from railscribe.choosing import KnownPolicies, refuse_unloadable
from railscribe.deferred import DeferredReasoning
from railscribe.engines import Engine, open_engine
from railscribe.identity import current_identity
from railscribe.judging import Judged, Judgement, judge, unjudged
from railscribe.nemotron.reply import unreadable
from railscribe.policy import Policy, decide, render
from railscribe.reader import open_reader
from railscribe.reasoning import ReasoningPlan, reviews
from railscribe.recording import Caller, Stages, new_id, reasoning_of, together
from railscribe.rollout import OnUndecided, Rollout, enforcement_of
from railscribe.settings import Settings
from railscribe.values import (
    Cause,
    Completion,
    Direction,
    EngineInfo,
    Exchange,
    Flags,
    Identity,
    Mode,
    ProbeName,
    ProbeResult,
    Reasoning,
    Record,
    Rendering,
    Stage,
    StreamPart,
    Verdict,
)
from railscribe.verdict_cache import Question, VerdictCache

__all__ = ["Caller", "Guard"]

logger = logging.getLogger(__name__)

_NO_RAIL = Caller()
_PROBE_OF_MODE = {Mode.POLICY: ProbeName.POLICY, Mode.TAXONOMY: ProbeName.TAXONOMY}


@dataclass(frozen=True, slots=True, kw_only=True)
class _How:
    """What one check goes by, all defaults filled in."""

    direction: Direction
    policy: Policy
    identity: Identity
    on_undecided: OnUndecided
    rollout: Rollout
    wait_for: Stage
    caller: Caller
    part: StreamPart | None
    verdicts: VerdictCache | None


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
        self._rollout = Rollout.parse(settings.rollout)
        self._probes = KnownProbes(store)
        self._verdicts = (
            VerdictCache(most=settings.cache_verdicts, seconds=settings.cache_verdicts_s)
            if settings.cache_verdicts
            else None
        )
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
        rollout: Rollout | None = None,
        wait_for: Stage | None = None,
        caller: Caller = _NO_RAIL,
        problem: Cause | None = None,
        part: StreamPart | None = None,
        verdicts: VerdictCache | None = None,
    ) -> Record:
        """Judge *exchange*, record the result and return the record when it has reached *wait_for*.

        *direction* defaults to output where there is a response, else input; *policy* to what
        :meth:`policy_for` chooses. *reasoning*, or else *flags*, and *wait_for* go before what the policy says, and
        that before the settings. *problem* is for a rail that already knows why
        nothing can be judged (a broken picture): it is recorded as undecided. *rollout* goes before the setting of
        that name. *part* says of which stream the response is a part. *verdicts* are remembered ones to look among,
        instead of those that the settings have remembered.

        Raises:
            AuditError: the record was not kept, so there is no decision to release.
            PolicyError: the policy that was named does not exist, so there is nothing to decide by.
        """
        identity = identity or current_identity()
        policy = await self.policy_for(policy, identity)
        verdicts = verdicts or self._verdicts
        how = _How(
            direction=direction or direction_of(exchange),
            policy=policy,
            identity=identity,
            on_undecided=on_undecided or self.settings.on_undecided,
            rollout=rollout or self._rollout,
            wait_for=wait_for or policy.wait_for or self.settings.wait_for,
            caller=caller,
            part=part,
            verdicts=verdicts,
        )
        turn = verdicts.turn(exchange, policy.digest, identity.tenant) if verdicts else nullcontext()
        async with turn:
            return await self._check(exchange, how, flags, reasoning, problem)

    async def _check(
        self,
        exchange: Exchange,
        how: _How,
        flags: Flags | None,
        reasoning: ReasoningPlan | None,
        problem: Cause | None,
    ) -> Record:
        """Steps (1) to (6)."""
        policy, identity, direction = how.policy, how.identity, how.direction
        plan = reasoning or self._plan(policy, flags)
        flags = replace(flags or Flags(), thinking=plan.thinks_at_once)
        problem = undecidable(policy, direction, self.engine) or problem
        problem = problem or unjudgeable(exchange, direction, self.settings)
        record_id, checked_at = new_id()
        stages = Stages()
        ask = partial(self._ask, exchange, policy, direction, identity, stages, how.verdicts)
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
            rail=how.caller.rail,
            host=how.caller.host,
            exchange=exchange,
            rendering=final.rendering,
            engine=self._engine_info(final.rendering, identity, judgement.completion),
            flags=final.flags,
            neutralised=judgement.neutralised,
            completion=judgement.completion,
            verdict=judgement.verdict,
            decision=decision,
            enforcement=enforcement_of(
                decision,
                how.on_undecided,
                enforced=how.rollout.enforces(identity, record_id),
            ),
            image=together(judgement.readings),
            readings=judgement.readings,
            latency_ms=stages.laps,
            pieces=judgement.pieces if len(judgement.pieces) > 1 else (),
            reasoning=reasoning_of(plan, applies=applies, thought=thought),
            reviews=reviews(
                fast=None if first is thought else first.judgement.verdict,
                thinking=thought.judgement.verdict if thought and thought.judgement.pieces else None,
                sides=first.sides + (thought.sides if thought else []),
                band=band,
            ),
            rollout=how.rollout.name,
            part=how.part,
            repeats=judgement.repeats,
        )
        await self.store.append_async(record, wait=how.wait_for)
        if judgement.cancelled is not None:
            raise judgement.cancelled
        self._remember(how.verdicts, exchange, first, identity, record_id)
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
        stages: Stages,
        verdicts: VerdictCache | None,
        flags: Flags,
        problem: Cause | None,
    ) -> Judged:
        """Steps (2) to (4)."""
        rendering = render(policy, thinking=flags.thinking)
        stages.lap("render")
        judgement = None
        if verdicts is not None and problem is None:
            question = self._question(exchange, rendering, flags, identity)
            judgement = verdicts.get(question) if question else None
        if judgement is None:
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

    def _question(
        self, exchange: Exchange, rendering: Rendering, flags: Flags, identity: Identity
    ) -> Question | None:
        engine = self.engine.info_for(self._adapter(rendering, identity))
        return Question.of(exchange, rendering, flags, engine, identity.tenant)

    def _remember(
        self,
        verdicts: VerdictCache | None,
        exchange: Exchange,
        judged: Judged,
        identity: Identity,
        record_id: str,
    ) -> None:
        """Remember what was *judged*, now that it is on record, and by an engine that has started."""
        if verdicts is not None and judged.replied:
            question = self._question(exchange, judged.rendering, judged.flags, identity)
            if question is not None:
                verdicts.put(question, judged.judgement, record_id)

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
