"""One exchange, in as many engine calls as it takes, and what they come to together.

Rules

1. An exchange that fits goes in one call, with its one picture.
2. The model takes one picture: several are judged one by one, each with the whole text. For an engine without
   eyes the words in a picture are read and judged as part of the user's turn; where the reader is to read always,
   they are judged beside the pixels, in a call of their own. A picture in which such an engine has nothing to go
   by is undecided: ``modality``.
3. What is too long for the engine is judged in overlapping windows, halved until they fit; both sides of an
   exchange are kept beside one another as far as they go. Nothing is cut off in silence.
4. The worst call wins, side by side: unsafe before unreadable before safe. The categories of all calls that found
   something unsafe count, each with its highest score and as near where one call was near it, and every call is a
   :class:`~railscribe.values.Piece` of the record. That one was unreadable, or unsafe without a name, is kept beside
   a worse or a named one: what the others say may be something that the policy lets pass.
5. What needs more than ``MAX_PIECES`` calls, or is too long although almost nothing of it is left, is undecided:
   the policy alone may fill the engine's context.
6. Where an exchange was judged with and without thinking, the stricter decision counts, and the pieces of both are
   the record's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from railscribe.engines import Engine
from railscribe.errors import ContextLengthError, EngineError
from railscribe.nemotron import build_request, parse_reply
from railscribe.nemotron.names import each_once
from railscribe.nemotron.reply import unreadable
from railscribe.picture_words import PictureWords
from railscribe.reader import PictureReader
from railscribe.reasoning import judged_sides, stricter
from railscribe.values import (
    CategoryScores,
    Cause,
    Completion,
    Decision,
    Exchange,
    Flags,
    Image,
    ImageReading,
    ImageUse,
    Label,
    Piece,
    Rendering,
    Request,
    Side,
    SideVerdict,
    Verdict,
)

logger = logging.getLogger(__name__)

MAX_PIECES = 128
_IN_FLIGHT = 8
"""Calls of one check at once; more would only wait for one another, against the clock."""
_OVERLAP = 0.1
_LEAST_OVERLAP = 200  # characters
PICTURE_TEXT = "[text in the picture]"
_SMALLEST = 400  # characters; a window that short and still too long is not the exchange's fault
_WORST = (Label.SAFE, Label.UNREADABLE, Label.UNSAFE)

Span = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What one call is to judge of an exchange."""

    user: Span | None
    response: Span | None
    image: int | None
    words: Span | None = None
    """What to send of the words in the picture, in the place of its pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What the calls over one exchange came to."""

    pieces: tuple[Piece, ...]
    """All of them, one included; the deciding one is marked."""
    verdict: Verdict
    neutralised: tuple[str, ...] = ()
    cancelled: asyncio.CancelledError | None = None
    readings: tuple[ImageReading, ...] = ()
    """What became of each of the exchange's pictures."""
    repeats: str | None = None
    """The check whose verdict this is, where no engine was asked again."""

    @property
    def completion(self) -> Completion | None:
        """The reply that decided, if there is one."""
        return next((piece.completion for piece in self.pieces if piece.deciding), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What asking once came to: under which rendering and flags, and what was decided on it."""

    rendering: Rendering
    flags: Flags
    judgement: Judgement
    decision: Decision

    @property
    def replied(self) -> bool:
        """Whether the engine gave a reply that could be thought about."""
        return self.judgement.completion is not None and self.judgement.cancelled is None

    @property
    def sides(self) -> list[SideVerdict]:
        """The sides that were decided on."""
        return judged_sides(self.judgement.verdict, self.decision)

    def with_thinking(self, thought: Judged) -> Judged:
        """Return what counts of this and *thought*: the stricter one, with the trace and the pieces of both."""
        if thought is self:
            return self
        counts = self if stricter(self.decision, thought.decision) is self.decision else thought
        pieces = [
            replace(piece, deciding=piece.deciding and judged is counts)
            for judged in (self, thought)
            for piece in judged.judgement.pieces
        ]
        judgement = replace(
            counts.judgement,
            pieces=tuple(pieces),
            verdict=replace(counts.judgement.verdict, trace=thought.judgement.verdict.trace),
            cancelled=thought.judgement.cancelled,
        )
        return replace(counts, judgement=judgement, flags=thought.flags)


async def judge(
    engine: Engine,
    exchange: Exchange,
    rendering: Rendering,
    flags: Flags,
    *,
    adapter: str | None = None,
    scope: str | None = None,
    reader: PictureReader | None = None,
) -> Judgement:
    """Return what *engine* says of *exchange* under *rendering*, having words in pictures read by *reader*.

    Never raises what an engine does: that is in the verdict. Being cancelled is in the judgement as well.
    """
    asking = _Asking(
        engine, exchange, rendering, flags, adapter, scope, PictureWords(exchange, reader, engine.timeout_s)
    )
    whole = Window(
        user=(0, len(exchange.user)),
        response=None if exchange.response is None else (0, len(exchange.response)),
        image=None,
    )
    windows = [replace(whole, image=image) for image in range(len(exchange.images))] or [whole]
    pieces = await asking.ask_all(windows, asking.look)
    judgement = joined(pieces, neutralised=tuple(asking.markers), cancelled=asking.cancelled)
    return replace(judgement, readings=asking.words.readings(pieces))


def unjudged(cause: Cause, exchange: Exchange, rendering: Rendering, flags: Flags) -> Judgement:
    """Return the judgement of an exchange that no engine was asked about."""
    return Judgement(
        pieces=(),
        verdict=unreadable(cause, response_sent=exchange.response is not None),
        neutralised=build_request(exchange, rendering, flags).neutralised,
        readings=(ImageReading(use=ImageUse.NOT_JUDGED),) * len(exchange.images),
    )


def joined(
    pieces: Sequence[Piece],
    *,
    neutralised: tuple[str, ...] = (),
    cancelled: asyncio.CancelledError | None = None,
) -> Judgement:
    """Return what *pieces*, at least one, come to together (rule 4)."""
    deciding = max(range(len(pieces)), key=lambda place: (_severity(pieces[place].verdict), -place))
    marked = tuple(replace(piece, deciding=place == deciding) for place, piece in enumerate(pieces))
    verdict = pieces[deciding].verdict
    if len(pieces) > 1:
        responses = [piece.verdict.response for piece in pieces if piece.verdict.response]
        verdict = replace(
            verdict,
            user=_worst([piece.verdict.user for piece in pieces]),
            response=_worst(responses) if responses else None,
            categories=each_once(category for piece in pieces for category in piece.verdict.categories),
            category_scores=_highest([piece.verdict for piece in pieces]),
            unnamed=any(_is_unnamed(piece.verdict) for piece in pieces),
            notes=tuple(dict.fromkeys(note for piece in pieces for note in piece.verdict.notes)),
        )
    return Judgement(pieces=marked, verdict=verdict, neutralised=neutralised, cancelled=cancelled)


def halves(text: str, span: Span) -> tuple[Span, Span]:
    """Return two overlapping halves of *span* of *text*, cut at white space where there is some near."""
    begin, end = span
    middle = (begin + end) // 2
    overlap = min(max(int((end - begin) * _OVERLAP), _LEAST_OVERLAP), (end - begin) // 4)
    first_end = _at_gap(text, middle + overlap // 2, end)
    second_begin = _at_gap(text, middle - overlap // 2, end)
    return (begin, first_end), (second_begin, end)


def _at_gap(text: str, at: int, end: int) -> int:
    """Return the end of the word that *at* is in, if it ends within a few dozen characters."""
    for place in range(at, min(at + 40, end)):
        if text[place].isspace():
            return place
    return at


def _severity(verdict: Verdict) -> tuple[int, float]:
    sides = [side for side in (verdict.user, verdict.response) if side is not None]
    return max(_WORST.index(side.label) for side in sides), max(side.score or 0.0 for side in sides)


def _worst(sides: Sequence[SideVerdict]) -> SideVerdict:
    worst = max(sides, key=lambda side: (_WORST.index(side.label), side.score or 0.0))
    unread = next((side.cause for side in sides if side.label is Label.UNREADABLE), None)
    return replace(worst, unread=unread) if worst.label is Label.UNSAFE else worst


def _highest(verdicts: Sequence[Verdict]) -> CategoryScores:
    """Return the highest score of each category on each side; none on a side that a call read without scoring."""
    highest: dict[Side, dict[str, float]] = {}
    for side in Side:
        read = [said for said in verdicts if (of := said.side(side)) and of.label is not Label.UNREADABLE]
        if read and all(side in said.category_scores for said in read):
            names = dict.fromkeys(name for said in read for name in said.category_scores[side])
            highest[side] = {
                name: max(said.category_scores[side].get(name, 0.0) for said in read) for name in names
            }
    return highest


def _is_unnamed(verdict: Verdict) -> bool:
    sides = [side for side in (verdict.user, verdict.response) if side is not None]
    return not verdict.categories and any(side.label is Label.UNSAFE for side in sides)


@dataclass(slots=True)
class _Asking:
    """The calls over one exchange."""

    engine: Engine
    exchange: Exchange
    rendering: Rendering
    flags: Flags
    adapter: str | None
    scope: str | None
    words: PictureWords
    room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_IN_FLIGHT))
    splits: int = 0
    markers: dict[str, None] = field(default_factory=dict)
    cancelled: asyncio.CancelledError | None = None

    async def ask_all(
        self, windows: Sequence[Window], ask: Callable[[Window], Coroutine[Any, Any, list[Piece]]]
    ) -> list[Piece]:
        """Return what *ask* brings of each of *windows*, in their order."""
        if len(windows) == 1:
            return await ask(windows[0])
        tasks = [asyncio.create_task(ask(window)) for window in windows]
        try:
            await asyncio.wait(tasks)
        except asyncio.CancelledError as error:
            self.cancelled = error
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        return [piece for task in tasks for piece in task.result()]

    async def look(self, window: Window) -> list[Piece]:
        """Return what the engine says of a picture: of its pixels, of its words, or of both (rule 2)."""
        reader = self.words.reader
        if window.image is None or reader is None:
            return await self.ask(window)
        beside = asyncio.create_task(self.words.read(window.image)) if reader.always else None
        seen = await self.ask(window) if self.engine.sees else []
        if self.cancelled is not None:
            if beside is not None:
                beside.cancel()
            return seen or [self._piece(window, None, Cause.CANCELLED, 0.0)]
        if not all(piece.verdict.user.cause is Cause.MODALITY for piece in seen):
            if beside is None:
                return seen
            alone = replace(window, user=None, response=None)
            return seen + await self._ask_about_words(alone, beside, required=False)
        return await self._ask_about_words(
            window, beside or asyncio.create_task(self.words.read(window.image)), required=True
        )

    async def _ask_about_words(
        self, window: Window, reading: asyncio.Task[Cause | None], *, required: bool
    ) -> list[Piece]:
        """Return what the engine says of the words that *reading* finds; that there are none is nothing to say
        unless they are *required*."""
        began = time.perf_counter()
        try:
            cause = await reading
        except asyncio.CancelledError as error:
            self.cancelled, cause = error, Cause.CANCELLED
        words = self.words.of(window.image)
        if cause is None and not words:
            if not required:
                return []
            cause = Cause.MODALITY
        if cause is not None:
            return [self._piece(window, None, cause, (time.perf_counter() - began) * 1000)]
        return await self.ask(replace(window, words=(0, len(words))))

    async def ask(self, window: Window) -> list[Piece]:
        """Return what the engine says of *window*, in as many pieces as it takes (rule 3)."""
        began = time.perf_counter()
        completion: Completion | None = None
        cause = Cause.ENGINE_FAILED
        try:
            async with self.room:
                began = time.perf_counter()
                completion = await self.engine.complete(self._request(window))
        except ContextLengthError as error:
            smaller = self._split(window)
            if smaller:
                return await self.ask_all(smaller, self.ask)
            cause = error.cause
        except EngineError as error:
            # The type only: a foreign message, or a traceback holding one, may quote the content.
            logger.warning("no completion: %s (%s)", error.cause.value, type(error).__name__)
            cause = error.cause
        except asyncio.CancelledError as error:
            # Parallel rails cancel one another; a check that was begun goes on record all the same.
            self.cancelled, cause = error, Cause.CANCELLED
        return [self._piece(window, completion, cause, (time.perf_counter() - began) * 1000)]

    def _request(self, window: Window) -> Request:
        exchange = self.exchange
        user = [] if window.user is None else [exchange.user[slice(*window.user)]]
        images: tuple[Image, ...] = ()
        if window.image is not None and window.words is not None:
            words = self.words.of(window.image)[slice(*window.words)]
            # Signs and memes are lettered in capitals whatever they say; a guard reads that as shouting, and worse.
            user.append(f"{PICTURE_TEXT} {words.capitalize() if words.isupper() else words}")
        elif window.image is not None:
            images = (exchange.images[window.image],)
        part = Exchange(
            user="\n".join(text for text in user if text),
            response=None if window.response is None else (exchange.response or "")[slice(*window.response)],
            images=images,
        )
        request = build_request(part, self.rendering, self.flags)
        self.markers.update(dict.fromkeys(request.neutralised))
        return replace(request, adapter=self.adapter, scope=self.scope)

    def _split(self, window: Window) -> list[Window]:
        """Return *window* in two, along its longest text; nothing where that cannot help (rule 5)."""
        self.splits += 1
        parts = (
            ("user", self.exchange.user, window.user or (0, 0)),
            ("response", self.exchange.response or "", window.response or (0, 0)),
            ("words", self.words.of(window.image), window.words or (0, 0)),
        )
        name, text, span = max(parts, key=lambda part: _size(part[2]))
        if _size(span) < _SMALLEST or self.splits >= MAX_PIECES:
            return []
        changes: list[dict[str, Any]] = [{name: half} for half in halves(text, span)]
        return [replace(window, **change) for change in changes]

    def _piece(self, window: Window, completion: Completion | None, cause: Cause, ms: float) -> Piece:
        sent = window.response is not None
        if completion is None:
            verdict = unreadable(cause, response_sent=sent)
        else:
            self.markers.update(dict.fromkeys(completion.neutralised))
            verdict = parse_reply(
                completion.text,
                response_sent=sent,
                finish_reason=completion.finish_reason,
                category_names=self.rendering.category_names,
                scores=completion.scores,
                category_scores=completion.category_scores,
            )
        return Piece(
            user_span=window.user,
            response_span=window.response,
            image=window.image,
            completion=completion,
            verdict=verdict,
            deciding=False,
            engine_ms=ms,
            thinking=self.flags.thinking,
            image_text_span=window.words,
        )


def _size(span: Span) -> int:
    return span[1] - span[0]
