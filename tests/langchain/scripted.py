"""Agents of LangChain 1.x for the tests: a scripted model, two tools, and the guard around them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from langchain.agents import create_agent
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.tools import tool
from langgraph.types import Command

from railscribe.langchain import GuardMiddleware
from railscribe.standing import StandingGuard

REFUSAL = "I'm sorry, I can't help with that."


class Model(BaseChatModel):
    """Says its messages in turn, streams them word by word, and keeps what it was asked."""

    says: list[AIMessage]
    asked: list[list[BaseMessage]]

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **_: Any) -> Any:
        return self

    def _next(self, messages: list[BaseMessage]) -> AIMessage:
        self.asked.append(messages)
        return self.says[min(len(self.asked), len(self.says)) - 1]

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **_: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._next(messages))])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **_: Any,
    ) -> Iterator[ChatGenerationChunk]:
        message = self._next(messages)
        for number, word in enumerate(str(message.content).split(" ")):
            text = (" " if number else "") + word
            chunk = ChatGenerationChunk(message=AIMessageChunk(content=text))
            if run_manager:
                run_manager.on_llm_new_token(text, chunk=chunk)
            yield chunk


@tool
def weather(city: str) -> str:
    """Tell the weather in a city."""
    return {"Paris": "sunny", "Nowhere": ""}.get(city, f"forbidden news from {city}")


@tool
def memo(text: str) -> Any:
    """Keep a text."""
    return Command(update={"messages": [ToolMessage(f"kept: {text}", tool_call_id="c1", name="memo")]})


def call(city: str) -> AIMessage:
    return AIMessage(content="", tool_calls=[{"name": "weather", "args": {"city": city}, "id": "c1"}])


def says(*messages: str | AIMessage) -> Model:
    return Model(says=[AIMessage(each) if isinstance(each, str) else each for each in messages], asked=[])


def agent(guard: StandingGuard, model: Model, **how: Any) -> Any:
    middleware = GuardMiddleware(guard, **{key: how.pop(key) for key in ("rollout", "tools") if key in how})
    return create_agent(model, [weather, memo], middleware=[middleware], **how)


def ask(text: Any) -> dict[str, Any]:
    return {"messages": [HumanMessage(text)]}


def contents(state: dict[str, Any]) -> list[Any]:
    return [message.content for message in state["messages"]]
