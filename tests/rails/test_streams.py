"""Chunks and whole answers, tied to their streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from railscribe.audit import AuditStore
from railscribe.rails.streams import Streams

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.rails.conftest import Host

STREAMING = """
    import_paths: ["{rails}"]
    models: []
    passthrough: true
    rails:
      output:
        flows: [railscribe check output]
        streaming: {enabled: true, chunk_size: 12, context_size: 4, stream_first: false}
"""


def windows(text: str, size: int, overlap: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size - overlap)]


@pytest.mark.parametrize("overlap", [5, 12])
def test_overlapping_windows_are_one_stream(overlap: int) -> None:
    """Every window continues the one before, and the whole answer is the final part."""
    streams, text = Streams(), "The quick brown fox jumps over the lazy dog, and the dog does not mind."

    parts = [streams.chunk("acme", "tell", window) for window in windows(text, 20, overlap)]
    final = streams.whole("acme", "tell", text)

    assert {part.stream for part in parts} == {final.stream}
    assert [part.number for part in (*parts, final)] == list(range(len(parts) + 1))
    assert [part.final for part in (*parts, final)] == [False] * len(parts) + [True]


def test_a_short_answer_may_be_judged_whole_before_its_chunk() -> None:
    """The host promises no order."""
    streams = Streams()

    whole, chunk = (
        streams.whole("acme", "tell", "Yes, of course."),
        streams.chunk("acme", "tell", "Yes, of course."),
    )

    assert whole.stream == chunk.stream
    assert (whole.number, chunk.number) == (0, 1)


def test_other_words_another_tenant_and_another_answer_are_other_streams() -> None:
    """What differs in any of them is not tied together."""
    streams = Streams()

    ids = {
        streams.chunk(tenant, user, text).stream
        for tenant, user, text in [
            ("acme", "tell", "A first answer"),
            ("acme", "tell", "Quite another one"),
            ("acme", "say", "A first answer"),
            ("globex", "tell", "A first answer"),
        ]
    }

    assert len(ids) == 4


def test_the_second_answer_to_the_same_words_is_another_stream() -> None:
    """A stream that has ended takes no new beginning."""
    streams = Streams()
    first = streams.chunk("acme", "tell", "Once upon a time there was a king")
    streams.whole("acme", "tell", "Once upon a time there was a king. He lived long.")

    second = streams.chunk("acme", "tell", "In a hole in the ground")

    assert first.stream != second.stream


async def test_a_real_stream_is_one_on_record(host: Callable[..., Host]) -> None:
    """NeMo's own chunks and its final check bear one id, and what was judged whole repeats no engine call."""
    app = host(
        STREAMING, says="one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
    )

    shown = [chunk async for chunk in app.app.stream_async(messages=[{"role": "user", "content": "count"}])]

    assert "".join(str(chunk) for chunk in shown).startswith("one two three")
    with AuditStore.open(app.url) as store:
        _, rows = store.select("SELECT checks, judged_to_its_end FROM v_streams")
    assert rows == [(len(app.records()), 1)]
    assert len(app.records()) > 2


async def test_a_short_stream_asks_the_engine_once(host: Callable[..., Host]) -> None:
    """A short answer is its own only chunk: two records, one engine call."""
    app = host(STREAMING, says="just this")

    shown = [chunk async for chunk in app.app.stream_async(messages=[{"role": "user", "content": "say"}])]

    assert "".join(str(chunk) for chunk in shown) == "just this"
    assert [bool(record["repeats"]) for record in app.records()].count(True) == 1
    assert len(app.engine.requests) == 1
