"""Aids for testing what is built on Railscribe: a scripted engine, and what every engine owes its callers.

    engine = ScriptedEngine(["User Safety: safe"])
    guard = Guard(engine=engine, store=store, policy=policy, settings=Settings())

An engine of your own is tested by subclassing :class:`EngineContract`, with pytest and pytest-asyncio in its
``auto`` mode:

    class TestMyEngine(EngineContract):
        def open_engine(self) -> Engine: ...
        def open_slow_engine(self) -> Engine: ...
"""
# ruff: noqa: S101 - these are tests

from __future__ import annotations

import asyncio
import inspect
import io
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

from PIL import Image as Pillow

from railscribe.engines.base import Engine
from railscribe.errors import EngineTimeoutError, ModalityError
from railscribe.images import image_from_bytes
from railscribe.settings import Settings
from railscribe.values import (
    Completion,
    EngineInfo,
    Flags,
    ImageReading,
    ImageUse,
    Mode,
    Request,
    Side,
)

Answer = str | Completion | Exception
"""A reply's text, a whole completion, or what to raise."""


class UnexpectedCallError(BaseException):
    """The engine was called more often than its script foresaw.

    No ``Exception``: an engine's failure is a decision like any other, and would hide the mistake.
    """


class ScriptedEngine(Engine):
    """Answers from a script: in order, or as a function of the request, which may be asynchronous.

    Strict: a call past the end of the script raises :class:`UnexpectedCallError`.
    """

    def __init__(
        self,
        script: Iterable[Answer] | Callable[[Request], Answer | Awaitable[Answer]],
        *,
        timeout_s: float = 5.0,
        info: EngineInfo | None = None,
        scores_categories: bool = False,
    ) -> None:
        super().__init__(timeout_s=timeout_s)
        self.requests: list[Request] = []
        """What was asked, in order."""
        self._info = info or EngineInfo(name="scripted", model="scripted")
        self._scores_categories = scores_categories
        self._answer = script if callable(script) else _in_order(iter(script))

    @property
    def info(self) -> EngineInfo:
        return self._info

    @property
    def scores_categories(self) -> bool:
        return self._scores_categories

    async def _complete(self, request: Request) -> Completion:
        self.requests.append(request)
        answer = self._answer(request)
        if inspect.isawaitable(answer):
            answer = await answer
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Completion):
            return answer
        image = ImageReading(use=ImageUse.SEEN) if request.image else None
        return Completion(text=answer, finish_reason="stop", image=image)


def _in_order(script: Iterator[Answer]) -> Callable[[Request], Answer]:
    def answer(_: Request) -> Answer:
        for next_answer in script:
            return next_answer
        raise UnexpectedCallError("the script has no answer left")

    return answer


def example_request(
    user: str = "What is the capital of France?",
    *,
    response: str | None = None,
    picture: bytes | None = None,
    policy_text: str | None = None,
    flags: Flags | None = None,
) -> Request:
    """Return a request ready for an engine."""
    return Request(
        user=user,
        response=response,
        image=image_from_bytes(picture, Settings()) if picture else None,
        mode=Mode.POLICY if policy_text else Mode.BUILTIN,
        policy_text=policy_text,
        flags=flags or Flags(),
    )


def solid_picture(colour: str = "teal") -> bytes:
    """Return a small PNG of one colour."""
    buffer = io.BytesIO()
    Pillow.new("RGB", (32, 32), colour).save(buffer, "PNG")
    return buffer.getvalue()


_SLOW = example_request(response="Paris.", flags=Flags(thinking=True))


class EngineContract(ABC):
    """What every engine owes its callers."""

    @abstractmethod
    def open_engine(self) -> Engine:
        """Return a new engine, not started, that answers each request within its time-out."""

    @abstractmethod
    def open_slow_engine(self) -> Engine:
        """Return a new engine, not started, that takes a second or more over a request with thinking."""

    async def test_info_is_known_before_the_start(self) -> None:
        """An engine can be named in a record even when it never started."""
        info = self.open_engine().info

        assert info.name
        assert info.model

    async def test_start_and_close_are_repeatable(self) -> None:
        """Starting and closing twice is harmless."""
        engine = self.open_engine()

        await engine.start()
        await engine.start()
        await engine.aclose()
        await engine.aclose()

    async def test_a_request_gets_a_whole_reply(self) -> None:
        """A completion has text, the reason it ended, and scores only for the side that was sent."""
        async with self.open_engine() as engine:
            completion = await engine.complete(example_request())

        assert completion.text
        assert isinstance(completion.finish_reason, str)
        assert completion.image is None
        assert set(completion.scores) <= {Side.USER}
        assert all(0 <= score <= 1 for score in completion.scores.values())

    async def test_a_response_is_judged_too(self) -> None:
        """A request with a response, a policy and the wish for a trace gets a reply."""
        request = example_request(response="Paris.", policy_text="Be kind.", flags=Flags(thinking=True))
        async with self.open_engine() as engine:
            completion = await engine.complete(request)

        assert completion.text

    async def test_a_picture_is_never_skipped(self) -> None:
        """A picture is seen, read, or refused for its modality; a reply that ignores it does not come."""
        request = example_request(picture=solid_picture())
        async with self.open_engine() as engine:
            try:
                completion = await engine.complete(request)
            except ModalityError:
                return

        assert completion.image is not None
        assert completion.image.use in (ImageUse.SEEN, ImageUse.READ)

    async def test_concurrent_requests_are_all_answered(self) -> None:
        """Requests that run together each get a reply."""
        async with self.open_engine() as engine:
            completions = await asyncio.gather(
                *(engine.complete(example_request(f"Hello {n}.")) for n in range(4))
            )

        assert all(completion.text for completion in completions)

    def test_one_engine_serves_one_loop_after_another(self) -> None:
        """An engine used in one event loop works in the next."""
        engine = self.open_engine()

        async def ask(*, last: bool) -> Completion:
            completion = await engine.complete(example_request())
            if last:
                await engine.aclose()
            return completion

        first = asyncio.run(ask(last=False))
        second = asyncio.run(ask(last=True))

        assert first.text == second.text

    async def test_a_late_reply_is_a_timeout(self) -> None:
        """A request that takes too long ends in EngineTimeoutError, and the engine goes on working."""
        async with self.open_slow_engine() as engine:
            await engine.complete(example_request())
            patience, engine.timeout_s = engine.timeout_s, 0.1
            try:
                await engine.complete(_SLOW)
            except EngineTimeoutError:
                timed_out = True
            else:
                timed_out = False
            engine.timeout_s = patience
            completion = await engine.complete(example_request())

        assert timed_out
        assert completion.text

    async def test_a_cancelled_request_ends(self) -> None:
        """A request that is cancelled is gone at once, and the engine goes on working."""
        async with self.open_slow_engine() as engine:
            await engine.complete(example_request())
            task = asyncio.create_task(engine.complete(_SLOW))
            await asyncio.sleep(0.1)
            task.cancel()
            await asyncio.wait([task], timeout=0.5)
            cancelled = task.cancelled()
            completion = await engine.complete(example_request())

        assert cancelled
        assert completion.text


def long_policy(tokenizer: Any, tokens: int) -> str:
    """Return a taxonomy of about *tokens* tokens of *tokenizer*, for measuring: names, each with a definition."""
    lines = ["- Violence (threatening, planning or glorifying physical harm to people or animals)"]
    number = 0
    while len(tokenizer.encode("\n".join(lines))) < tokens:
        number += 1
        lines.append(
            f"- Topic {number} (talk of matters that department {number} has asked to keep out of this service)"
        )
    return "\n".join(lines)
