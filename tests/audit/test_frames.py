"""Frames: entries come back from a file as they went in, and damage is told from an unfinished write."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from railscribe.audit import frames
from railscribe.audit.rows import late_rows, probe_rows, rows_of
from railscribe.values import Exchange, Identity, LateTrace, Probe, Record

RecordFactory = Callable[..., Record]


def test_entries_come_back_as_they_went_in(
    blocked: RecordFactory,
    undecided: RecordFactory,
    late: Callable[[Record], LateTrace],
    probe: Callable[[], Probe],
) -> None:
    """Rows of every kind survive being bytes: their times, their numbers, and text that no database holds."""
    odd = undecided(exchange=Exchange(user="a\x00b\ud83d␚"), identity=Identity(session="\ud83d"))
    entries = [
        rows_of(blocked(), retention_class="default", keep_chars=100, keep_images=True),
        rows_of(odd, retention_class="default", keep_chars=100),
        late_rows(late(blocked()), retention_class="six_years", keep_chars=100),
        probe_rows(probe()),
    ]

    for rows in entries:
        found = frames.load(frames.dump(rows))

        assert found == replace(rows, own={table: some for table, some in rows.own.items() if some})


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"not JSON", id="no JSON"),
        pytest.param(b"[]", id="another shape"),
        pytest.param(json.dumps({"kind": "record"}).encode(), id="fields missing"),
        pytest.param(
            b'{"kind":"record","at":"2026-01-01T00:00:00+00:00","id":"x","class":"c","shared":{},"own":{"nosuch":[{}]}}',
            id="a table of the future",
        ),
        pytest.param(
            b'{"kind":"record","at":"2026-01-01T00:00:00+00:00","id":"x","class":"c","shared":{},"own":{"records":[{"n":1}]}}',
            id="a column of the future",
        ),
    ],
)
def test_what_is_no_entry_is_refused(payload: bytes) -> None:
    """Bytes that this version cannot read as an entry are a ValueError and never half an entry."""
    with pytest.raises(ValueError):
        frames.load(payload)


@given(payloads=st.lists(st.binary(max_size=40), min_size=1, max_size=4), cut=st.integers(1, 30))
def test_a_torn_tail_ends_the_reading(payloads: list[bytes], cut: int) -> None:
    """However much of the last frame is missing, those before it are whole and nothing else is read."""
    data = b"".join(map(frames.framed, payloads))
    cut = min(cut, len(frames.framed(payloads[-1])))
    file = io.BytesIO(data[:-cut])

    found = [frame.payload for frame in frames.frames(file, 0, len(data) - cut)]

    assert found == payloads[:-1]


@given(payloads=st.lists(st.binary(min_size=1, max_size=40), min_size=2, max_size=4), bit=st.integers(0, 7))
def test_damage_is_passed_over(payloads: list[bytes], bit: int) -> None:
    """A frame in which a bit has turned is told as damaged, and those around it are read."""
    data = bytearray(b"".join(map(frames.framed, payloads)))
    data[8] ^= 1 << bit  # the first byte of the first payload

    found = [frame.payload for frame in frames.frames(io.BytesIO(data), 0, len(data))]

    assert found == [None, *payloads[1:]]


def test_a_length_that_is_noise_reads_nothing() -> None:
    """A length beyond all reason is not believed, also where the file is as long."""
    file = io.BytesIO((frames.LONGEST + 1).to_bytes(4, "big") + bytes(100))

    assert list(frames.frames(file, 0, 1 << 40)) == []
