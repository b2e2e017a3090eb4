"""A model's stream, let through as it is judged.

Rules

1. Text comes in windows, in the shape of the stream's items. What is no text - reasoning, pictures, calls of tools,
   counts of tokens - is held back to the end, and judged there as in a response that came whole.
2. Items that are neither text nor messages, such as structured output as it grows, are put together as LangChain does,
   and come as one at the end.
3. A stream that said nothing at all is an empty response.
4. Handlers that show a model's tokens as they come - those of ``astream_events``, ``astream_log`` and LangGraph's
   ``stream_mode="messages"`` - are not told of them: :func:`unwatched`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, TypeVar

from langchain_core.callbacks.base import BaseCallbackManager
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.tracers._streaming import _StreamingCallbackHandler

from railscribe.langchain.checking import Checker
from railscribe.langchain.refusing import RefusedError
from railscribe.parts import Turn
from railscribe.values import Identity

M = TypeVar("M", bound=BaseCallbackManager)


def shows_tokens(handler: object) -> bool:
    """Whether *handler* shows a model's tokens as they come."""
    return isinstance(handler, _StreamingCallbackHandler)


def unwatched(manager: M) -> M:
    """Return *manager*, a child's, without those that show tokens before they were judged (rule 4)."""
    for handler in (*manager.handlers, *manager.inheritable_handlers):
        if shows_tokens(handler):
            manager.remove_handler(handler)
    return manager


async def guarded_answer(
    checker: Checker, items: AsyncIterator[Any], user: Turn, identity: Identity
) -> AsyncIterator[Any]:
    """Yield what is allowed of *items*, the answer to *user*.

    Raises:
        RefusedError: at the window that is not.
    """
    held = _Held()
    stream = checker.stream(user, identity)
    async for text in stream.over(items, text_of=held.text_of):
        yield text if held.of_texts else AIMessageChunk(content=text)
    if stream.cut is not None:
        policy = checker.judged_by(stream.cut)
        raise RefusedError.by(stream.cut, policy, stream.refusal)
    rest = held.rest()
    if rest is not None or not stream.records:
        await checker.admit_response(rest, identity, user=user, required=not stream.records)
    if isinstance(rest, AIMessageChunk):
        rest = rest.model_copy(update={"chunk_position": "last"})
    if rest is not None:
        yield rest


class _Held:
    """What is no text of a stream, put together."""

    def __init__(self) -> None:
        self.of_texts = False
        self._rest: Any = None
        self._unread: Any = None

    def text_of(self, item: Any) -> str:
        """Return the text of *item*, and keep the rest of it."""
        if isinstance(item, str):
            self.of_texts = True
            return item
        try:
            text, rest = _parted(item) if isinstance(item, BaseMessage) else ("", item)
            self._rest = rest if self._rest is None else _together(self._rest, rest)
        except Exception:  # noqa: BLE001 - what pydantic says of it quotes it; it is undecided at the end
            self._unread = item
            return ""
        return text

    def rest(self) -> Any:
        """Return what was kept, or what could not be read; ``None`` where there is nothing."""
        return self._rest if self._unread is None else self._unread


def _together(left: Any, right: Any) -> Any:
    try:
        return left + right
    except TypeError:
        if isinstance(right, BaseMessage):
            raise
        return right


def _parted(item: BaseMessage) -> tuple[str, AIMessageChunk]:
    """Return the text of *item*, and the rest of it."""
    content = item.content
    parts = content if isinstance(content, list) else [content]
    texts = [part for part in parts if _is_text(part)]
    left: Any = [part for part in parts if not _is_text(part)] or ""
    text = "".join(part if isinstance(part, str) else part["text"] for part in texts)
    if isinstance(item, AIMessageChunk):
        return text, item.model_copy(update={"content": left})
    # A model that does not stream gives its whole message as the only item.
    fields = item.model_dump(exclude={"type", "content"})
    return text, AIMessageChunk(**{**fields, "content": left})


def _is_text(part: Any) -> bool:
    if isinstance(part, str):
        return True
    return isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
