"""Entries as bytes that lie in a file: what the spool holds, and how damage to it is told. Pure.

Rules

1. A frame is the length of its payload and the payload's CRC-32, four bytes each, big-endian, then the payload.
2. A payload is JSON of one entry's rows. Times are ISO 8601 to the microsecond in UTC, bytes are base64; which
   columns those are is for the tables to say. Text is as it came, not yet as it is stored.
3. The first frame of a file is a head: its format and the revision that its rows were made for.
4. A frame that ends behind the end of the file is a torn tail, written by no write that was acknowledged. One
   whose sum is wrong is damage: it is passed over, counted, and those behind it are read.
"""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cache
from typing import Any, BinaryIO

import sqlalchemy as sa

from railscribe.audit import tables
from railscribe.audit.contents import Row
from railscribe.audit.rows import EntryKind, Rows

FORMAT = 1
_FRAME = struct.Struct(">II")
LONGEST = 256 * 1024 * 1024
"""A length beyond it is no length but noise: no entry is as long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One frame as it was found."""

    payload: bytes | None
    """``None``: its sum is wrong."""
    end: int
    """Where the next one begins."""


def framed(payload: bytes) -> bytes:
    """Return *payload* as a frame (rule 1)."""
    return _FRAME.pack(len(payload), zlib.crc32(payload)) + payload


def head(revision: str) -> bytes:
    """Return the payload of a file's first frame (rule 3)."""
    return json.dumps({"railscribe_spool": FORMAT, "revision": revision}).encode()


def revision_of(payload: bytes | None) -> str | None:
    """Return which revision the rows behind this head were made for; ``None`` where it is no head of ours."""
    try:
        found = json.loads(payload or b"")
    except ValueError:
        return None
    if not isinstance(found, dict) or found.get("railscribe_spool") != FORMAT:
        return None
    revision = found.get("revision")
    return revision if isinstance(revision, str) else None


def frames(file: BinaryIO, begin: int, end: int) -> Iterator[Frame]:
    """Yield the frames of *file* from *begin* on; stop before one that does not end by *end* (rule 4)."""
    while begin + _FRAME.size <= end:
        file.seek(begin)
        length, checksum = _FRAME.unpack(file.read(_FRAME.size))
        begin += _FRAME.size + length
        if begin > end or length > LONGEST:
            return
        payload = file.read(length)
        yield Frame(payload=payload if zlib.crc32(payload) == checksum else None, end=begin)


def dump(rows: Rows) -> bytes:
    """Return *rows* as a payload (rule 2)."""
    return json.dumps(
        {
            "kind": rows.kind.value,
            "at": _time(rows.at),
            "id": rows.id,
            "class": rows.retention_class,
            "shared": {table.name: _plain(table, [row])[0] for table, row in rows.shared.items()},
            "own": {table.name: _plain(table, some) for table, some in rows.own.items() if some},
        },
        separators=(",", ":"),
    ).encode()


def load(payload: bytes) -> Rows:
    """Return the rows of a payload.

    Raises:
        ValueError: it is none, or speaks of tables or columns that this version does not have.
    """
    try:
        found = json.loads(payload)
        return Rows(
            kind=EntryKind(found["kind"]),
            at=datetime.fromisoformat(found["at"]),
            id=found["id"],
            retention_class=found["class"],
            shared={_table(name): _typed(name, [row])[0] for name, row in found["shared"].items()},
            own={_table(name): _typed(name, some) for name, some in found["own"].items()},
        )
    except (KeyError, TypeError) as error:
        raise ValueError("a frame that this version cannot read") from error


def _time(value: datetime) -> str:
    return value.astimezone(timezone.utc).isoformat(timespec="microseconds")


@cache
def _odd(table: sa.Table) -> tuple[tuple[str, bool], ...]:
    """Return the columns of *table* that JSON has no value for, and whether they hold times."""
    found = ((column.name, column.type) for column in table.columns)
    return tuple(
        (name, isinstance(kind, tables.UtcDateTime))
        for name, kind in found
        if isinstance(kind, (tables.UtcDateTime, sa.LargeBinary))
    )


def _plain(table: sa.Table, some: Iterable[Row]) -> list[Row]:
    odd = _odd(table)
    rows = [dict(row) for row in some]
    for row in rows:
        for name, is_time in odd:
            value: Any = row.get(name)
            if value is not None:
                row[name] = _time(value) if is_time else base64.b64encode(value).decode("ascii")
    return rows


def _table(name: str) -> sa.Table:
    return tables.metadata.tables[name]


def _typed(name: str, some: Iterable[Row]) -> list[Row]:
    table = _table(name)
    rows = list(some)
    for row in rows:
        if not row.keys() <= set(table.columns.keys()):
            raise KeyError(name)
        for column, is_time in _odd(table):
            if row.get(column) is not None:
                value = row[column]
                row[column] = datetime.fromisoformat(value) if is_time else base64.b64decode(value)
    return rows
