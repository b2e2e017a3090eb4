"""The doors of LangChain: runnables, streams and agents; the rules are those of ``door_apps.py``."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from door_apps import SAFETY_CONFIG as HOSTS
from door_apps import Bench, Door, Try, is_bad
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import tool
from nemoguardrails import RailsConfig
from nemoguardrails.integrations.langchain.middleware import GuardrailsMiddleware
from nemoguardrails.integrations.langchain.runnable_rails import RunnableRails

from railscribe.langchain import GuardMiddleware, GuardRunnable, RefusedError
from railscribe.values import Direction


class Model(BaseChatModel):
    """Says its messages in turn, and keeps what it was asked."""

    says: list[AIMessage]
    asked: list[Any] = []  # noqa: RUF012 - pydantic's

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **_: Any) -> Any:
        return self

    def _next(self, messages: Any) -> AIMessage:
        self.asked.append(messages)
        return self.says[min(len(self.asked), len(self.says)) - 1].model_copy()

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **_: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._next(messages))])

    def _stream(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **_: Any
    ) -> Iterator[ChatGenerationChunk]:
        for number, word in enumerate(str(self._next(messages).content).split(" ")):
            text = (" " if number else "") + word
            yield ChatGenerationChunk(message=AIMessageChunk(content=text))


@cache
def hosts_runnable() -> RunnableRails:
    """Return NeMo's own content safety for a pipe, built once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NeMo trips over deprecated fields of its own
        return RunnableRails(RailsConfig.from_content(config=HOSTS))


@cache
def hosts_middleware() -> GuardrailsMiddleware:
    """Return NeMo's own content safety for an agent, built once."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (Path(folder) / "config.yml").write_text(yaml.safe_dump(HOSTS), encoding="utf-8")
        return GuardrailsMiddleware(config_path=folder)


def guarded(bench: Bench, kind: str, model: Model) -> Runnable[Any, Any]:
    """Return *model* behind the rails of *kind*."""
    if kind == "none":
        return model
    if kind == "host":
        behind: Runnable[Any, Any] = hosts_runnable() | model
        return behind
    wrapped: Runnable[Any, Any] = GuardRunnable(bench.guard).wrap(model)
    return wrapped


async def seen_of(calls: AsyncIterator[Any]) -> list[Any]:
    """Return all that came, until it ended or was refused."""
    seen = []
    try:
        async for each in calls:
            seen.append(each)
    except RefusedError:
        pass
    return seen


async def _once(runnable: Runnable[Any, Any], given: Any) -> AsyncIterator[Any]:
    yield await runnable.ainvoke(given)


async def is_asked(bench: Bench, kind: str, word: str) -> bool:
    """Try a prompt in a pipe: is the model asked?"""
    model = Model(says=[AIMessage("fine")], asked=[])
    await seen_of(_once(guarded(bench, kind, model), [HumanMessage(word)]))
    return is_bad(model.asked)


async def is_said(bench: Bench, kind: str, word: str) -> bool:
    """Try an answer in a pipe."""
    model = Model(says=[AIMessage(f"a {word} answer")], asked=[])
    return is_bad(await seen_of(_once(guarded(bench, kind, model), [HumanMessage("hello")])))


async def is_streamed(bench: Bench, kind: str, word: str) -> bool:
    """Try a streamed answer in a pipe."""
    model = Model(says=[AIMessage(f"One two three. Four five {word} six. Seven.")], asked=[])
    return is_bad(await seen_of(guarded(bench, kind, model).astream([HumanMessage("hello")])))


def agent(bench: Bench, kind: str, model: Model, answer: str = "sunny") -> Any:
    """Return an agent with a tool that answers *answer*."""

    @tool
    def weather(city: str) -> str:
        """Tell the weather in a city."""
        called.append(city)
        return answer

    called: list[str] = []
    middleware: list[Any] = []
    if kind == "host":
        middleware = [hosts_middleware()]
    if kind == "ours":
        middleware = [GuardMiddleware(bench.guard)]
    return create_agent(model, [weather], middleware=middleware), called


def _call(city: str) -> AIMessage:
    return AIMessage(content="", tool_calls=[{"name": "weather", "args": {"city": city}, "id": "c1"}])


def runs(
    prompt: Callable[[str], str],
    says: Callable[[str], list[AIMessage]],
    seen: Callable[[Any, Model, list[str]], Any],
    answer: Callable[[str], str] = lambda _: "sunny",
) -> Try:
    """Try an agent: *seen* is what the party behind the door has seen, of its state, its model and its tool."""

    async def try_it(bench: Bench, kind: str, word: str) -> bool:
        model = Model(says=says(word), asked=[])
        built, called = agent(bench, kind, model, answer(word))
        state = await built.ainvoke({"messages": [HumanMessage(prompt(word))]})
        return is_bad(seen(state, model, called))

    return try_it


def _hello(_: str) -> str:
    return "weather?"


LANGCHAIN = (
    Door(name="LangChain: a prompt", try_it=is_asked, direction=Direction.INPUT),
    Door(name="LangChain: an answer", try_it=is_said, direction=Direction.OUTPUT),
    Door(name="LangChain: a streamed answer", try_it=is_streamed, direction=Direction.OUTPUT),
    Door(
        name="agent: a prompt",
        try_it=runs(str, lambda _: [AIMessage("fine")], lambda _, model, __: model.asked),
        direction=Direction.INPUT,
    ),
    Door(
        name="agent: an answer, in the state",
        try_it=runs(_hello, lambda word: [AIMessage(word)], lambda state, *_: state["messages"]),
        direction=Direction.OUTPUT,
    ),
    Door(
        name="agent: a call of a tool",
        try_it=runs(_hello, lambda word: [_call(word), AIMessage("fine")], lambda *seen: seen[2]),
        direction=Direction.TOOL_OUTPUT,
    ),
    Door(
        name="agent: what a tool answered",
        try_it=runs(
            _hello,
            lambda _: [_call("Paris"), AIMessage("fine")],
            lambda _, model, __: model.asked[1:],
            lambda word: f"a {word} page",
        ),
        direction=Direction.TOOL_INPUT,
    ),
)
"""The doors of LangChain."""
