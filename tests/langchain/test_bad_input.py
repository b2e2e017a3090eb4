"""Bad input at every door of LangChain: nothing but a refusal comes out, nothing passes, and it is on record."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from langchain.agents import create_agent
from langchain_core.documents import Document
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.outputs import ChatGeneration, Generation, LLMResult
from langchain_core.runnables import RunnableLambda
from langchain_core.runnables.config import var_child_runnable_config
from tests import bad_content
from tests.bad_content import MARKERS, deep
from tests.langchain.scripted import REFUSAL, agent, ask, contents, says

from railscribe import Identity, use_identity
from railscribe.audit import AuditStore
from railscribe.errors import NotRecordedError, OutOfMemoryError
from railscribe.langchain import GuardDocuments, GuardMiddleware, GuardObserver, GuardRunnable, RefusedError
from railscribe.settings import Settings
from railscribe.standing import StandingGuard
from railscribe.streaming import GuardedStream
from railscribe.testing import ScriptedEngine

Records = Callable[[], list[dict[str, Any]]]


# What a message may hold, and the cause on record; None is a verdict.
CONTENTS: dict[str, tuple[Any, str | None]] = {
    **bad_content.CONTENTS,
    "a sound": ([{"type": "text", "text": "hi"}, {"type": "audio", "base64": "AA"}], "modality"),
    "a file": ([{"type": "text", "text": "hi"}, {"type": "file", "file_id": "f-1"}], "modality"),
    "a film": ([{"type": "video", "url": "https://example.com/a.mp4"}], "modality"),
    "a picture that is none": ([{"type": "image", "base64": "AAAA", "mime_type": "image/png"}], "bad_image"),
    "an address": ([{"type": "image", "url": "https://example.com/a.png"}], "bad_image"),
}


def holding(kind: Any, content: Any) -> Any:
    """Return a message that holds *content*, whatever LangChain would say of it."""
    return kind.model_construct(
        content=content, additional_kwargs={}, response_metadata={}, id=None, name=None
    )


async def refused(work: Awaitable[Any]) -> None:
    with pytest.raises(RefusedError) as caught:
        await work
    assert "forbidden" not in str(caught.value)


async def through_input(guard: StandingGuard, content: Any) -> None:
    await refused(GuardRunnable(guard).ainvoke([holding(HumanMessage, content)]))


async def through_output(guard: StandingGuard, content: Any) -> None:
    message = holding(AIMessage, content)
    message.tool_calls = message.invalid_tool_calls = []
    await refused(GuardRunnable(guard, direction="output").ainvoke(message))


async def through_wrap(guard: StandingGuard, content: Any) -> None:
    asked: list[Any] = []
    await refused(
        GuardRunnable(guard).wrap(RunnableLambda(asked.append)).ainvoke([holding(HumanMessage, content)])
    )
    assert asked == []


async def through_middleware(guard: StandingGuard, content: Any) -> None:
    model = says("never said")
    state = {"messages": [holding(HumanMessage, content)]}
    update = await GuardMiddleware(guard)._before(state, Identity())  # type: ignore[arg-type]
    assert update is not None
    assert update["messages"][-1].content == REFUSAL
    assert model.asked == []


async def through_stream(guard: StandingGuard, content: Any) -> None:
    message = holding(AIMessage, content)
    message.tool_calls = message.invalid_tool_calls = []
    wrapped = RunnableLambda(lambda _: message) | GuardRunnable(guard, direction="output")

    async def read() -> list[Any]:
        return [piece async for piece in wrapped.astream("hello")]

    await refused(read())


DOORS = {
    "input": through_input,
    "output": through_output,
    "wrap": through_wrap,
    "middleware": through_middleware,
    "stream": through_stream,
}


@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
async def test_no_content_is_a_way_through(guard: StandingGuard, settings: Settings, door: Any) -> None:
    """Whatever a message holds, every door refuses it, with a record of its cause."""
    found: dict[str, Any] = {}
    expected = {name: cause for name, (_, cause) in CONTENTS.items()}
    if door is through_stream:
        expected["bytes"] = None  # LangChain itself makes text of them

    with AuditStore.open(settings.database_url) as store:
        for name, (content, _) in CONTENTS.items():
            await door(guard, content)
            (last,) = store.records(limit=1)
            assert last["enforcement"] == "refused", name
            found[name] = last["cause"]

    assert found == expected


@pytest.mark.parametrize("content", [content for content, cause in CONTENTS.values() if cause != "empty"])
async def test_no_answer_of_a_tool_is_a_way_in(guard: StandingGuard, recorded: Records, content: Any) -> None:
    """Whatever a tool answers, the model reads a note in its place; nothing at all is nothing to judge."""
    answer = holding(ToolMessage, content)
    answer.tool_call_id, request = "c1", Asking()

    async def handler(_: Any) -> Any:
        return answer

    note = await called(GuardMiddleware(guard), request, handler)

    assert note is not answer
    assert note.status == "error"
    assert [(r["direction"], r["enforcement"]) for r in recorded()][-1] == ("tool_input", "refused")


class Asking:
    """A request for a tool's call, outside a graph."""

    def __init__(self, call: Any = None) -> None:
        self.tool_call = call or {"name": "f", "args": {}, "id": "c1"}
        self.state: dict[str, Any] = {"messages": []}
        self.runtime = SimpleNamespace(config={})


