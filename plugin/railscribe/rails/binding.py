"""One app's rails: the actions that NeMo Guardrails calls, bound to the app's guard.

Rules

1. An action never raises into the host, cancelling apart: NeMo would log the whole conversation. Whatever
   fails refuses, with the cause ``not_run`` (``not_recorded`` where the store failed), and is logged without content.
2. What was refused or let through has a record; where the record itself could not be made durable, the rail
   refuses whatever the settings say.
3. The actions are bound to their app when it is built, because the streaming path injects no parameters.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from nemoguardrails import LLMRails
from nemoguardrails.actions import action
from nemoguardrails.actions.rail_outcome import RailOutcome

from railscribe.errors import NotRecordedError, RailscribeError
from railscribe.guard import Caller, Guard
from railscribe.language import told
from railscribe.policy import Policy, refusals_of
from railscribe.rails.configuration import Configuration
from railscribe.rails.turns import Events, host_turns, read_exchange
from railscribe.standing import StandingGuard
from railscribe.values import Cause, Direction, Enforcement, Exchange, Outcome, Record

logger = logging.getLogger(__name__)

_HOST = f"nemoguardrails {version('nemoguardrails')}"


def init(app: LLMRails) -> None:
    """Give *app* its rails, with a guard as its ``custom_data: {railscribe: ...}`` and the environment say.

    Raises:
        RailscribeError: what is missing or misspelt; NeMo shows it as the cause of a ``RuntimeError``.
    """
    configuration = Configuration.of(app.config)
    if gap := configuration.gap:
        logger.warning(gap)
    guard = StandingGuard.stand(configuration.settings)
    configuration.refuse_misfits(guard)
    attach(app, guard, configuration)


def attach(app: LLMRails, guard: Guard, configuration: Configuration | None = None) -> None:
    """Give *app* rails that check with *guard*: in a test, say, one with a scripted engine."""
    rails = Rails(guard, configuration or Configuration.of(app.config))
    app.register_action(rails.check_input)
    app.register_action(rails.check_output)


class Rails:
    """The input and the output rail of one app."""

    def __init__(self, guard: Guard, configuration: Configuration) -> None:
        self.guard = guard
        self.configuration = configuration

    @action(name="railscribe_check_input", is_system_action=True)  # type: ignore[untyped-decorator]
    async def check_input(
        self,
        context: Mapping[str, Any] | None = None,
        events: Events | None = None,
        policy: str | None = None,
        **_: object,
    ) -> RailOutcome:
        """Judge the user's turn."""
        return await self._answer(Direction.INPUT, context or {}, events, policy)

    @action(name="railscribe_check_output", is_system_action=True)  # type: ignore[untyped-decorator]
    async def check_output(
        self,
        context: Mapping[str, Any] | None = None,
        events: Events | None = None,
        policy: str | None = None,
        **_: object,
    ) -> RailOutcome:
        """Judge the bot's message."""
        return await self._answer(Direction.OUTPUT, context or {}, events, policy)

    async def _answer(
        self, direction: Direction, context: Mapping[str, Any], events: Events | None, policy: str | None
    ) -> RailOutcome:
        caller = Caller(rail=_flow(direction) + (" (chunk)" if events is None else ""), host=_HOST)
        if (
            direction is Direction.OUTPUT
            and events is None
            and self._is_own_refusal(context.get("bot_message"))
        ):
            return RailOutcome.allow(reason="the rail's own refusal")
        try:
            return await self._check(direction, context, events, policy, caller)
        except Exception as error:  # noqa: BLE001 - rule 1
            _log(caller, error)
            cause = Cause.NOT_RECORDED if isinstance(error, NotRecordedError) else Cause.NOT_RUN
            return _refusal_without_record(self.guard.policy, cause)

    async def _check(
        self,
        direction: Direction,
        context: Mapping[str, Any],
        events: Events | None,
        name: str | None,
        caller: Caller,
    ) -> RailOutcome:
        policy, on_undecided = self.guard.policy, self.configuration.on_undecided[direction]
        exchange = Exchange(user="", response=None if direction is Direction.INPUT else "")
        try:
            turns = host_turns(direction, context, events)
            # Decoding a picture takes its time.
            exchange, problem = await asyncio.to_thread(read_exchange, turns, self.guard.settings)
            policy = await self.guard.policy_for(self.configuration.reference(name))
        except asyncio.CancelledError:
            await self.guard.check(
                exchange, direction=direction, policy=policy, caller=caller, problem=Cause.CANCELLED
            )
            raise
        except Exception as error:  # noqa: BLE001 - rule 1, and it goes on record
            _log(caller, error)
            problem, on_undecided = Cause.NOT_RUN, "block"
        record = await self.guard.check(
            exchange,
            direction=direction,
            policy=policy,
            on_undecided=on_undecided,
            caller=caller,
            problem=problem,
        )
        # On a thread: the user's language may have to be found.
        refused = record.enforcement is Enforcement.REFUSED
        refusal = await asyncio.to_thread(told, policy, record) if refused else policy.refusal
        return _outcome(record, policy, refusal)

    def _is_own_refusal(self, bot_message: object) -> bool:
        # A stream carries the input rail's refusal past the output rail, where it would be judged once more.
        policies = (self.guard.policy, *tuple(self.guard.policies.seen.values()))
        return isinstance(bot_message, str) and any(bot_message in refusals_of(policy) for policy in policies)


def _flow(direction: Direction) -> str:
    return f"railscribe check {direction.value}"


def _outcome(record: Record, policy: Policy, refusal: str) -> RailOutcome:
    decision = record.decision
    refused = record.enforcement is Enforcement.REFUSED
    why = ", ".join(decision.categories) or (decision.cause.value if decision.cause else "")
    reason = f"{decision.outcome.value}: {why}" if why else decision.outcome.value
    metadata = {
        "record_id": record.id,
        "outcome": decision.outcome.value,
        "enforcement": record.enforcement.value,
        "cause": decision.cause.value if decision.cause else None,
        "categories": list(decision.categories),
        "rule": decision.rule,
        "policy": policy.name,
        "policy_digest": policy.digest,
        "refusal": refusal,
        "message": f"The {record.direction.value} was refused under the policy {policy.name} ({reason}).",
    }
    return (RailOutcome.block if refused else RailOutcome.allow)(reason=reason, metadata=metadata)


def _refusal_without_record(policy: Policy, cause: Cause) -> RailOutcome:
    metadata: dict[str, object] = {
        "record_id": None,
        "outcome": Outcome.UNDECIDED.value,
        "enforcement": Enforcement.REFUSED.value,
        "cause": cause.value,
        "categories": [],
        "rule": "",
        "policy": policy.name,
        "policy_digest": policy.digest,
        "refusal": policy.refusal,
        "message": "Refused, for the check could not be run and recorded.",
    }
    return RailOutcome.block(reason=f"undecided: {cause.value}", metadata=metadata)


def _log(caller: Caller, error: Exception) -> None:
    # Our own messages carry no content; of a foreign one only the type is repeated.
    what = str(error) if isinstance(error, RailscribeError) else f"a bug ({type(error).__name__})."
    logger.error("%s refuses, for the check could not be run: %s", caller.rail, what)
