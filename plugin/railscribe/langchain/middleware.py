"""A guard in an agent of LangChain 1.x: before and behind the model, and around its tools.

    agent = create_agent(model, tools, middleware=[GuardMiddleware()])

Rules

1. *Before the model*: what the user said and was not judged yet. Which messages were is kept in the state, by digest,
   so that an earlier one that is changed under its id is judged again. A refused turn is taken out of the state, the
   refusal is the answer, and the agent ends. An agent that nobody asked anything is refused: ``empty``.
2. *At the model*: messages that other middleware put in since are judged like the user's, and so are answers of tools
   that did not come through rule 4.
3. *Behind the model*: text and reasoning as a response, calls of tools as calls, structured output as what it says.
   It is judged inside the model's node, so what is refused never comes to stand in the state or in a checkpoint: the
   refusal stands in its place, without any calls.
4. *Around tools*: a call that was not judged behind the model (somebody has edited it), and what a tool answers, in
   messages or in a command's. The model reads a note in the place of what is refused.
5. A model's tokens are shown to nobody before they were judged: neither to ``stream_mode="messages"``, where the
   answer comes as one message, nor to ``astream_events``. The same holds for models that tools ask.
6. Messages that are allowed stay as they are, pictures included. A refusal carries ``railscribe`` in its
   ``response_metadata``: the record's id and what was decided.
7. A state that was saved before the check, the agent's very input, is the checkpointer's to keep: LangGraph writes it
   down before any node runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Annotated, Any

from langchain.agents.middleware import AgentMiddleware, AgentState, ModelRequest, ModelResponse, hook_config
from langchain.agents.middleware.types import PrivateStateAttr, ToolCallRequest
from langchain_core.callbacks.base import BaseCallbackManager
from langchain_core.messages import AIMessage, BaseMessage, RemoveMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.config import get_config
from langgraph.types import Command
from typing_extensions import NotRequired

from railscribe.guard import Guard
from railscribe.langchain.checking import UNREAD, Checker
from railscribe.langchain.known import Known, essence_of, keys_of, unjudged
from railscribe.langchain.refusing import RefusedError
from railscribe.langchain.streams import shows_tokens, unwatched
from railscribe.langchain.turns import (
    identity_of,
    messages_of,
    structured,
    tools_answers,
    unanswered,
    user_turn,
)
from railscribe.parts import Turn
from railscribe.policy import Policy
from railscribe.rollout import OnUndecided
from railscribe.settings import Settings
from railscribe.sync import run_sync
from railscribe.values import Direction, Identity

_WITHHELD = "This tool's answer was withheld by the content policy."


class GuardedState(AgentState[Any]):
    """An agent's state, with what was judged of it."""

    railscribe_judged: NotRequired[Annotated[list[str], PrivateStateAttr]]


