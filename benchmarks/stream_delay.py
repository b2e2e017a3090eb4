"""What a guarded stream costs whoever waits for it: the time to the first text, and to the last.

    python benchmarks/stream_delay.py                     # all ways, about two minutes
    python benchmarks/stream_delay.py --tokens 100 --rounds 1

A scripted model streams a text of short sentences, a word at a time and each at its moment, as a server does that does
not wait for its reader; each check by a scripted safety model takes its time. The ways take turns, and what a way adds
is the median of its differences to no rail in the same round.

1.0: NeMo's windows, its own content safety against ours; *first shown* is its default, which shows a window before it
is checked. 2.x and plain streams: our wrapper (``GuardedStream``) around NeMo's app or the bare model; NeMo has no
output rail for streams of 2.x. LangChain: ``GuardRunnable().wrap`` around a chat model. The rails of 1.0 and that of
LangChain check the question as well, the wrapper the answer alone.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from databases import sqlite
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from nemoguardrails import LLMRails
from nemoguardrails.types import LLMResponseChunk
from rail_tables import Row, run, show
from scripted_rails import MainModel, build, open_guard, scripted_engine

from railscribe.langchain import GuardRunnable
from railscribe.standing import StandingGuard
from railscribe.streaming import GuardedStream, text_in

SENTENCE = "Here is a sentence of a dozen words that says nothing at all."
WINDOWS = ("chunk_size: 200, context_size: 50", "chunk_size: 40, context_size: 10")
QUESTION = "What does a savings account pay?"

Open = Callable[[], AsyncIterable[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to read the same text."""

    host: str
    rail: str
    open: Open


class PacedModel(MainModel):
    """Says each word at its moment: what a busy machine is late with one does not add up."""

    async def stream_async(
        self, prompt: Any, *, stop: Any = None, **_: Any
    ) -> AsyncIterator[LLMResponseChunk]:
        began = time.perf_counter()
        for number, word in enumerate(self.says.split(" ")):
            await asyncio.sleep(max(0.0, began + (number + 1) * self.delay_s - time.perf_counter()))
            yield LLMResponseChunk(delta_content=(" " if number else "") + word)


