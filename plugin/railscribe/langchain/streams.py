"""A model's stream, let through as it is judged.

Text comes in windows, in the shape of the stream's items. What is no text - calls of tools, counts of tokens - is held
back to the end; calls are judged there like a response, for what a call says may be as harmful.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from langchain_core.messages import AIMessageChunk, BaseMessage

from railscribe.langchain.checking import Checker
from railscribe.langchain.turns import RefusedError, calls_turn
from railscribe.parts import Turn
from railscribe.streaming import text_in
from railscribe.values import Direction, Identity


async def guarded_answer(
    checker: Checker, items: AsyncIterator[Any], user: Turn, identity: Identity
) -> AsyncIterator[Any]:
    """Yield what is allowed of *items*, the answer to *user*.

    Raises:
        RefusedError: at the window that is not.
    """
    rest: list[AIMessageChunk] = []
    shape: list[type] = []

    def text_of(item: Any) -> str:
        shape.append(type(item))
        if isinstance(item, BaseMessage):
            rest.append(_without_text(item))
        return text_in(item)

    stream = checker.stream(user, identity)
    async for text in stream.over(items, text_of=text_of):
        yield text if shape and issubclass(shape[0], str) else AIMessageChunk(content=text)
    if stream.cut is not None:
        policy = await checker.guard.policy_for(checker.named, identity)
        raise RefusedError(stream.cut, policy, stream.refusal)
    if not rest:
        return
    left = rest[0]
    for each in rest[1:]:
        left = left + each
    if left.tool_calls or left.invalid_tool_calls:
        await checker.admit(Direction.TOOL_OUTPUT, calls_turn(left), identity, user=user)
    yield left


def _without_text(item: BaseMessage) -> AIMessageChunk:
    if isinstance(item, AIMessageChunk):
        return item.model_copy(update={"content": ""})
    # A model that does not stream gives its whole message as the only item.
    fields = item.model_dump(exclude={"type", "content"})
    return AIMessageChunk(**{**fields, "content": ""})
