"""What writers that died, and versions before there was a chain, have left to be taken in.

Rules

1. A writer is dead when its process is gone from this machine, or when it was silent ``SILENT`` times as long as it
   promised. Whoever is wrong about it does no harm: the database refuses entries into sealed segments.
2. What it left is sealed as it lies: were entries taken out before, their places are missing, and verifying says so.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa

from railscribe.audit import tables
from railscribe.audit.chain.checkpoint import Reason
from railscribe.audit.contents import Row
from railscribe.audit.evidence import Database, bytes_of_rows, without_entry
from railscribe.audit.locks import try_writer
from railscribe.audit.rows import OPERATIONS, EntryKind
from railscribe.errors import AuditError

SILENT = 5
_LEAST_SILENCE_S = 300


def dead_writers(connection: sa.Connection, now: datetime, known: Sequence[str] = ()) -> list[str]:
    """Return the writers that have not ended and are dead (rule 1), or *known* to be."""
    ended = sa.select(tables.checkpoints.c.ends).where(tables.checkpoints.c.ends.is_not(None))
    left = sa.select(tables.writers).where(tables.writers.c.id.not_in(ended))
    return [
        writer["id"]
        for writer in connection.execute(left).mappings().all()
        if (writer["id"] in known or _is_dead(connection, dict(writer), now))
        and try_writer(connection, writer["id"])
    ]


def entries_left(connection: sa.Connection, writer: str) -> Iterator[tuple[str, list[Row]]]:
    """Yield the segments of *writer* that no checkpoint seals: the id, and the rows of its entries in their order."""
    segments, entries = tables.segments.c, tables.entries
    last = connection.execute(
        sa.select(sa.func.max(segments.number)).where(segments.writer == writer)
    ).scalar()
    number = 0 if last is None else last + 1
    while True:
        segment_id = f"{writer}.{number}"
        query = sa.select(entries).where(entries.c.segment_id == segment_id).order_by(entries.c.position)
        rows = [dict(row) for row in connection.execute(query).mappings()]
        if not rows:
            return
        yield segment_id, rows
        number += 1


def older_evidence(connection: sa.Connection, limit: int) -> Iterator[tuple[Row, bytes]]:
    """Yield what no entry attests, by kind and time: an entry's key as a row, and its bytes.

    Nothing once a writer has begun: what lies there without an entry after that was put there past all writers.
    """
    begun = sa.select(tables.checkpoints.c.number).where(tables.checkpoints.c.reason == Reason.OPENED.value)
    if connection.execute(begun.limit(1)).first() is not None:
        return
    database = Database(connection)
    for key in without_entry(database, limit=limit):
        try:
            data = bytes_of_rows(key.kind, database.of_entry(key))
            at = datetime.fromisoformat(key.at[:-1] + "+00:00")
        except ValueError:
            raise AuditError(f"The {key.kind} {key.id} is in no form that was ever stored.") from None
        yield {"at": at, "kind": key.kind, "id": tables.restored(key.id)}, data


def class_of(connection: sa.Connection, entry: Row) -> str:
    """Return the retention class of *entry*: its record's, or else that of operations."""
    if entry["kind"] not in (EntryKind.RECORD.value, EntryKind.LATE_TRACE.value):
        return OPERATIONS
    records = tables.records.c
    query = sa.select(records.retention_class).where(
        records.checked_at == entry["at"], records.id == entry["id"]
    )
    return str(connection.execute(query).scalar() or OPERATIONS)


def silence_s(quiet_s: int) -> int:
    """Return after how many seconds a writer that promised to speak every *quiet_s* is taken for dead."""
    return max(_LEAST_SILENCE_S, SILENT * quiet_s)


def _is_dead(connection: sa.Connection, writer: Row, now: datetime) -> bool:
    if writer["host"] == platform.node() and not _runs(writer["pid"]):
        return True
    checkpoints = tables.checkpoints.c
    query = (
        sa.select(checkpoints.at)
        .where(checkpoints.writer == writer["id"])
        .order_by(checkpoints.number.desc())
        .limit(1)
    )
    spoke_at = connection.execute(query).scalar() or writer["opened_at"]
    return bool(now - spoke_at > timedelta(seconds=silence_s(writer["quiet_s"])))


def _runs(pid: int) -> bool:
    """Return whether the process *pid* of this machine may be running."""
    if os.name != "posix":
        return True  # asking would end it
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True
