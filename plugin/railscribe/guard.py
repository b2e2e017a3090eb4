"""The one road: an exchange in, a recorded decision out. Every rail, runnable and command walks it.

A check, step by step

(1) refuse what cannot be judged at all: nothing, too much, more than one picture
(2) render the policy and build the request (pure)
(3) let the engine complete it, within its time-out
(4) read the reply as a verdict, decide, and settle what is enforced (pure)
(5) append the record; only then is the decision released

Whatever fails in (1) to (3) becomes an undecided decision with its cause and is recorded like any other. What
fails in (5) is raised: a decision without a durable record is not released.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timezone

from railscribe.audit import AuditStore
from railscribe.engines import Engine, open_engine
from railscribe.errors import EngineError
from railscribe.identity import current_identity
from railscribe.nemotron import build_request, parse_reply
from railscribe.nemotron.reply import unreadable
from railscribe.policy import Policy, decide, load_policy, render
from railscribe.settings import OnUndecided, Settings
from railscribe.values import (
    Cause,
    Completion,
    Decision,
    Direction,
    Enforcement,
    Exchange,
    Flags,
    Identity,
    ImageReading,
    ImageUse,
    Outcome,
    Record,
    Rendering,
    Request,
    Verdict,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Which binding asks: its rail and the host it serves, for the record."""

    rail: str = "guard"
    host: str = "python"


class Guard:
    """Checks exchanges against policies with one engine and one audit store; safe to call concurrently."""

    def __init__(self, *, engine: Engine, store: AuditStore, policy: Policy, settings: Settings) -> None:
        self.engine = engine
        self.store = store
        self.policy = policy
        self.settings = settings

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, *, start: bool = True) -> AsyncIterator[Guard]:
        """Open the store, load the policy, start the engine (unless told not to yet), and close both at the end.

        Raises:
            RailscribeError: what is missing, with the command that mends it.
        """
        policy = load_policy(settings.policy)
        with AuditStore.open(settings.database_url) as store:
            engine = open_engine(settings)
            try:
                if start:
                    await engine.start()
                yield cls(engine=engine, store=store, policy=policy, settings=settings)
            finally:
                await engine.aclose()

    async def check(
        self,
        exchange: Exchange,
        *,
        direction: Direction | None = None,
        policy: Policy | None = None,
        identity: Identity | None = None,
        flags: Flags | None = None,
        on_undecided: OnUndecided | None = None,
        caller: Caller = Caller(),
        problem: Cause | None = None,
    ) -> Record:
        """Judge *exchange*, record the result durably and return the record.

        *direction* defaults to output where there is a response, else input. *problem* is for a rail that
        already knows why nothing can be judged (a broken picture): it is recorded as undecided.

        Raises:
            AuditError: the record could not be made durable, so there is no decision to release.
        """
        policy = policy or self.policy
        direction = direction or direction_of(exchange)
        flags = flags or Flags(thinking=self.settings.think)
        record_id, checked_at = _new_id()
        stages = _Stages()
        rendering = render(policy, thinking=flags.thinking)
        request = build_request(exchange, rendering, flags)
        stages.lap("render")
        reply = await self._reply(request, problem or unjudgeable(exchange, direction, self.settings))
        stages.lap("engine")
        verdict = _verdict(reply, exchange, rendering)
        decision = decide(verdict, policy, direction)
        stages.lap("decide")
        completion = reply.completion
        record = Record(
            id=record_id,
            checked_at=checked_at,
            identity=identity or current_identity(),
            direction=direction,
            rail=caller.rail,
            host=caller.host,
            exchange=exchange,
            rendering=rendering,
            engine=self.engine.info,
            flags=flags,
            neutralised=tuple(
                dict.fromkeys(request.neutralised + (completion.neutralised if completion else ()))
            ),
            completion=completion,
            verdict=verdict,
            decision=decision,
            enforcement=_enforce(decision, on_undecided or self.settings.on_undecided),
            image=_image_reading(exchange, reply),
            latency_ms=stages.laps,
        )
        # Shielded: a record once begun is finished, whoever stops waiting for it.
        await asyncio.shield(asyncio.to_thread(self.store.append, record))
        if reply.cancelled is not None:
            raise reply.cancelled
        return record

    async def _reply(self, request: Request, problem: Cause | None) -> _Reply:
        """Step (3): the engine's completion, or the cause why there is none."""
        if problem is not None:
            return _Reply(cause=problem)
        try:
            return _Reply(completion=await self.engine.complete(request))
        except EngineError as error:
            # The type only: a foreign message, or a traceback holding one, may quote the content.
            logger.warning("no completion: %s (%s)", error.cause.value, type(error).__name__)
            return _Reply(cause=error.cause)
        except asyncio.CancelledError as error:
            # Parallel rails cancel one another; a check that was begun goes on record all the same.
            return _Reply(cause=Cause.CANCELLED, cancelled=error)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reply:
    """What step (3) came to: a completion or the cause of its absence."""

    completion: Completion | None = None
    cause: Cause = Cause.ENGINE_FAILED
    cancelled: asyncio.CancelledError | None = None


class _Stages:
    """Wall-clock milliseconds by stage of one check."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._since = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.laps[stage] = (now - self._since) * 1000
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
    if len(exchange.images) > 1:
        return Cause.MODALITY  # the model takes exactly one; judging the first would hide the others
    return None


def _verdict(reply: _Reply, exchange: Exchange, rendering: Rendering) -> Verdict:
    if reply.completion is None:
        return unreadable(reply.cause, response_sent=exchange.response is not None)
    return parse_reply(
        reply.completion.text,
        response_sent=exchange.response is not None,
        finish_reason=reply.completion.finish_reason,
        category_names=rendering.category_names,
        scores=reply.completion.scores,
    )


def _enforce(decision: Decision, on_undecided: OnUndecided) -> Enforcement:
    refused = decision.outcome is Outcome.BLOCK or (
        decision.outcome is Outcome.UNDECIDED and on_undecided == "block"
    )
    return Enforcement.REFUSED if refused else Enforcement.PASSED


def _image_reading(exchange: Exchange, reply: _Reply) -> ImageReading | None:
    if not exchange.images:
        return None
    if reply.completion is not None and reply.completion.image is not None:
        return reply.completion.image
    nothing = reply.cause is Cause.MODALITY and len(exchange.images) == 1
    return ImageReading(use=ImageUse.NOTHING_READ if nothing else ImageUse.NOT_JUDGED)


def _new_id() -> tuple[str, datetime]:
    """Return a version 7 UUID (RFC 9562) and the time it carries: ids sort by time, to the millisecond."""
    now_ns = time.time_ns()
    value = (now_ns // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value)), datetime.fromtimestamp(now_ns / 1e9, tz=timezone.utc)
