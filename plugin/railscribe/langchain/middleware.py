"""A guard in an agent of LangChain 1.x: before and behind the model, and around its tools.

    agent = create_agent(model, tools, middleware=[GuardMiddleware()])

Rules

1. *Before the model*: the user's unanswered turn. A refused one is taken out of the state, the refusal is the answer,
   and the agent ends.
2. *Behind the model*: text as a response, calls of tools as calls. It is judged inside the model's node, so what is
   refused never comes to stand in the state or in a checkpoint: the refusal stands in its place, without any calls.
3. *Around tools*: what a tool answers. The model reads a note in the place of what is refused.
4. The model's tokens are held back from ``stream_mode="messages"`` until they were judged, and come as one message.
5. Messages that are allowed stay as they are, pictures included. A refusal carries ``railscribe`` in its
   ``response_metadata``: the record's id and what was decided.
6. A state that was saved before the check, the agent's very input, is the checkpointer's to keep: LangGraph writes it
   down before any node runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import version
from typing import Any

from langchain.agents.middleware import AgentMiddleware, AgentState, ModelRequest, ModelResponse, hook_config
from langchain.agents.middleware.types import ToolCallRequest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, RemoveMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.config import get_config
from langgraph.constants import TAG_NOSTREAM
from langgraph.types import Command

from railscribe.guard import Guard
from railscribe.langchain.checking import Checker
from railscribe.langchain.turns import RefusedError, calls_turn, identity_of, unanswered, user_turn
from railscribe.parts import Turn, read_turn
from railscribe.policy import Policy
from railscribe.rollout import OnUndecided
from railscribe.settings import Settings
from railscribe.sync import run_sync
from railscribe.values import Direction, Identity

_WITHHELD = "This tool's answer was withheld by the content policy."


class GuardMiddleware(AgentMiddleware[AgentState[Any], Any, Any]):
    """Guards an agent; give one instance to as many agents as are to share its guard.

    *guard* is a guard of yours, or settings to stand one up with; without it, those of the environment hold. *policy*,
    *on_undecided* and *rollout* default to the guard's. *tools* says whether calls and answers of tools are judged.

    Raises:
        RailscribeError: what the guard lacks (a policy, a database, an engine) and the command that mends it.
    """

    def __init__(
        self,
        guard: Guard | Settings | None = None,
        *,
        policy: Policy | str | None = None,
        on_undecided: OnUndecided | None = None,
        rollout: str | None = None,
        tools: bool = True,
    ) -> None:
        super().__init__()
        self._checker = Checker(
            guard,
            policy=policy,
            on_undecided=on_undecided,
            rollout=rollout,
            host=f"langchain {version('langchain')}",
        )
        self._judges_tools = tools
        directions = (Direction.INPUT, Direction.OUTPUT)
        for direction in (*directions, *((Direction.TOOL_OUTPUT, Direction.TOOL_INPUT) if tools else ())):
            self._checker.refuse_misfit(direction)

    @property
    def guard(self) -> Guard:
        """The guard that checks."""
        return self._checker.guard

    @hook_config(can_jump_to=["end"])
    def before_model(self, state: AgentState[Any], runtime: Any) -> dict[str, Any] | None:
        """Judge the user's turn."""
        return run_sync(self._before(state["messages"], _identity()))

    @hook_config(can_jump_to=["end"])
    async def abefore_model(self, state: AgentState[Any], runtime: Any) -> dict[str, Any] | None:
        """Judge the user's turn."""
        return await self._before(state["messages"], _identity())

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        """Judge what the model answers."""
        identity = _identity()
        return run_sync(self._behind(request, handler(_held(request)), identity))

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        """Judge what the model answers."""
        identity = _identity()
        return await self._behind(request, await handler(_held(request)), identity)

    def wrap_tool_call(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]],
    ) -> ToolMessage | Command[Any]:
        """Judge what a tool answers."""
        answer = handler(request)
        return run_sync(self._after_tool(request, answer, _identity())) if self._judges_tools else answer

    async def awrap_tool_call(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]],
    ) -> ToolMessage | Command[Any]:
        """Judge what a tool answers."""
        answer = await handler(request)
        return await self._after_tool(request, answer, _identity()) if self._judges_tools else answer

    async def _before(self, messages: Sequence[BaseMessage], identity: Identity) -> dict[str, Any] | None:
        new = _new_turn(messages)
        if not new:
            return None
        try:
            # On a thread, because pictures are decoded.
            turn = await asyncio.to_thread(user_turn, new, self.guard.settings)
            await self._checker.admit(Direction.INPUT, turn, identity)
        except RefusedError as error:
            taken_out = [RemoveMessage(id=message.id) for message in new if message.id is not None]
            return {"messages": [*taken_out, _refusal(error)], "jump_to": "end"}
        return None

    async def _behind(
        self, request: ModelRequest[Any], response: ModelResponse[Any], identity: Identity
    ) -> ModelResponse[Any]:
        user = await asyncio.to_thread(user_turn, request.messages, self.guard.settings)
        try:
            for message in response.result:
                await self._judge_answer(message, user, identity)
        except RefusedError as error:
            return ModelResponse(result=[_refusal(error)])
        return response

    async def _judge_answer(self, message: BaseMessage, user: Turn, identity: Identity) -> None:
        turn = await asyncio.to_thread(read_turn, message.content, self.guard.settings)
        calls = isinstance(message, AIMessage) and bool(message.tool_calls or message.invalid_tool_calls)
        if turn.text.strip() or turn.images or turn.problem or not calls:
            await self._checker.admit(Direction.OUTPUT, turn, identity, user=user)
        if calls and self._judges_tools and isinstance(message, AIMessage):
            await self._checker.admit(Direction.TOOL_OUTPUT, calls_turn(message), identity, user=user)

    async def _after_tool(
        self, request: ToolCallRequest, answer: ToolMessage | Command[Any], identity: Identity
    ) -> ToolMessage | Command[Any]:
        try:
            for message in _messages_in(answer):
                turn = await asyncio.to_thread(read_turn, message.content, self.guard.settings)
                if turn.text.strip() or turn.images or turn.problem:  # a tool may well answer nothing
                    await self._checker.admit(Direction.TOOL_INPUT, turn, identity)
        except RefusedError as error:
            call = request.tool_call
            return ToolMessage(
                content=_WITHHELD,
                name=call["name"],
                tool_call_id=str(call["id"]),
                status="error",
                response_metadata=_told(error),
            )
        return answer