async def called(middleware: GuardMiddleware, request: Any, handler: Any) -> Any:
    """Run the middleware around a tool, inside a graph's context."""
    token = var_child_runnable_config.set({"metadata": {}})
    try:
        return await middleware.awrap_tool_call(request, handler)
    finally:
        var_child_runnable_config.reset(token)


@pytest.mark.parametrize(
    "arguments",
    [{"a": deep()}, {"a": MARKERS}, {MARKERS: 1}, {"a": "forbidden \ud800\x00"}, {"a": "x" * 1_000_000}],
    ids=["deep", "markers", "markers in a name", "half a pair", "a megabyte"],
)
async def test_no_call_is_a_way_out(guard: StandingGuard, recorded: Records, arguments: Any) -> None:
    """Behind a model and around a tool; the model's answer is refused whole, the tool not run."""
    message = AIMessage("fine")
    message.tool_calls = [{"name": "f", "args": arguments, "id": "c1", "type": "tool_call"}]
    request = Asking(message.tool_calls[0])

    async def handler(_: Any) -> Any:
        raise AssertionError("the tool was run")

    await refused(GuardRunnable(guard).wrap(RunnableLambda(lambda _: message)).ainvoke("hello"))
    note = await called(GuardMiddleware(guard), request, handler)

    assert note.status == "error"
    assert [r["enforcement"] for r in recorded()].count("refused") == 2


# Documents.
BAD_DOCUMENTS: dict[str, Any] = {
    "unsafe": Document("forbidden"),
    "markers": Document(MARKERS),
    "half a pair": Document("forbidden \ud800\x00"),
    "a megabyte": Document("sunny " * 180_000),
    "nothing in it": Document(" "),
    "no text": Document.model_construct(page_content=5, metadata={}),
    "a number": 5,
    "none": None,
    "a mapping": {"page_content": "forbidden"},
    "an object": object(),
}


async def test_no_document_is_a_way_in(guard: StandingGuard, recorded: Records) -> None:
    """What cannot be read is withheld like what is unsafe, each with its record; the good ones go on."""
    documents = [Document("Opening hours"), *BAD_DOCUMENTS.values(), "Closed on Mondays"]

    kept = await GuardDocuments(guard).ainvoke(documents)
    also_kept = await asyncio.to_thread(GuardDocuments(guard).invoke, documents)

    assert kept == also_kept == [documents[0], "Closed on Mondays"]
    assert len(recorded()) == 2 * len(documents)


@pytest.mark.parametrize(
    "given_in_their_place", [None, 5, "forbidden", Document("forbidden"), {"a": 1}, b"forbidden"]
)
async def test_what_are_no_documents_is_withheld(guard: StandingGuard, given_in_their_place: Any) -> None:
    """Something else than a list is one thing that cannot be read, or is unsafe."""
    assert await GuardDocuments(guard).ainvoke(given_in_their_place) == []


# Engines and stores that fail, hosts that give up.
FAILURES: dict[str, Any] = {
    "engine_failed": ValueError("forbidden"),
    "timeout": None,
    "out_of_memory": OutOfMemoryError(),
    "empty_reply": "",
    "stray_text": "Certainly! All is safe.",
}


@pytest.mark.parametrize("cause", FAILURES)
async def test_an_engine_that_fails_lets_nothing_through(
    settings: Settings, recorded: Records, cause: str
) -> None:
    """One that raises, hangs or says nonsense refuses with its cause at every door, a stream included."""

    async def answer(_: Any) -> Any:
        return FAILURES[cause] if cause != "timeout" else await asyncio.Event().wait()

    guard = StandingGuard.stand(settings, engine=ScriptedEngine(answer, timeout_s=0.05))
    output: Any = RunnableLambda(lambda _: AIMessage("fine")) | GuardRunnable(guard, direction="output")

    async def read() -> list[Any]:
        return [piece async for piece in output.astream("hello")]

    await refused(GuardRunnable(guard).ainvoke("hello"))
    await refused(output.ainvoke("hello"))
    await refused(read())
    assert await GuardDocuments(guard).ainvoke([Document("hello")]) == []
    state = await agent(guard, says("never said")).ainvoke(ask("hello"))

    assert contents(state) == [REFUSAL]
    assert {(r["enforcement"], r["decision"]["cause"]) for r in recorded()} == {("refused", cause)}
    assert len(recorded()) == 5


