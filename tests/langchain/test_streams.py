"""Streams through guards in pipes, and the observer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tools import tool

from railscribe.langchain import GuardDocuments, GuardObserver, GuardRunnable, RefusedError
from railscribe.standing import StandingGuard

REFUSAL = "I'm sorry, I can't help with that."
STORY = "Once upon a time there was a very small dragon. It lived in a cave by the sea. Everybody liked it."
DARK = "Once upon a time there was a very small dragon. It was forbidden to say more of it. Nobody did."
Records = Callable[[], list[dict[str, Any]]]


def model(*says: str | AIMessage) -> GenericFakeChatModel:
    return GenericFakeChatModel(
        messages=iter(AIMessage(each) if isinstance(each, str) else each for each in says)
    )


async def test_a_stream_comes_in_judged_windows(guard: StandingGuard, recorded: Records) -> None:
    """Around a model the answer arrives in several pieces, tied together on record with the user's words."""
    wrapped = GuardRunnable(guard).wrap(model(STORY))

    pieces = [piece async for piece in wrapped.astream("Tell me a story")]

    assert "".join(str(piece.content) for piece in pieces) == STORY
    records = recorded()
    assert records[0]["direction"] == "input"
    assert {r["stream"] for r in records[1:]} == {records[1]["stream"]}
    assert records[-1]["stream_final"] is True


@pytest.mark.parametrize("synchronous", [False, True])
async def test_a_refused_window_raises_or_is_replaced(guard: StandingGuard, synchronous: bool) -> None:
    """Nothing of the refused window is shown, in the asynchronous form and in the synchronous one."""
    wrapped = GuardRunnable(guard).wrap(model(DARK), exit_behavior="replace")

    def read() -> list[Any]:
        return list(wrapped.stream("Tell me a story"))

    pieces = (
        await asyncio.to_thread(read)
        if synchronous
        else [piece async for piece in wrapped.astream("Tell me a story")]
    )

    shown = "".join(str(piece.content) for piece in pieces)
    assert "forbidden" not in shown
    assert shown.endswith(REFUSAL)
    with pytest.raises(RefusedError):
        [piece async for piece in GuardRunnable(guard).wrap(model(DARK)).astream("Tell me a story")]


async def test_an_output_guard_in_a_pipe_streams_text(guard: StandingGuard) -> None:
    """Behind a parser the pieces are strings, and the pipe streams through the guard."""
    chain = model(STORY) | StrOutputParser() | GuardRunnable(guard, direction="output")

    pieces = [piece async for piece in chain.astream("Tell me a story")]

    assert "".join(pieces) == STORY
    assert all(isinstance(piece, str) for piece in pieces)


async def test_calls_come_at_the_end_and_only_if_allowed(guard: StandingGuard, recorded: Records) -> None:
    """A streamed message that calls tools is judged by its calls."""

    def wants(city: str) -> Any:
        message = AIMessage("", tool_calls=[{"name": "weather", "args": {"city": city}, "id": "c1"}])
        return GuardRunnable(guard).wrap(RunnableLambda(lambda _: message))

    pieces = [piece async for piece in wants("Paris").astream("Weather?")]
    assert [call["args"] for piece in pieces for call in piece.tool_calls] == [{"city": "Paris"}]
    with pytest.raises(RefusedError):
        [piece async for piece in wants("forbidden").astream("Weather?")]
    assert [r["direction"] for r in recorded()] == ["input", "tool_output"] * 2


async def test_a_batch_is_checked_item_by_item(guard: StandingGuard, recorded: Records) -> None:
    """Batches give the same as one call each."""
    answers = await GuardRunnable(guard).abatch(["hello", "forbidden"], return_exceptions=True)

    assert answers[0] == "hello"
    assert isinstance(answers[1], RefusedError)
    assert len(recorded()) == 2


class Library(BaseRetriever):
    """Finds the same two documents."""

    def _get_relevant_documents(self, query: str, **_: Any) -> list[Document]:
        return [Document("Opening hours"), Document("forbidden")]


@tool
def echo(text: str) -> str:
    """Say it again."""
    return text


async def test_refused_documents_are_withheld(guard: StandingGuard, recorded: Records) -> None:
    """The others go on in their order, each with a record of its own."""
    chain = Library() | GuardDocuments(guard)

    assert [each.page_content for each in await chain.ainvoke("when?")] == ["Opening hours"]
    assert [each.page_content for each in await asyncio.to_thread(chain.invoke, "when?")] == ["Opening hours"]
    assert {(r["direction"], r["rail"]) for r in recorded()} == {("retrieval", "langchain retrieval")}


def test_the_observer_records_everything_and_blocks_nothing(guard: StandingGuard, recorded: Records) -> None:
    """A chain runs as without it, and each of its steps is on record as observed or passed."""
    observer = GuardObserver(guard)
    how: RunnableConfig = {"callbacks": [observer], "metadata": {"tenant": "acme", "thread_id": "t-1"}}

    assert model(DARK).invoke("forbidden question", how).content == DARK
    assert echo.invoke({"text": "forbidden"}, how) == "forbidden"
    assert len(Library().invoke("when?", how)) == 2
    assert observer.wait(10)

    assert sorted((r["direction"], r["enforcement"]) for r in recorded()) == [
        ("input", "observed"),
        ("output", "observed"),
        ("retrieval", "observed"),
        ("retrieval", "passed"),
        ("tool_input", "observed"),
    ]
    assert {r["rollout"] for r in recorded()} == {"observe"}
    prompt = next(r for r in recorded() if r["direction"] == "input")
    assert (prompt["identity"]["tenant"], prompt["identity"]["session"]) == ("acme", "t-1")
    assert observer.lost == 0


def test_the_observer_counts_what_it_loses(guard: StandingGuard, caplog: pytest.LogCaptureFixture) -> None:
    """A store that is gone stops no chain: it is counted and logged without content."""
    observer = GuardObserver(guard)
    guard.store.close()

    def gone(*_: Any, **__: Any) -> None:
        raise OSError("secret words")

    guard.store.append = gone  # type: ignore[method-assign]
    answer = model("fine").invoke("hello", {"callbacks": [observer]})

    assert answer.content == "fine"
    assert observer.wait(10)
    assert observer.lost == 2
    assert "secret words" not in caplog.text
