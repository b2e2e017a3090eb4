"""From what travels along a LangChain pipe to an exchange, and from a record back to the pipe.

Rules

1. The user's turn is every human message after the last answer; where there is none (an agent is being handed
   a tool's result), the last human messages before it. System messages are the operator's own words.
2. A response is the text of the last message. One that only calls tools has none and is undecided: ``empty``.
3. Identity is the ContextVar's where it was set, else what the run says: ``tenant``, ``session``, ``request``,
   ``subject`` and ``language`` in its metadata, its thread as the session, its id as the request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from langchain_core.callbacks import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, convert_to_messages
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import RunnableConfig

from railscribe.errors import RailscribeError, UsageError
from railscribe.identity import current_identity
from railscribe.parts import Turn, calls_text, join_turns, read_turn
from railscribe.policy import Policy
from railscribe.settings import Settings
from railscribe.values import Identity, Record


class RefusedError(RailscribeError):
    """The guard refused what travelled along the pipe."""

    def __init__(self, record: Record, policy: Policy, refusal: str | None = None) -> None:
        why = ", ".join(record.decision.categories) or getattr(record.decision.cause, "value", "")
        super().__init__(
            f"The {record.direction.value} was refused under the policy {policy.name}"
            f" ({record.decision.outcome.value}: {why}; record {record.id})."
        )
        self.record_id = record.id
        self.decision = record.decision
        self.refusal = policy.refusal if refusal is None else refusal
        """What the policy would have the user told, in the user's language where it has that."""


def messages_of(value: object) -> list[BaseMessage]:
    """Return *value* - a text, a prompt value, a message or several - as messages.

    Raises:
        UsageError: it is none of these.
    """
    if isinstance(value, str):
        return [HumanMessage(value)]
    if isinstance(value, PromptValue):
        return value.to_messages()
    if isinstance(value, BaseMessage):
        return [value]
    if isinstance(value, Sequence):
        return convert_to_messages(value)
    raise UsageError(
        f"A guard cannot read a {type(value).__name__}.",
        hint="Pass a text, a prompt value, a message or messages.",
    )


def unanswered(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Return the user's turn in *messages*, in their order (rule 1)."""
    turn: list[BaseMessage] = []
    for message in reversed(messages):
        if isinstance(message, HumanMessage):
            turn.append(message)
        elif turn and isinstance(message, AIMessage):
            break
    return turn[::-1]


def user_turn(value: object, settings: Settings) -> Turn:
    """Return the user's turn in *value* (rule 1)."""
    return join_turns(read_turn(message.content, settings) for message in unanswered(messages_of(value)))


def response_turn(value: object, settings: Settings) -> Turn:
    """Return the response in *value* (rule 2)."""
    messages = messages_of(value)
    return read_turn(messages[-1].content if messages else "", settings)


def calls_turn(message: AIMessage) -> Turn:
    """Return the calls that *message* wants to make, those that cannot be read included, as a turn."""
    calls: list[Mapping[str, Any]] = [*message.tool_calls, *message.invalid_tool_calls]
    return Turn(text=str(calls_text(calls)))


def identity_of(config: RunnableConfig, run: UUID | str | None) -> Identity:
    """Return on whose behalf the run *run* goes (rule 3)."""
    current = current_identity()
    if current != Identity(language=current.language):
        return current
    metadata: Mapping[str, Any] = config.get("metadata") or {}
    named = {
        key: str(metadata[key])
        for key in ("tenant", "session", "request", "subject", "language", "policy")
        if metadata.get(key)
    }
    if current.language:
        named["language"] = current.language
    thread = metadata.get("thread_id") or (config.get("configurable") or {}).get("thread_id")
    if thread:
        named.setdefault("session", str(thread))
    if run is not None:
        named.setdefault("request", str(run))
    return Identity(**named)


def run_of(manager: AsyncCallbackManagerForChainRun | CallbackManagerForChainRun) -> UUID:
    """Return the id of the whole chain's run, the same for every guard in it."""
    return manager.parent_run_id or manager.run_id


def replacement(value: object, text: str) -> object:
    """Return *text* in the shape of *value*, the response that it stands in for."""
    return text if isinstance(value, str) else AIMessage(text)
