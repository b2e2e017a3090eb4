"""The actions that NeMo Guardrails calls, over one app's guard.

Rules

1. An action never raises into the host, cancelling apart: NeMo would log the whole conversation. Whatever
   fails refuses, with the cause ``not_run`` (``not_recorded`` where the store failed), and is logged without content.
2. What was refused or let through has a record; where the record itself could not be made durable, the rail
   refuses whatever the switches say, but for a rail that only observes.
3. What was retrieved is judged chunk by chunk, and chunks that are refused are withheld from the model.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from nemoguardrails.actions import action
from nemoguardrails.actions.actions import ActionResult
from nemoguardrails.actions.rail_outcome import RailOutcome

from railscribe.errors import cause_without_record, without_content
from railscribe.guard import Guard
from railscribe.language import told
from railscribe.policy import refusals_of
from railscribe.rails.answers import answer_without_record, outcome_of, retrieval_outcome
from railscribe.rails.configuration import Configuration, flow_of
from railscribe.rails.identities import identity_here
from railscribe.rails.streams import Streams
from railscribe.rails.turns import Events, chunks_of, host_turns, read_exchange, withhold_reasoning
from railscribe.recording import Caller
from railscribe.values import Cause, Direction, Enforcement, Exchange, Identity, StreamPart
from railscribe.verdict_cache import VerdictCache

logger = logging.getLogger(__name__)

_HOST = f"nemoguardrails {version('nemoguardrails')}"
_CHUNKS_AT_ONCE = 8


class Rails:
    """The rails of one app."""

    def __init__(self, guard: Guard, configuration: Configuration) -> None:
        self.guard = guard
        self.configuration = configuration
        # NeMo shows a rail a short streamed answer twice: as a chunk, and then as a whole.
        self._streamed = VerdictCache(most=256, seconds=60.0) if configuration.streams else None
        self._streams = Streams() if configuration.streams else None

    @action(name="railscribe_check_input", is_system_action=True)  # type: ignore[untyped-decorator]
    async def check_input(
        self,
        context: Mapping[str, Any] | None = None,
        events: Events | None = None,
        policy: str | None = None,
        **_: object,
    ) -> RailOutcome | ActionResult:
        """Judge the user's turn."""
        return _told_to_flow(await self.judge(Direction.INPUT, context or {}, events, policy), events)

    @action(name="railscribe_check_output", is_system_action=True)  # type: ignore[untyped-decorator]
    async def check_output(
        self,
        context: Mapping[str, Any] | None = None,
        events: Events | None = None,
        policy: str | None = None,
        **_: object,
    ) -> RailOutcome | ActionResult:
        """Judge the bot's message, and what it thought; both are refused together."""
        return _let_out(await self.judge(Direction.OUTPUT, context or {}, events, policy), events)

    @action(name="railscribe_check_retrieval", is_system_action=True)  # type: ignore[untyped-decorator]
    async def check_retrieval(
        self,
        context: Mapping[str, Any] | None = None,
        events: Events | None = None,
        policy: str | None = None,
        chunks: object = None,
        **_: object,
    ) -> RailOutcome:
        """Judge what was retrieved; what may be used of it is the outcome's ``kept``."""
        retrieved = chunks_of(context if isinstance(context, Mapping) else {}, chunks)
        turn = asyncio.Semaphore(_CHUNKS_AT_ONCE)

        async def judged(chunk: object) -> RailOutcome:
            async with turn:
                return await self.judge(Direction.RETRIEVAL, context or {}, events or (), policy, chunk)

        return retrieval_outcome(retrieved, await asyncio.gather(*map(judged, retrieved)))

    @action(name="railscribe_check_tool_output", is_system_action=True)  # type: ignore[untyped-decorator]
    async def check_tool_output(
        self,
        context: Mapping[str, Any] | None = None,
        events: Events | None = None,
        policy: str | None = None,
        tool_calls: object = None,
        **_: object,
    ) -> RailOutcome | ActionResult:
        """Judge the calls that the model wants to make, together."""
        calls = tool_calls if tool_calls is not None else _held(context, "tool_calls")
        outcome = await self.judge(Direction.TOOL_OUTPUT, context or {}, events or (), policy, calls)
        return _let_out(outcome, events)

    @action(name="railscribe_check_tool_input", is_system_action=True)  # type: ignore[untyped-decorator]
    async def check_tool_input(
        self,
        context: Mapping[str, Any] | None = None,
        events: Events | None = None,
        policy: str | None = None,
        tool_message: object = None,
        **_: object,
    ) -> RailOutcome | ActionResult:
        """Judge what a tool answered."""
        message = tool_message if tool_message is not None else _held(context, "tool_message")
        outcome = await self.judge(Direction.TOOL_INPUT, context or {}, events or (), policy, message)
        return _told_to_flow(outcome, events)

    async def judge(
        self,
        direction: Direction,
        context: Mapping[str, Any],
        events: Events | None,
        policy: str | None,
        given: object = None,
        *,
        what: str | None = None,
        problem: Cause | None = None,
    ) -> RailOutcome:
        """Return what the host is to do about *given*, or about what *context* holds, which goes in *direction*.

        *events* is ``None`` for a chunk of a stream. *what* is added to the rail's name on record. *problem* says why
        it is refused whatever it holds.
        """
        if what is None:
            what = " (chunk)" if events is None else ""
        caller = Caller(rail=flow_of(direction) + what, host=_HOST)
        if (
            direction is Direction.OUTPUT
            and events is None
            and self._is_own_refusal(_held(context, "bot_message"))
        ):
            return RailOutcome.allow(reason="the rail's own refusal")
        try:
            return await self._check(direction, context, events, policy, given, caller, problem)
        except Exception as error:  # noqa: BLE001 - rule 1
            _log(caller, error)
            cause, enforced = cause_without_record(error), self._enforces(direction)
            return answer_without_record(self.guard.policy, cause, enforced=enforced)

    async def _check(
        self,
        direction: Direction,
        context: Mapping[str, Any],
        events: Events | None,
        name: str | None,
        given: object,
        caller: Caller,
        refused_for: Cause | None,
    ) -> RailOutcome:
        switches, policy = self.configuration.switches[direction], self.guard.policy
        identity = identity_here(self.guard.settings)
        exchange = Exchange(user="", response=None if direction.to_the_model else "")
        try:
            turns = host_turns(direction, context, events, given)
            if turns.are_plain:
                exchange, unread = read_exchange(turns, self.guard.settings)
            else:  # decoding a picture takes its time
                exchange, unread = await asyncio.to_thread(read_exchange, turns, self.guard.settings)
            problem = refused_for or unread
            policy = await self.guard.policy_for(self.configuration.reference(name), identity)
        except asyncio.CancelledError:
            await self.guard.check(
                exchange,
                direction=direction,
                policy=policy,
                identity=identity,
                caller=caller,
                problem=Cause.CANCELLED,
            )
            raise
        except Exception as error:  # noqa: BLE001 - rule 1, and it goes on record
            _log(caller, error)
            problem = Cause.NOT_RUN
        record = await self.guard.check(
            exchange,
            direction=direction,
            policy=policy,
            identity=identity,
            on_undecided=switches.on_undecided,
            rollout=switches.enforced(self.guard.settings),
            wait_for=switches.wait_for,
            caller=caller,
            problem=problem,
            part=self._part(direction, exchange, identity, is_chunk=events is None),
            verdicts=self._streamed if direction is Direction.OUTPUT else None,
        )
        # On a thread: the user's language may have to be found.
        refused = record.enforcement is Enforcement.REFUSED
        refusal = await asyncio.to_thread(told, policy, record) if refused else policy.refusal
        if self.guard.settings.quote_record:
            refusal = f"{refusal} ({record.id})"
        return outcome_of(record, policy, refusal)

    def _part(
        self, direction: Direction, exchange: Exchange, identity: Identity, *, is_chunk: bool
    ) -> StreamPart | None:
        if self._streams is None or direction is not Direction.OUTPUT:
            return None
        tie = self._streams.chunk if is_chunk else self._streams.whole
        return tie(identity.tenant, exchange.user, exchange.response or "")

    def _enforces(self, direction: Direction) -> bool:
        """Whether what cannot even be recorded is refused; without a record it falls by no id of its own."""
        rollout = self.configuration.switches[direction].enforced(self.guard.settings)
        return rollout.enforces(identity_here(self.guard.settings), "")

    def _is_own_refusal(self, bot_message: object) -> bool:
        # A stream carries the input rail's refusal past the output rail, where it would be judged once more.
        policies = (self.guard.policy, *tuple(self.guard.policies.seen.values()))
        return isinstance(bot_message, str) and any(bot_message in refusals_of(policy) for policy in policies)


def _let_out(outcome: RailOutcome, events: Events | None) -> RailOutcome | ActionResult:
    """Return *outcome* of what the model said or wants as the flow takes it; what it thought stays in with it."""
    if outcome.is_blocked:
        withhold_reasoning(events)
    return _told_to_flow(outcome, events)


def _told_to_flow(outcome: RailOutcome, events: Events | None) -> RailOutcome | ActionResult:
    """Return *outcome* as the flow takes it; in Colang 1.0 with what else the flow would have to set (flows.v1.co)."""
    if not isinstance(events, Sequence) or not events or not isinstance(events[-1], Mapping):
        return outcome
    return ActionResult(
        return_value=outcome, context_updates={"policy": None, "railscribe_verdict": outcome.metadata}
    )


def _held(context: object, name: str) -> object:
    return context.get(name) if isinstance(context, Mapping) else None


def _log(caller: Caller, error: Exception) -> None:
    logger.error("%s could not run its check: %s", caller.rail, without_content(error))
