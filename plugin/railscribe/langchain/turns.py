"""From what travels along a LangChain pipe to an exchange, and from a record back to the pipe.

Rules

1. The user's turn is every message of the user's after the last answer; where there is none (an agent is being handed
   a tool's result), the last ones before it. What tools answered after the last answer comes in beside it. System
   messages are the operator's own words. Who speaks goes by the message's class, of a ``ChatMessage`` by its role; who
   is nobody else is the user.
2. A response is all that was said behind the user's last message: text, reasoning, and structured output as JSON.
   Calls of tools are judged by themselves, wherever a message keeps them. One that only calls tools has no response.
3. Identity is the ContextVar's where it was set, else what the run says: ``tenant``, ``session``, ``request``,
   ``subject`` and ``language`` in its metadata, its thread as the session, its id as the request.
4. What cannot be read is undecided, ``modality``; reading raises nothing.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal
from uuid import UUID

from langchain_core.callbacks import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
    convert_to_messages,
)
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import RunnableConfig

from railscribe.identity import current_identity
from railscribe.parts import Turn, as_json, call_text, join_turns, read_turn
from railscribe.settings import Settings
from railscribe.values import Cause, Identity

logger = logging.getLogger(__name__)

Speaker = Literal["user", "assistant", "operator", "tool", "nobody"]
_ROLES: Mapping[str, Speaker] = {
    **dict.fromkeys(("assistant", "ai", "model"), "assistant"),
    **dict.fromkeys(("system", "developer"), "operator"),
    **dict.fromkeys(("tool", "function"), "tool"),
}
_CLASSES: tuple[tuple[type[BaseMessage], Speaker], ...] = (
    (AIMessage, "assistant"),
    (SystemMessage, "operator"),
    (ToolMessage, "tool"),
    (FunctionMessage, "tool"),
    (RemoveMessage, "nobody"),
)
_THOUGHTS = ("reasoning_content", "reasoning", "thinking", "refusal")
"""Where providers put words beside a message's content."""


def messages_of(value: object) -> list[BaseMessage] | None:
    """Return *value* - a text, a prompt value, a message or several - as messages; ``None`` if it is none of these."""
    if isinstance(value, str):
        return [HumanMessage(value)]
    if isinstance(value, BaseMessage):
        return [value]
    try:
        if isinstance(value, PromptValue):
            return value.to_messages()
        if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
            return convert_to_messages(value)
    except Exception:  # noqa: BLE001 - what LangChain says of it quotes it
        return None
    return None


def speaker_of(message: BaseMessage) -> Speaker:
    """Return who says *message* (rule 1)."""
    if isinstance(message, ChatMessage):
        return _ROLES.get(str(message.role).strip().lower(), "user")
    return next((speaker for kind, speaker in _CLASSES if isinstance(message, kind)), "user")


def unanswered(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Return the user's turn in *messages*, in their order (rule 1)."""
    turn: list[BaseMessage] = []
    for message in reversed(messages):
        speaker = speaker_of(message)
        if speaker == "user":
            turn.append(message)
        elif turn and speaker == "assistant":
            break
    return turn[::-1]


def tools_answers(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Return what tools answered after the last answer in *messages*."""
    answers: list[BaseMessage] = []
    for message in reversed(messages):
        speaker = speaker_of(message)
        if speaker == "assistant":
            break
        if speaker == "tool":
            answers.append(message)
    return answers[::-1]


def user_turn(value: object, settings: Settings) -> Turn:
    """Return the user's turn in *value* (rule 1)."""
    messages = messages_of(value)
    if messages is None:
        logger.warning("a guard cannot read a %s for a prompt; it takes messages", type(value).__name__)
        return Turn(text="", problem=Cause.MODALITY)
    return joined(unanswered(messages), settings)


def joined(messages: Sequence[BaseMessage], settings: Settings) -> Turn:
    """Return *messages*, all of them the user's, as one turn."""
    return join_turns(read_turn(message.content, settings) for message in messages)


def response_of(value: object, settings: Settings) -> tuple[Turn, str]:
    """Return what *value* says, and the calls that it wants to make, a sentence each (rule 2)."""
    if value is None or isinstance(value, str):
        return Turn(text=value or ""), ""
    messages = messages_of(value) if _holds_messages(value) else None
    if messages is None:
        return structured(value), ""
    said = _behind_the_user(messages)
    turn = join_turns(each for message in said for each in _words(message, settings))
    return turn, "\n".join(dict.fromkeys(sentence for message in said for sentence in _calls(message)))


def _holds_messages(value: object) -> bool:
    if isinstance(value, (BaseMessage, PromptValue)):
        return True
    return isinstance(value, (list, tuple)) and all(
        isinstance(each, BaseMessage) or (isinstance(each, Mapping) and {"role", "content"} <= set(each))
        for each in value
    )


def _behind_the_user(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    behind: list[BaseMessage] = []
    for message in reversed(messages):
        if speaker_of(message) == "user":
            break
        behind.append(message)
    return behind[::-1] or list(messages[-1:])


def structured(value: object) -> Turn:
    """Return structured output as what it says, in JSON."""
    dump = getattr(value, "model_dump", None) or getattr(
        value, "dict", None
    )  # pydantic's, of today and of old
    if callable(dump) and not isinstance(value, (type, Mapping)):
        value = dump()
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, (Mapping, Sequence, int, float)) and not isinstance(value, (bytes, bytearray)):
        return Turn(text=as_json(value))
    logger.warning("a guard cannot read a %s for a response", type(value).__name__)
    return Turn(text="", problem=Cause.MODALITY)


def _words(message: BaseMessage, settings: Settings) -> Iterator[Turn]:
    """Yield what *message* says, its reasoning first."""
    beside = message.additional_kwargs
    for key in _THOUGHTS:
        told = beside.get(key)
        if isinstance(told, str):
            yield Turn(text=told)
        elif told:
            yield Turn(text=as_json(told))
    audio = beside.get("audio")
    if isinstance(audio, Mapping):
        yield Turn(text=str(audio.get("transcript") or ""), problem=Cause.MODALITY)
    content = message.content
    if isinstance(content, list):
        content = [part for part in content if not _is_call(part)]
        yield from (Turn(text=as_json(part)) for part in content if _is_result(part))
        content = [part for part in content if not _is_result(part)]
    yield read_turn(content, settings)


def _calls(message: BaseMessage) -> Iterator[str]:
    """Yield the calls in *message*, those that cannot be read included, from all the places it may keep them."""
    beside = message.additional_kwargs
    parsed = [*message.tool_calls, *message.invalid_tool_calls] if isinstance(message, AIMessage) else []
    raw, one = beside.get("tool_calls"), beside.get("function_call")
    for call in (*parsed, *(raw if isinstance(raw, list) else ()), *([one] if one else ())):
        yield call_text(call)
    for part in message.content if isinstance(message.content, list) else ():
        if _is_call(part):
            yield call_text(part) if _type(part) in _CALLS else as_json(part)


_CALLS = ("tool_use", "tool_call", "tool_call_chunk", "function_call", "invalid_tool_call")


def _is_call(part: object) -> bool:
    """Whether *part* of a message's content is a call, be it of a tool that the provider runs itself."""
    kind = _type(part)
    return kind in _CALLS or kind.endswith(("_call", "_call_chunk", "_tool_use"))


def _is_result(part: object) -> bool:
    """Whether *part* is what a tool of the provider's answered."""
    return _type(part).endswith("_result")


def _type(part: object) -> str:
    return str(part.get("type")) if isinstance(part, Mapping) else ""


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