class ChatModel(BaseChatModel):
    """LangChain's view of the main model."""

    main: Any

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **_: Any) -> ChatResult:
        raise NotImplementedError("it streams")

    async def _astream(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **_: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        async for text in _texts(self.main):
            yield ChatGenerationChunk(message=AIMessageChunk(content=text))


def text_of(tokens: int) -> str:
    """Return a text of *tokens* words."""
    words = SENTENCE.split(" ")
    return " ".join(words[number % len(words)] for number in range(tokens))


def ways(model: MainModel, guard: StandingGuard, check_s: float) -> list[Way]:
    """Return all ways; the first of each host is the one without a rail."""
    bare = build("none", "1.0", main=model)
    found = [Way(host="1.0", rail="none", open=_reads(bare))]
    for window in WINDOWS:
        for kind in ("host", "ours"):
            of = None if kind == "host" else guard
            streaming = f"{{enabled: true, stream_first: false, {window}}}"
            app = build(kind, "1.0", guard=of, delay_s=check_s, main=model, streaming=streaming)
            size = window.split(",")[0].split()[-1]
            found.append(Way(host="1.0", rail=f"{kind}, windows of {size}", open=_reads(app)))
    streaming = f"{{enabled: true, stream_first: true, {WINDOWS[0]}}}"
    for kind in ("host", "ours"):
        of = None if kind == "host" else guard
        app = build(kind, "1.0", guard=of, delay_s=check_s, main=model, streaming=streaming)
        found.append(Way(host="1.0", rail=f"{kind}, windows of 200, first shown", open=_reads(app)))
    second = _reads(build("none", "2.x", main=model))
    found.append(Way(host="2.x", rail="none", open=second))
    found.append(Way(host="2.x", rail="ours, wrapped", open=_wraps(second, guard)))

    def plain() -> AsyncIterable[str]:
        return _texts(model)

    found.append(Way(host="plain", rail="none", open=plain))
    found.append(Way(host="plain", rail="ours, wrapped", open=_wraps(plain, guard)))
    chat = ChatModel(main=model)
    found.append(Way(host="LangChain", rail="none", open=_asks(chat)))
    found.append(Way(host="LangChain", rail="ours, wrapped", open=_asks(GuardRunnable(guard).wrap(chat))))
    return found


def _reads(app: LLMRails) -> Open:
    def opened() -> AsyncIterable[str]:
        app.events_history_cache.clear()
        stream: AsyncIterable[str] = app.stream_async(messages=[{"role": "user", "content": QUESTION}])
        return stream

    return opened


def _wraps(source: Open, guard: StandingGuard) -> Open:
    def opened() -> AsyncIterable[str]:
        return GuardedStream(guard, user=QUESTION).over(source())

    return opened


def _asks(model: Runnable[Any, Any]) -> Open:
    async def opened() -> AsyncIterator[str]:
        async for chunk in model.astream(QUESTION):
            yield text_in(chunk)

    return opened


async def _texts(model: MainModel) -> AsyncIterator[str]:
    async for chunk in model.stream_async(QUESTION):
        yield chunk.delta_content or ""


async def read(way: Way, expected: str) -> tuple[float, float]:
    """Return the milliseconds to the first text of *way* and to its end, having seen that all of it came."""
    began, first = time.perf_counter(), 0.0
    shown: list[str] = []
    async for text in way.open():
        if text and not first:
            first = (time.perf_counter() - began) * 1000
        shown.append(text)
    total = (time.perf_counter() - began) * 1000
    assert "".join(shown) == expected, (way.host, way.rail, "".join(shown))
    return first, total


async def measure(asked: argparse.Namespace) -> list[Row]:
    """Measure and print all ways, and return the rows."""
    expected = text_of(asked.tokens)
    model = PacedModel(expected, delay_s=asked.token_ms / 1000)
    rows: list[Row] = []
    with (
        tempfile.TemporaryDirectory(dir=asked.folder, ignore_cleanup_errors=True) as name,
        sqlite(Path(name)) as new,
    ):
        check_s = asked.check_ms / 1000
        guard = open_guard(new(), scripted_engine(check_s))
        all_ways = ways(model, guard, check_s)
        model.says = text_of(20)
        for way in all_ways:  # warm up
            await read(way, model.says)
        model.says = expected
        taken: list[dict[Way, tuple[float, float]]] = []
        for number in range(asked.rounds):
            order = all_ways if number % 2 == 0 else all_ways[::-1]
            taken.append({way: await read(way, expected) for way in order})
        for way in all_ways:
            bare = next(each for each in all_ways if each.host == way.host)
            rows.append(_row(way, bare, taken))
            show(rows)
        guard.store.close()
    return rows


def _row(way: Way, bare: Way, taken: list[dict[Way, tuple[float, float]]]) -> Row:
    def median(place: int, minus: Way | None = None) -> float:
        less = [round_[minus][place] if minus else 0.0 for round_ in taken]
        return round(
            statistics.median(round_[way][place] - by for round_, by in zip(taken, less, strict=True))
        )

    return {
        "host": way.host,
        "rail": way.rail,
        "first_ms": median(0),
        "total_ms": median(1),
        "first_added_ms": median(0, bare),
        "total_added_ms": median(1, bare),
    }


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    of = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    of.add_argument("--tokens", type=int, default=400)
    of.add_argument("--token-ms", type=float, default=5.0)
    of.add_argument("--check-ms", type=float, default=20.0, help="of the safety model")
    of.add_argument("--rounds", type=int, default=4)
    of.add_argument("--folder", type=Path, help="for the database, on the disk to be measured")
    return of


if __name__ == "__main__":
    run(parser(), measure)