def _new_turn(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Return the user's messages that no answer follows; none where the model is to read a tool's answer."""
    new = unanswered(messages)
    behind = next((each for each in reversed(messages) if isinstance(each, (AIMessage, HumanMessage))), None)
    return new if isinstance(behind, HumanMessage) else []


def _held(request: ModelRequest[Any]) -> ModelRequest[Any]:
    """Return *request* to a model whose tokens LangGraph shows nobody (rule 4)."""
    tags = [*(request.model.tags or []), TAG_NOSTREAM]
    return request.override(model=request.model.model_copy(update={"tags": tags}))


def _messages_in(answer: ToolMessage | Command[Any]) -> list[BaseMessage]:
    if isinstance(answer, BaseMessage):
        return [answer]
    update = answer.update if isinstance(answer.update, dict) else {}
    return [each for each in update.get("messages") or () if isinstance(each, BaseMessage)]


def _refusal(error: RefusedError) -> AIMessage:
    return AIMessage(content=error.refusal, response_metadata=_told(error))


def _told(error: RefusedError) -> dict[str, Any]:
    return {"railscribe": {"record_id": error.record_id, "outcome": error.decision.outcome.value}}


def _identity() -> Identity:
    """Return on whose behalf the graph runs."""
    config: RunnableConfig = get_config()
    run = config.get("run_id") or (config.get("metadata") or {}).get("run_id")
    return identity_of(config, run)