class GuardMiddleware(AgentMiddleware[GuardedState, Any, Any]):
    """Guards an agent; give one instance to as many agents as are to share its guard.

    *guard* is a guard of yours, or settings to stand one up with; without it, those of the environment hold. *policy*,
    *on_undecided* and *rollout* default to the guard's. *tools* says whether calls and answers of tools are judged.

    Raises:
        RailscribeError: what the guard lacks (a policy, a database, an engine) and the command that mends it.
    """

    state_schema = GuardedState

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
        self._known = Known()
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
    def before_model(self, state: GuardedState, runtime: Any) -> dict[str, Any] | None:
        """Judge what came in."""
        return run_sync(self._before(state, _identity()))

    @hook_config(can_jump_to=["end"])
    async def abefore_model(self, state: GuardedState, runtime: Any) -> dict[str, Any] | None:
        """Judge what came in."""
        return await self._before(state, _identity())

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        """Judge what the model answers."""
        identity = _identity()
        try:
            user = run_sync(self._at_the_model(request, identity))
            with _held():
                response = handler(request)
            run_sync(self._behind(response, user, identity))
        except RefusedError as error:
            return ModelResponse(result=[_refusal(error)])
        return response

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        """Judge what the model answers."""
        identity = _identity()
        try:
            user = await self._at_the_model(request, identity)
            with _held():
                response = await handler(request)
            await self._behind(response, user, identity)
        except RefusedError as error:
            return ModelResponse(result=[_refusal(error)])
        return response

    def wrap_tool_call(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]],
    ) -> ToolMessage | Command[Any]:
        """Judge what a tool answers."""
        if not self._judges_tools:
            return handler(request)
        identity = _identity()
        try:
            run_sync(self._before_tool(request, identity))
            answer = handler(_silent(request))
            run_sync(self._after_tool(answer, identity))
        except RefusedError as error:
            return _note(request, error)
        return answer

    async def awrap_tool_call(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]],
    ) -> ToolMessage | Command[Any]:
        """Judge what a tool answers."""
        if not self._judges_tools:
            return await handler(request)
        identity = _identity()
        try:
            await self._before_tool(request, identity)
            answer = await handler(_silent(request))
            await self._after_tool(answer, identity)
        except RefusedError as error:
            return _note(request, error)
        return answer

    async def _before(self, state: GuardedState, identity: Identity) -> dict[str, Any] | None:
        messages = state["messages"]
        judged = state.get("railscribe_judged")
        keys = await asyncio.to_thread(keys_of, messages)
        new = unanswered(messages) if judged is None else unjudged(messages, keys, judged)
        try:
            if new or judged is None:
                await self._checker.admit_turn(new, identity)
        except RefusedError as error:
            taken_out = [RemoveMessage(id=message.id) for message in new if message.id is not None]
            return {"messages": [*taken_out, _refusal(error)], "jump_to": "end"}
        update: dict[str, Any] = {"railscribe_judged": keys} if judged != keys else {}
        if notes := await self._notes(messages, identity):
            update["messages"] = notes
        return update or None

    async def _notes(self, messages: Sequence[BaseMessage], identity: Identity) -> list[BaseMessage]:
        """Return notes in the place of tools' answers that nobody has judged and that are refused."""
        notes: list[BaseMessage] = []
        for answer in self._unknown_answers(messages, identity):
            try:
                await self._checker.admit_tool_answer(answer, identity)
            except RefusedError as error:
                call = getattr(answer, "tool_call_id", "")
                notes.append(
                    ToolMessage(_WITHHELD, id=answer.id, tool_call_id=call, response_metadata=error.told)
                )
            else:
                self._known.add(identity, answer.content)
        return notes

    def _unknown_answers(self, messages: Sequence[BaseMessage], identity: Identity) -> list[BaseMessage]:
        answers = tools_answers(messages) if self._judges_tools else []
        return [
            each
            for each in answers
            if each.content != _WITHHELD and not self._known.has(identity, each.content)
        ]

    async def _at_the_model(self, request: ModelRequest[Any], identity: Identity) -> Turn:
        """Return the user's turn, when nothing else that is new to us stands in *request* (rule 2)."""
        judged: list[str] | None = request.state.get("railscribe_judged")  # type: ignore[assignment]
        if judged is not None:
            keys = await asyncio.to_thread(keys_of, request.messages)
            if new := unjudged(request.messages, keys, judged):
                await self._checker.admit_turn(new, identity)
        for answer in self._unknown_answers(request.messages, identity):
            await self._checker.admit_tool_answer(answer, identity)
        return await self._checker.read(user_turn, request.messages, UNREAD)

    async def _behind(self, response: ModelResponse[Any], user: Turn, identity: Identity) -> None:
        tools = self._judges_tools
        await self._checker.admit_response(response.result, identity, user=user, tools=tools)
        calls = [call for each in response.result for call in getattr(each, "tool_calls", ())]
        if response.structured_response is not None and calls and not tools:
            await self._checker.admit_response(
                structured(response.structured_response), identity, user=user, required=False
            )
        for call in calls:
            self._known.add(identity, essence_of(call))

    async def _before_tool(self, request: ToolCallRequest, identity: Identity) -> None:
        call = request.tool_call
        if not self._known.has(identity, essence_of(call)):
            messages = request.state.get("messages") if isinstance(request.state, dict) else None
            user = await self._checker.read(user_turn, messages or [], UNREAD)
            await self._checker.admit_response(AIMessage("", tool_calls=[call]), identity, user=user)
            self._known.add(identity, essence_of(call))

    async def _after_tool(self, answer: object, identity: Identity) -> None:
        for message in _messages_in(answer):
            await self._checker.admit_tool_answer(message, identity)
            self._known.add(identity, getattr(message, "content", None))


@contextmanager
def _held() -> Iterator[None]:
    """Have models inside show their tokens to nobody (rule 5)."""
    config = get_config()
    callbacks = config.get("callbacks")
    if not isinstance(callbacks, BaseCallbackManager):
        yield
        return
    token = var_child_runnable_config.set({**config, "callbacks": unwatched(callbacks.copy())})
    try:
        yield
    finally:
        var_child_runnable_config.reset(token)


def _silent(request: ToolCallRequest) -> ToolCallRequest:
    """Return *request*, to a tool whose models show their tokens to nobody (rule 5)."""
    callbacks = request.runtime.config.get("callbacks")
    if isinstance(callbacks, BaseCallbackManager):
        callbacks.inheritable_handlers = [
            each for each in callbacks.inheritable_handlers if not shows_tokens(each)
        ]
    return request


def _messages_in(answer: object) -> list[object]:
    """Return the messages in what a tool answered: one, a command's, or a list of both."""
    if isinstance(answer, (list, tuple)):
        return [message for each in answer for message in _messages_in(each)]
    if not isinstance(answer, Command):
        return [answer]
    found: list[Any] = []
    for given in _messages_channel(answer.update):
        for each in given if isinstance(given, (list, tuple)) else [given]:
            read = [each] if isinstance(each, BaseMessage) else messages_of([each])
            found += read or [each]  # what cannot be read is undecided
    return [each for each in found if not isinstance(each, RemoveMessage)]


def _messages_channel(update: object) -> list[Any]:
    """Return what a command's *update* writes to the messages, in any of the forms that LangGraph takes."""
    if update is None:
        return []
    if isinstance(update, Mapping):
        return [update["messages"]] if "messages" in update else []
    if isinstance(update, (list, tuple)) and all(
        isinstance(each, tuple) and len(each) == 2 for each in update
    ):
        return [value for name, value in update if name == "messages"]
    return [getattr(update, "messages", update)]


def _note(request: ToolCallRequest, error: RefusedError) -> ToolMessage:
    call = request.tool_call
    return ToolMessage(
        content=_WITHHELD,
        name=call["name"],
        tool_call_id=str(call["id"]),
        status="error",
        response_metadata=error.told,
    )


def _refusal(error: RefusedError) -> AIMessage:
    return AIMessage(content=error.refusal, response_metadata=error.told)


def _identity() -> Identity:
    """Return on whose behalf the graph runs."""
    config: RunnableConfig = get_config()
    run = config.get("run_id") or (config.get("metadata") or {}).get("run_id")
    return identity_of(config, run)
