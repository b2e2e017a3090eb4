"""One exchange in several engine calls: windows, pictures, and what they come to together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from railscribe.errors import ContextLengthError, EngineTimeoutError
from railscribe.images import image_from_bytes
from railscribe.judging import MAX_PIECES, Judgement, halves, judge
from railscribe.policy import load_policy, render
from railscribe.settings import Settings
from railscribe.testing import Answer, ScriptedEngine, solid_picture
from railscribe.values import Cause, Completion, Exchange, Flags, Label, Request, Side

RENDERING = render(load_policy("default"))
THREAT = "I will burn your house down tonight"


async def judged(answer: Callable[[Request], Answer], exchange: Exchange) -> tuple[Judgement, ScriptedEngine]:
    engine = ScriptedEngine(answer)
    return await judge(engine, exchange, RENDERING, Flags()), engine


def reads(limit: int) -> Callable[[Request], Answer]:
    """A model with a context of *limit* characters that finds THREAT unsafe on whichever side it stands."""

    def answer(request: Request) -> Answer:
        if len(request.user) + len(request.response or "") > limit:
            return ContextLengthError()
        sides = [f"User Safety: {'unsafe' if THREAT in request.user else 'safe'}"]
        if request.response is not None:
            sides.append(f"Response Safety: {'unsafe' if THREAT in request.response else 'safe'}")
        named = ["Safety Categories: Threat"] if any("unsafe" in side for side in sides) else []
        return "\n".join(sides + named)

    return answer


async def test_what_fits_is_one_call() -> None:
    """A single piece covers the whole exchange and decides."""
    judgement, engine = await judged(reads(1000), Exchange(user="Good morning."))

    (piece,) = judgement.pieces
    assert (piece.user_span, piece.response_span, piece.image, piece.deciding) == ((0, 13), None, None, True)
    assert len(engine.requests) == 1


@pytest.mark.parametrize("at", [0, 2500, 5000, 9990], ids=["start", "quarter", "middle", "end"])
@pytest.mark.parametrize("side", [Side.USER, Side.RESPONSE])
async def test_a_sentence_buried_in_a_long_text_is_found(at: int, side: Side) -> None:
    """Wherever it stands, some window holds it whole, and the worst window wins on its side alone."""
    filler = "The lake was calm. " * 530
    text = filler[:at] + " " + THREAT + ". " + filler[at:]
    exchange = Exchange(user=text) if side is Side.USER else Exchange(user="Tell me a story.", response=text)

    judgement, _ = await judged(reads(1500), exchange)

    verdict = judgement.verdict
    found = verdict.side(side)
    assert found is not None
    assert found.label is Label.UNSAFE
    assert [category.name for category in verdict.categories] == ["Threat"]
    assert side is Side.USER or verdict.user.label is Label.SAFE
    assert sum(piece.deciding for piece in judgement.pieces) == 1
    assert all(piece.verdict.user.label is not Label.UNREADABLE for piece in judgement.pieces)


async def test_the_windows_cover_the_text_and_overlap() -> None:
    """Nothing between two windows is left out, and neighbours share words."""
    text = "word " * 2000
    judgement, _ = await judged(reads(1200), Exchange(user=text))

    spans = sorted(piece.user_span for piece in judgement.pieces if piece.user_span)
    assert spans[0][0] == 0
    assert spans[-1][1] == len(text)
    assert all(right[0] < left[1] for left, right in pairwise(spans))


@given(text=st.text(alphabet="ab \n", min_size=400, max_size=3000))
def test_halves_cover_and_shrink(text: str) -> None:
    """Both halves are smaller than the whole, overlap, and lose nothing."""
    first, second = halves(text, (0, len(text)))

    assert first[0] == 0
    assert second[1] == len(text)
    assert second[0] < first[1]
    assert max(first[1] - first[0], second[1] - second[0]) < len(text)


async def test_a_policy_that_fills_the_context_is_undecided() -> None:
    """An exchange is not cut smaller for ever: too long it stays, with its cause."""
    judgement, engine = await judged(lambda _: ContextLengthError(), Exchange(user="word " * 400))

    assert judgement.verdict.user.cause is Cause.TOO_LONG
    assert len(engine.requests) <= 2 * MAX_PIECES


async def test_unsafe_goes_before_unreadable_before_safe() -> None:
    """One window that nobody answered for makes the check undecided, unless another is unsafe already."""

    def answer(request: Request) -> Answer:
        if len(request.user) > 1000:
            return ContextLengthError()
        if "silence" in request.user:
            return EngineTimeoutError()
        return "User Safety: unsafe" if THREAT in request.user else "User Safety: safe"

    calm, silent, threat = "calm " * 150, "silence " * 100, f"{THREAT} " * 60
    undecided, _ = await judged(answer, Exchange(user=calm + silent))
    unsafe, _ = await judged(answer, Exchange(user=silent + threat))

    assert (undecided.verdict.user.label, undecided.verdict.user.cause) == (Label.UNREADABLE, Cause.TIMEOUT)
    assert unsafe.verdict.user.label is Label.UNSAFE


async def test_every_picture_is_judged() -> None:
    """The one bad picture of three decides, with the text beside each."""
    pictures = tuple(
        image_from_bytes(solid_picture(colour), Settings()) for colour in ("red", "green", "blue")
    )

    def answer(request: Request) -> Answer:
        assert request.image is not None
        bad = request.image.digest == pictures[1].digest
        return Completion(
            text="User Safety: unsafe" if bad else "User Safety: safe",
            finish_reason="stop",
            scores={Side.USER: 0.9 if bad else 0.1},
        )

    judgement, engine = await judged(answer, Exchange(user="look", images=pictures))

    assert (judgement.verdict.user.label, judgement.verdict.user.score) == (Label.UNSAFE, 0.9)
    assert [(piece.image, piece.deciding) for piece in judgement.pieces] == [
        (0, False),
        (1, True),
        (2, False),
    ]
    assert [request.user for request in engine.requests] == ["look"] * 3


async def test_being_cancelled_ends_every_call_and_is_told() -> None:
    """A cancelled check of several calls comes back with all its pieces, cancelled."""

    async def never(_: Request) -> str:
        await asyncio.sleep(60)
        return "User Safety: safe"

    picture = image_from_bytes(solid_picture(), Settings())
    work = asyncio.create_task(
        judge(ScriptedEngine(never), Exchange(user="look", images=(picture, picture)), RENDERING, Flags())
    )
    await asyncio.sleep(0.05)
    work.cancel()

    judgement = await work

    assert isinstance(judgement.cancelled, asyncio.CancelledError)
    assert [piece.verdict.user.cause for piece in judgement.pieces] == [Cause.CANCELLED] * 2
