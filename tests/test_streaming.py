"""A stream that shows nothing before it was judged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from langchain_core.messages import AIMessageChunk

from railscribe.audit import AuditStore
from railscribe.guard import Guard
from railscribe.policy import load_policy
from railscribe.rollout import Rollout
from railscribe.settings import Settings
from railscribe.streaming import GuardedStream, Window, text_in
from railscribe.testing import ScriptedEngine
from railscribe.values import Request

REFUSAL = "I'm sorry, I can't help with that."
SMALL = Window(least=10, most=60, context_chars=120)


def judge(request: Request) -> str:
    label = "unsafe" if "forbidden" in (request.response or "") else "safe"
    categories = "\nSafety Categories: Violence" if label == "unsafe" else ""
    return f"User Safety: safe\nResponse Safety: {label}{categories}"


@pytest.fixture
def guarded(database_url: str) -> Callable[..., GuardedStream]:
    """Return a guarded stream over a fresh guard with a scripted engine."""

    def build(script: Any = judge, **options: Any) -> GuardedStream:
        guard = Guard(
            engine=ScriptedEngine(script),
            store=AuditStore.open(database_url),
            policy=load_policy("default"),
            settings=Settings(database_url=database_url),
        )
        return GuardedStream(guard, **{"user": "Tell me.", "window": SMALL, **options})

    return build


async def words(text: str, *, pause: float = 0.0) -> AsyncIterator[str]:
    for number, word in enumerate(text.split(" ")):
        await asyncio.sleep(pause)
        yield (" " if number else "") + word


async def read(stream: GuardedStream, source: AsyncIterator[Any]) -> list[str]:
    return [text async for text in stream.over(source)]


async def _next(reading: AsyncIterator[str]) -> str:
    return await reading.__anext__()


def judged(stream: GuardedStream) -> Sequence[str | None]:
    engine = stream.guard.engine
    assert isinstance(engine, ScriptedEngine)
    return [request.response for request in engine.requests]


ANSWER = "First comes this sentence. Then there is another one. And the end of it all."


async def test_what_is_allowed_comes_through_unchanged(guarded: Callable[..., GuardedStream]) -> None:
    """All text arrives, in windows that end with sentences, each judged with what came before it."""
    stream = guarded()

    shown = await read(stream, words(ANSWER, pause=0.001))

    assert "".join(shown) == ANSWER
    assert all(text.rstrip().endswith(".") for text in shown)
    assert judged(stream)[-1] == ANSWER
    assert stream.cut is None


async def test_nothing_is_shown_before_it_was_judged(guarded: Callable[..., GuardedStream]) -> None:
    """Whatever the reader has seen at any moment is the beginning of something that passed."""
    passed: list[str] = []

    async def slowly(request: Request) -> str:
        await asyncio.sleep(0.005)
        passed.append(request.response or "")
        return judge(request)

    stream, seen = guarded(slowly, window=Window(least=10, most=60)), ""
    async for text in stream.over(words(ANSWER * 5, pause=0.0005)):
        seen += text
        assert any(each.startswith(seen.strip()) for each in passed)
    assert seen == ANSWER * 5


async def test_a_refused_window_ends_the_stream(guarded: Callable[..., GuardedStream]) -> None:
    """The reader gets what passed before and the refusal; the source is closed and not read to its end."""
    closed: list[bool] = []

    async def source() -> AsyncIterator[str]:
        try:
            async for word in words(
                f"A harmless beginning. Now the forbidden part. {ANSWER * 50}", pause=0.002
            ):
                yield word
        finally:
            closed.append(True)

    stream = guarded()
    shown = await read(stream, source())

    assert shown == ["A harmless beginning. ", REFUSAL]
    assert stream.cut is not None
    assert (stream.cut.enforcement.value, stream.cut.part.number if stream.cut.part else None) == (
        "refused",
        1,
    )
    assert closed == [True]


async def test_the_checks_of_a_stream_are_tied_together(guarded: Callable[..., GuardedStream]) -> None:
    """Each is on record with the stream's id and its number; the last judged the end, and repeats what was judged."""
    stream = guarded()
    await read(stream, words(ANSWER, pause=0.001))

    kept = [stream.guard.store.record(record.id) for record in stream.records]
    assert {record["stream"] for record in kept} == {stream.id}
    assert [record["stream_part"] for record in kept] == list(range(len(kept)))
    assert [record["stream_final"] for record in kept] == [*[False] * (len(kept) - 1), True]
    assert kept[-1]["repeats"] == kept[-2]["id"]
    assert len(judged(stream)) == len(kept) - 1
    _, rows = stream.guard.store.select("SELECT checks, repeats, judged_to_its_end, cut_by FROM v_streams")
    assert rows == [(len(kept), 1, 1, None)]