@pytest.mark.parametrize("rollout", ["enforce", "observe"])
async def test_what_cannot_be_recorded_is_refused(guard: StandingGuard, rollout: str) -> None:
    """Without a record, and without an exception of the store's; where all is only observed it goes on."""

    async def away(*_: Any, **__: Any) -> None:
        raise NotRecordedError

    guard.store.append_async = away  # type: ignore[method-assign]
    runnable = GuardRunnable(guard, rollout=rollout)
    output: Any = RunnableLambda(lambda _: "fine") | GuardRunnable(guard, direction="output", rollout=rollout)
    built: Any = create_agent(says("fine"), [], middleware=[GuardMiddleware(guard, rollout=rollout)])

    async def streamed() -> str:
        return "".join([piece async for piece in output.astream("hello")])

    documents = GuardDocuments(guard, rollout=rollout)
    if rollout == "observe":
        assert await runnable.ainvoke("hello") == "hello"
        assert await streamed() == "fine"
        assert len(await documents.ainvoke([Document("hello")])) == 1
        assert contents(await built.ainvoke(ask("hello"))) == ["hello", "fine"]
        return
    with pytest.raises(RefusedError, match="not_recorded; not recorded") as caught:
        await runnable.ainvoke("hello")
    assert caught.value.record_id is None
    await refused(streamed())
    assert await documents.ainvoke([Document("hello")]) == []
    assert contents(await built.ainvoke(ask("hello"))) == [REFUSAL]


async def test_a_policy_that_nobody_knows_refuses_on_record(guard: StandingGuard, recorded: Records) -> None:
    """A request that names one is refused at every door, whatever on_undecided says, and its record says not_run."""
    with use_identity(Identity(policy="nobody-s")):
        await refused(GuardRunnable(guard, on_undecided="allow").ainvoke("hello"))
        output: Any = RunnableLambda(lambda _: "fine") | GuardRunnable(
            guard, direction="output", on_undecided="allow"
        )
        await refused(output.ainvoke("hello"))

        async def read() -> list[Any]:
            return [piece async for piece in output.astream("hello")]

        await refused(read())
        assert contents(await agent(guard, says("never said")).ainvoke(ask("hello"))) == [REFUSAL]

    assert [(r["enforcement"], r["decision"]["cause"]) for r in recorded()] == [("refused", "not_run")] * 4


@pytest.mark.parametrize("door", ["input", "wrap", "documents", "agent"])
async def test_a_host_that_gives_up_leaves_a_record(settings: Settings, recorded: Records, door: str) -> None:
    """A check that is cancelled under way is on record as such, and nothing passes."""
    asked, loop = asyncio.Event(), asyncio.get_running_loop()

    async def never(_: Any) -> Any:
        loop.call_soon_threadsafe(asked.set)
        return await asyncio.Event().wait()

    guard = StandingGuard.stand(settings, engine=ScriptedEngine(never))
    work: dict[str, Callable[[], Any]] = {
        "input": lambda: GuardRunnable(guard).ainvoke("hello"),
        "wrap": lambda: GuardRunnable(guard).wrap(RunnableLambda(lambda _: "fine")).ainvoke("hello"),
        "documents": lambda: GuardDocuments(guard).ainvoke([Document("hello")]),
        "agent": lambda: agent(guard, says("never said")).ainvoke(ask("hello")),
    }
    task = asyncio.ensure_future(work[door]())
    await asked.wait()

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert [r["decision"]["cause"] for r in recorded()] == ["cancelled"]


