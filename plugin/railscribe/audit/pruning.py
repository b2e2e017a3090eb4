"""Pruning: what is older than its term goes, by whole sealed segments, and what is left says so.

Rules

1. A segment goes whole or not at all: it is sealed, of a class that has a term, its youngest entry's term is over,
   and no hold in force holds any of its records. Operations are never pruned.
2. The prune is an entry of its own, written first, in the transaction that deletes: it names the segments with their
   roots, and those entries of other segments whose records go (reasoning that came late). The triggers let go what
   such an entry names, and nothing else.
3. Segments and checkpoints stay, so the chain still verifies. Entries of pruned segments go with their evidence.
   Reviews stay, as do policies, texts and engines.
4. At most ``AT_ONCE`` segments go in one transaction; a larger prune has several entries.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import sqlalchemy as sa

from railscribe.audit import tables
from railscribe.audit.contents import Row, iso
from railscribe.audit.holds import holding, take_turn
from railscribe.audit.rows import OPERATIONS, EntryKind, Rows, railscribe_version
from railscribe.audit.store import AuditStore
from railscribe.errors import UsageError

AT_ONCE = 5
_PRUNING = "Pruning"
_RECORD, _LATE = EntryKind.RECORD.value, EntryKind.LATE_TRACE.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What was pruned of one class, or would be."""

    retention_class: str
    term_days: int
    before: datetime
    segments: int
    entries: int
    records: int
    held: int
    """Segments whose term is over and that a hold keeps."""
    prunes: tuple[str, ...]
    """The ids of the entries; none of a dry run."""

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON would give it."""
        return {**asdict(self), "before": iso(self.before)}


def prune(
    store: AuditStore,
    *,
    terms: Mapping[str, int],
    by: str,
    reason: str,
    retention_class: str | None = None,
    before: datetime | None = None,
    dry_run: bool = False,
) -> list[Pruned]:
    """Prune what is over its term, of every class in *terms* or of *retention_class*, and from *before* a time.

    Raises:
        UsageError: *retention_class* has no term.
        AuditError: the database failed; what was pruned before that is pruned.
    """
    if retention_class is not None and retention_class not in terms:
        raise UsageError(
            f"The retention class {retention_class!r} has no term.", hint="Set it under retention_terms."
        )
    wanted = {name: days for name, days in terms.items() if retention_class in (None, name)}
    wanted.pop(OPERATIONS, None)
    now = datetime.now(tz=timezone.utc)
    done = []
    for name, days in sorted(wanted.items()):
        over = now - timedelta(days=days)
        until = over if before is None else min(over, before.astimezone(timezone.utc))
        done.append(_Class(store, name, days, until, by, reason).run(dry_run=dry_run))
    return done


@dataclass(frozen=True, slots=True)
class _Class:
    store: AuditStore
    name: str
    days: int
    before: datetime
    by: str
    reason: str

    def run(self, *, dry_run: bool) -> Pruned:
        ids: list[str] = []
        counts = [0, 0, 0]
        while True:
            with self.store.transaction(_PRUNING, write=not dry_run) as connection:
                if not dry_run:
                    take_turn(connection)
                free, held = self._over(connection)
                some = free if dry_run else free[:AT_ONCE]
                if not some:
                    break
                found = [len(some), *_count(connection, some)]
                counts = [old + new for old, new in zip(counts, found, strict=True)]
                if dry_run:
                    break
                ids.append(self._prune(connection, some, found))
        return Pruned(
            retention_class=self.name,
            term_days=self.days,
            before=self.before,
            segments=counts[0],
            entries=counts[1],
            records=counts[2],
            held=held,
            prunes=tuple(ids),
        )

    def _over(self, connection: sa.Connection) -> tuple[list[Row], int]:
        """Return the segments that may go, and how many more a hold keeps (rule 1)."""
        segments, entries = tables.segments.c, tables.entries.c
        gone = sa.exists().where(tables.pruned_segments.c.segment_id == segments.id)
        query = (
            sa.select(segments.id, segments.root, segments.entry_count)
            .where(segments.retention_class == self.name, ~gone)
            .where(segments.month <= self.before.strftime("%Y-%m"))
            .order_by(segments.month, segments.id)
        )
        free, held = [], 0
        for segment in connection.execute(query).mappings().all():
            youngest = connection.execute(
                sa.select(sa.func.max(entries.at)).where(entries.segment_id == segment["id"])
            ).scalar()
            if youngest is None or youngest >= self.before:
                continue
            if _is_held(connection, segment["id"]):
                held += 1
            else:
                free.append(dict(segment))
        return free, held

    def _prune(self, connection: sa.Connection, segments: Sequence[Row], counts: Sequence[int]) -> str:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
        else:
            connection.exec_driver_sql("PRAGMA secure_delete=ON")
        prune_id, at = str(uuid.uuid4()), datetime.now(tz=timezone.utc)
        checkpoints = tables.checkpoints.c
        last = connection.execute(
            sa.select(checkpoints.number, checkpoints.hash).order_by(checkpoints.number.desc()).limit(1)
        ).one()
        head: Row = {
            "id": prune_id,
            "pruned_at": at,
            "retention_class": self.name,
            "term_days": self.days,
            "before": self.before,
            "pruned_by": self.by,
            "reason": self.reason,
            **dict(zip(("segments", "entries", "records"), counts, strict=True)),
            "checkpoint_number": last.number,
            "checkpoint_hash": last.hash,
            "railscribe_version": railscribe_version(),
        }
        named = [
            {"prune_id": prune_id, "segment_id": segment["id"]}
            | {name: segment[name] for name in ("root", "entry_count")}
            for segment in segments
        ]
        along = [{"prune_id": prune_id, **entry} for entry in _along(connection, segments)]
        own = {tables.prunes: [head], tables.pruned_segments: named, tables.pruned_entries: along}
        rows = Rows(kind=EntryKind.PRUNE, at=at, id=prune_id, shared={}, own=own)
        self.store.insert(connection, rows)
        _delete(connection, prune_id)
        return prune_id


def _is_held(connection: sa.Connection, segment_id: str) -> bool:
    records, entries = tables.records, tables.entries
    of_segment = sa.and_(
        entries.c.segment_id == segment_id,
        entries.c.kind.in_((_RECORD, _LATE)),
        entries.c.at == records.c.checked_at,
        entries.c.id == records.c.id,
    )
    joined = holding(records).where(of_segment)
    return connection.execute(joined.limit(1)).first() is not None


def _count(connection: sa.Connection, segments: Sequence[Row]) -> tuple[int, int]:
    """Return how many entries *segments* have, and how many of them are records."""
    entries = tables.entries.c
    wanted = entries.segment_id.in_([segment["id"] for segment in segments])
    counts = sa.select(entries.kind, sa.func.count()).where(wanted).group_by(entries.kind)
    by_kind: dict[str, int] = {row[0]: row[1] for row in connection.execute(counts)}
    return sum(by_kind.values()), by_kind.get(_RECORD, 0)


def _along(connection: sa.Connection, segments: Sequence[Row]) -> Iterator[Row]:
    """Yield the entries of other segments whose records are in *segments* (rule 2)."""
    late, record = tables.entries.alias("late").c, tables.entries.alias("record").c
    ids = [segment["id"] for segment in segments]
    query = sa.select(late.at, late.kind, late.id).where(
        record.segment_id.in_(ids),
        record.kind == _RECORD,
        late.kind == _LATE,
        late.at == record.at,
        late.id == record.id,
        late.segment_id.not_in(ids),
    )
    for row in connection.execute(query):
        yield {"at": row.at, "kind": row.kind, "id": row.id}


def _delete(connection: sa.Connection, prune_id: str) -> None:
    """Delete what the entry *prune_id* names: first what points at records, then those, then their entries."""
    entries, pruned = tables.entries.c, tables.pruned_segments.c
    named = sa.select(pruned.segment_id).where(pruned.prune_id == prune_id)

    def of(kind: str) -> sa.Select[Any]:
        return sa.select(entries.at, entries.id).where(entries.segment_id.in_(named), entries.kind == kind)

    ids = sa.select(entries.id).where(entries.segment_id.in_(named), entries.kind == _RECORD)
    connection.execute(sa.delete(tables.subject_keys).where(tables.subject_keys.c.record_id.in_(ids)))
    late = (tables.late_kept, tables.late_traces)
    for table in (tables.contents, *late):
        key = sa.tuple_(table.c.checked_at, table.c.record_id)
        only = [table.c.kind.like("late%")] if table is tables.contents else []
        connection.execute(sa.delete(table).where(key.in_(of(_LATE)), *only))
    children = [table for table in tables.metadata.sorted_tables if _is_child(table)]
    for table in children:
        key = sa.tuple_(table.c.checked_at, table.c.record_id)
        connection.execute(sa.delete(table).where(key.in_(of(_RECORD))))
    records = tables.records
    key = sa.tuple_(records.c.checked_at, records.c.id)
    connection.execute(sa.delete(records).where(key.in_(of(_RECORD))))
    connection.execute(sa.delete(tables.entries).where(entries.segment_id.in_(named)))


def _is_child(table: sa.Table) -> bool:
    """Return whether rows of *table* belong to a record, and go with it."""
    return any(key.column.table is tables.records for key in table.foreign_keys)