async def test_a_long_response_is_judged_in_parts_and_then_whole(
    guarded: Callable[..., GuardedStream],
) -> None:
    """A window is judged with a stretch of what went before; what only the whole shows still cuts the end."""

    def only_whole(request: Request) -> str:
        response = request.response or ""
        unsafe = "Opening words" in response and "the very end" in response
        return (
            judge(request).replace("Response Safety: safe", "Response Safety: unsafe")
            if unsafe
            else judge(request)
        )

    stream = guarded(only_whole)
    text = "Opening words. " + f"{ANSWER} " * 5 + "This is the very end."
    shown = await read(stream, words(text, pause=0.001))

    assert shown[-1] == REFUSAL
    assert "the very end" not in "".join(shown)
    parts = [response or "" for response in judged(stream)]
    assert max(len(part) for part in parts[:-1]) < len(text)
    assert parts[-1] == text


async def test_a_short_answer_is_judged_once(guarded: Callable[..., GuardedStream]) -> None:
    """One window: one engine call, two records, of which the second says that it judged the end."""
    stream = guarded()

    assert await read(stream, words("Yes.")) == ["Yes."]
    assert judged(stream) == ["Yes."]
    assert [record.part.final for record in stream.records if record.part] == [False, True]


async def test_an_empty_stream_is_empty(guarded: Callable[..., GuardedStream]) -> None:
    """A source that says nothing has nothing to be judged."""

    async def nothing() -> AsyncIterator[str]:
        return
        yield ""

    stream = guarded()
    assert await read(stream, nothing()) == []
    assert stream.records == []


async def test_undecided_cuts(guarded: Callable[..., GuardedStream]) -> None:
    """Without a verdict nothing is shown, unless that is what was asked for."""
    assert await read(guarded(lambda _: "nonsense"), words(ANSWER)) == [REFUSAL]

    open_stream = guarded(lambda _: "nonsense", on_undecided="allow")
    assert "".join(await read(open_stream, words(ANSWER))) == ANSWER


async def test_observing_shows_everything(guarded: Callable[..., GuardedStream]) -> None:
    """In shadow mode the stream goes on, and what would have been cut is on record."""
    stream = guarded(rollout=Rollout.parse("observe"))
    text = "A forbidden sentence. And one more."

    assert "".join(await read(stream, words(text))) == text
    assert "observed" in {record.enforcement.value for record in stream.records}
    assert stream.cut is None


async def test_a_source_that_fails_fails_the_reader(guarded: Callable[..., GuardedStream]) -> None:
    """Its exception arrives as it is, and what was held back is not shown."""

    async def broken() -> AsyncIterator[str]:
        yield "A first sentence. "
        await asyncio.sleep(0.05)
        yield "Held back"
        raise ConnectionError("gone")

    stream, shown = guarded(), []
    reading = stream.over(broken())
    shown.append(await _next(reading))
    with pytest.raises(ConnectionError, match="gone"):
        await _next(reading)
    assert shown == ["A first sentence. "]


async def test_a_reader_that_leaves_closes_the_source(guarded: Callable[..., GuardedStream]) -> None:
    """Leaving early lets go of the model's stream."""
    closed = asyncio.Event()

    async def endless() -> AsyncIterator[str]:
        try:
            while True:
                await asyncio.sleep(0.001)
                yield "One more sentence. "
        finally:
            closed.set()

    reading = guarded().over(endless())
    await _next(reading)
    await reading.aclose()

    await asyncio.wait_for(closed.wait(), 2)


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("Pi is about 3.14159 and", 0),
        ("Too short.", 0),
        ("A sentence that is long. And", 25),
        ("这是一个相当长的句子。还有", 11),
        ("no end in sight " * 4, 64),
    ],
)
def test_a_window_ends_with_a_sentence_or_where_it_grows_too_long(text: str, end: int) -> None:
    """Numbers end no sentence, Chinese needs no white space, and text without any end is not held for ever."""
    assert SMALL.end(text) == end


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ("plain", "plain"),
        (AIMessageChunk(content="of LangChain"), "of LangChain"),
        (AIMessageChunk(content=[{"type": "text", "text": "in parts"}]), "in parts"),
        ({"choices": [{"delta": {"content": "of OpenAI"}}]}, "of OpenAI"),
        (SimpleNamespace(choices=[SimpleNamespace(delta=SimpleNamespace(content="an object"))]), "an object"),
        ({"choices": [{"delta": {"role": "assistant"}}]}, ""),
        ({"choices": [], "usage": {}}, ""),
    ],
)
def test_text_is_found_in_the_items_of_known_streams(item: Any, text: str) -> None:
    """Strings, LangChain's chunks and OpenAI's, as objects and as JSON."""
    assert text_in(item) == text
