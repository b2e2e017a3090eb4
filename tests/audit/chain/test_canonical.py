"""The bytes of an entry, pinned: REFRESH_GOLDENS=1 writes the golden file anew, which no old chain would survive."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from railscribe.audit import AuditStore, commitments, contents
from railscribe.audit.chain.canonical import entry_bytes
from railscribe.audit.evidence import KINDS, Database, Key, bytes_of_rows
from railscribe.audit.stored import time_of_sqlite

GOLDEN = Path(__file__).parent / "goldens" / "entries.jsonl"
CHANGING = {
    *("railscribe_version", "registered_at", "moved_at", "registration_digest", "digest", "reviewed_at"),
    *("erased_at", "erasure_id", "key_digest", "subject_commitment", "held_at", "hold_id", "released_at"),
    *("pruned_at", "prune_id", "before", "root", "segment_id", "checkpoint_hash"),
}
"""Columns that are not the same from run to run or from release to release."""
NAMED_AT_RANDOM = ("erasures", "holds", "prunes")


@pytest.fixture
def entries(
    own_url: str, fill: Callable[[AuditStore], None], monkeypatch: pytest.MonkeyPatch
) -> dict[str, bytes]:
    """The bytes of one entry of each kind, as they are read back from either database."""
    salts = iter(f"{number:032x}" for number in range(1, 1000))
    for module in (commitments, contents):
        monkeypatch.setattr(module, "new_salt", lambda: next(salts))
    found = {}
    with AuditStore.open(own_url) as store:
        fill(store)
        with store.transaction("Reading entries") as connection:
            database = Database(connection)
            sql = f"SELECT {database.time('at')}, kind, id FROM entries ORDER BY kind, at, id"  # noqa: S608
            for at, kind, entry_id in database.rows(sql):
                key = Key(kind=kind, at=database.read_time(at), id=entry_id)
                if kind not in found:
                    rows = database.of_entry(key)
                    for table, some in rows.items():
                        hidden = CHANGING | ({"id"} if table in NAMED_AT_RANDOM else set())
                        for row in some:
                            row.update((name, "…") for name in hidden if name in row)
                    found[kind] = bytes_of_rows(kind, rows)
    return found


def test_golden(entries: dict[str, bytes]) -> None:
    """One entry of each kind has just these bytes, on both databases."""
    lines = b"".join(entries[kind] + b"\n" for kind in sorted(entries))
    if os.environ.get("REFRESH_GOLDENS"):
        GOLDEN.write_bytes(lines)
        pytest.skip(f"rewrote {GOLDEN.name}")

    assert GOLDEN.read_bytes().splitlines() == lines.splitlines()
    assert set(entries) == {json.loads(line)["kind"] for line in lines.splitlines()} == set(KINDS)


def test_what_is_absent_leaves_no_trace() -> None:
    """A table without rows is as one that does not exist yet, so no later table changes an old leaf."""
    rows = {"records": [{"id": "a"}]}

    assert entry_bytes("record", {**rows, "later": []}) == entry_bytes("record", rows)
    assert entry_bytes("record", rows) == b'{"kind":"record","rows":{"records":[{"id":"a"}]},"v":1}'


@given(st.permutations([{"position": n, "name": name} for n, name in enumerate("ąZa10")]))
def test_the_order_of_reading_does_not_count(rows: list[dict[str, int | str]]) -> None:
    """Rows come in whatever order a database's collation likes; the bytes are the same."""
    assert entry_bytes("record", {"notes": rows}) == entry_bytes(
        "record", {"notes": sorted(rows, key=lambda row: json.dumps(row, ensure_ascii=False, sort_keys=True))}
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "0.1"),
        (1e-7, "1e-07"),
        (250.0, "250.0"),
        (True, "true"),
        (3, "3"),
        ('"\\/\n\x01\x7fé🔪', '"\\"\\\\/\\n\\u0001\x7fé🔪"'),
    ],
)
def test_values(value: float | str, text: str) -> None:
    """Each kind of value is written in one way."""
    assert (
        entry_bytes("k", {"t": [{"c": value}]}).decode()
        == f'{{"kind":"k","rows":{{"t":[{{"c":{text}}}]}},"v":1}}'
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"bytes", None.__class__, "\ud83d"])
def test_what_no_entry_holds(value: object) -> None:
    """What is no value of an entry has no bytes."""
    with pytest.raises((ValueError, TypeError)):
        entry_bytes("k", {"t": [{"c": value}]})  # type: ignore[dict-item]


@pytest.mark.parametrize("value", ["2026-03-14T23:59:58.123456", "2026-03-14 23:59:58", "", None, 5, b"x"])
def test_a_time_in_another_form(value: object) -> None:
    """A time that is not as SQLAlchemy writes it does not pass for one that is."""
    with pytest.raises(ValueError, match="as it is stored"):
        time_of_sqlite(value)


def test_a_time_in_another_zone_is_the_same() -> None:
    """Whatever zone a time came in, it is one instant."""
    at = datetime(2026, 3, 14, 23, 59, 58, 123456, tzinfo=timezone.utc)

    assert contents.iso(at.astimezone(timezone(timedelta(hours=9))).astimezone(timezone.utc)) == contents.iso(
        at
    )