# The observer.
async def test_the_observer_records_bad_input_as_well(guard: StandingGuard, recorded: Records) -> None:
    """It records what a guard would have refused, each choice of an answer, and loses nothing."""
    observer, run = GuardObserver(guard), uuid4()
    choices: Any = [ChatGeneration(message=AIMessage("fine")), ChatGeneration(message=AIMessage("forbidden"))]

    for content, _ in CONTENTS.values():
        observer.on_chat_model_start({}, [[holding(HumanMessage, content)]], run_id=uuid4())
    observer.on_llm_start({}, ["forbidden"], run_id=run, metadata={"tenant": "acme"})
    observer.on_llm_end(LLMResult(generations=[choices]), run_id=run)
    observer.on_llm_end(LLMResult(generations=[[Generation(text="forbidden")]]), run_id=uuid4())
    observer.on_llm_end(LLMResult(generations=[]), run_id=uuid4())
    observer.on_tool_start({}, "", run_id=run, metadata={"tenant": "acme"})
    observer.on_tool_end(object(), run_id=run)

    assert await asyncio.to_thread(observer.wait, 10)
    assert observer.lost == 0
    records = recorded()
    assert len(records) == len(CONTENTS) + 5
    assert {r["enforcement"] for r in records} == {"observed", "passed"}
    assert [r["identity"]["tenant"] for r in records].count("acme") == 4


# Streams of other makers.
@pytest.mark.parametrize(
    "item",
    [
        5,
        None,
        b"forbidden",
        {},
        {"content": 5},
        {"choices": []},
        {"choices": [5]},
        {"content": [5, {}]},
        object(),
    ],
)
async def test_an_item_that_says_nothing_shows_nothing(guard: StandingGuard, item: Any) -> None:
    """What is no text of a stream is left out, and raises nothing."""

    async def source() -> AsyncIterator[Any]:
        yield item
        yield "fine"

    assert [text async for text in GuardedStream(guard, user="hello").over(source())] == ["fine"]


# Generated.
WORDS = st.one_of(
    st.sampled_from(["hello", "forbidden", "", " ", MARKERS, "\x00\ud800"]), st.text(max_size=12)
)
PARTS = st.one_of(
    WORDS,
    st.builds(lambda text: {"type": "text", "text": text}, WORDS),
    st.builds(lambda text: {"type": "reasoning", "reasoning": text}, WORDS),
    st.sampled_from([{"type": "audio"}, {"type": "image", "url": "x"}, {}]),
)
BODY = st.one_of(WORDS, st.lists(PARTS, max_size=3))
CALLS = st.lists(
    st.builds(lambda name, text: {"name": name, "args": {"a": text}, "id": "c1"}, WORDS, WORDS), max_size=2
)
ANSWERS = st.builds(lambda body, calls: AIMessage(body, tool_calls=calls), BODY, CALLS)
MESSAGES = st.lists(
    st.one_of(
        st.builds(HumanMessage, BODY),
        st.builds(HumanMessage, BODY),
        st.builds(
            lambda role, body: ChatMessage(role=role, content=body), st.sampled_from(["user", "x"]), BODY
        ),
        ANSWERS,
        st.builds(SystemMessage, WORDS),
        st.builds(lambda body: ToolMessage(body, tool_call_id="c1"), WORDS),
    ),
    max_size=5,
)


def comes_in(messages: list[BaseMessage]) -> list[Any]:
    """Return what of *messages* the model must not read unjudged, in words of the test's own."""
    users: list[Any] = []
    tools: list[Any] = []
    answered = False
    for message in reversed(messages):
        if isinstance(message, AIMessage):
            if users:
                break
            answered = True
        elif isinstance(message, ToolMessage) and not answered:
            tools.append(message.content)
        elif isinstance(message, (HumanMessage, ChatMessage)):
            users.append(message.content)
    return users + tools


def test_generated_conversations(guard: StandingGuard, settings: Settings) -> None:
    """Nothing but a refusal comes out, nothing unsafe in or out, and every check has its record."""
    answer: list[AIMessage] = []
    asked: list[Any] = []

    def model(messages: Any) -> Any:
        asked.append(messages)
        return answer[0]

    wrapped = GuardRunnable(guard).wrap(RunnableLambda(model))

    with AuditStore.open(settings.database_url) as store:

        @examples(max_examples=100, deadline=None, derandomize=True)
        @given(messages=MESSAGES, said=ANSWERS)
        def holds(messages: list[BaseMessage], said: AIMessage) -> None:
            asked.clear()
            answer[:] = [said]
            before = next((row["id"] for row in store.records(limit=1)), "")

            try:
                result = wrapped.invoke(messages)
            except RefusedError:
                result = None

            new = [row for row in store.records(limit=20) if row["id"] > before]
            assert [row["direction"] for row in new].count("input") == 1
            came_in = [row for row in new if row["direction"] in ("input", "tool_input")]
            assert bool(asked) == all(row["enforcement"] == "passed" for row in came_in)
            if "forbidden" in str(comes_in(messages)):
                assert not asked
            if "forbidden" in str(said):
                assert result is None
            assert (result is None) == any(row["enforcement"] == "refused" for row in new)

        holds()
