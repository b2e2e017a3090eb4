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
5. On PostgreSQL a month of which every record goes is dropped as partitions, however many segments it has: an entry a
   class names them all, in the transaction that drops. What is in those segments and lies elsewhere is deleted.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

import sqlalchemy as sa

from railscribe.audit import partitions, tables
from railscribe.audit.contents import Row, iso
from railscribe.audit.holds import holding, take_turn
from railscribe.audit.partitions import Month
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
    months: tuple[str, ...] = ()
    """Those dropped whole, with what other classes had in them (rule 5)."""

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
    classes = []
    for name, days in sorted(wanted.items()):
        over = now - timedelta(days=days)
        until = over if before is None else min(over, before.astimezone(timezone.utc))
        classes.append(_Class(store, name, days, until, by, reason))
    if not dry_run and store.dialect == "postgresql":
        with store.tending(_PRUNING) as connection:
            partitions.make(connection, of_default=True)
    for month in _whole_months(store, classes):
        _drop(store, classes, month, dry_run=dry_run)
    done = [each.run(dry_run=dry_run) for each in classes]
    if not dry_run and any(each.segments for each in done) and store.dialect == "postgresql":
        with store.tending(_PRUNING) as connection:
            partitions.analyse(connection)
    return done


@dataclass(slots=True)
class _Tally:
    """What went so far."""

    ids: list[str] = field(default_factory=list)
    counts: list[int] = field(default_factory=lambda: [0, 0, 0])
    """Segments, entries, records."""
    months: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Class:
    store: AuditStore
    name: str
    days: int
    before: datetime
    by: str
    reason: str
    tally: _Tally = field(default_factory=_Tally)

    def run(self, *, dry_run: bool) -> Pruned:
        while True:
            with self.store.transaction(_PRUNING, write=not dry_run) as connection:
                if not dry_run:
                    take_turn(connection)
                free, held = self.over(connection)
                some = free if dry_run else free[:AT_ONCE]
                if not some:
                    break
                if dry_run:
                    self._count(connection, some)
                    break
                _delete(connection, self.name_on_record(connection, some))
        tally = self.tally
        return Pruned(
            retention_class=self.name,
            term_days=self.days,
            before=self.before,
            **dict(zip(("segments", "entries", "records"), tally.counts, strict=True)),
            held=held,
            prunes=tuple(tally.ids),
            months=tuple(tally.months),
        )

    def _count(self, connection: sa.Connection, segments: Sequence[Row]) -> list[int]:
        found = [len(segments), *_count(connection, segments)]
        self.tally.counts = [old + new for old, new in zip(self.tally.counts, found, strict=True)]
        return found

    def over(self, connection: sa.Connection, month: Month | None = None) -> tuple[list[Row], int]:
        """Return the segments that may go, of *month* or of all, and how many more a hold keeps (rule 1)."""
        segments, entries = tables.segments.c, tables.entries.c
        gone = sa.exists().where(tables.pruned_segments.c.segment_id == segments.id)
        query = (
            sa.select(segments.id, segments.root, segments.entry_count)
            .where(segments.retention_class == self.name, ~gone)
            .where(
                segments.month <= f"{self.before:%Y-%m}" if month is None else segments.month == str(month)
            )
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

    def name_on_record(self, connection: sa.Connection, segments: Sequence[Row]) -> str:
        """Append the entry that names *segments*, which then may go; return its id (rule 2)."""
        counts = self._count(connection, segments)
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
        self.tally.ids.append(prune_id)
        return prune_id


_Going = list[tuple[_Class, list[Row]]]
"""Of each class the segments that go."""


def _whole_months(store: AuditStore, classes: Sequence[_Class]) -> list[Month]:
    """Return the months that can be dropped (rule 5). That is asked again when they are."""
    with store.transaction(_PRUNING) as connection:
        last = max((each.before for each in classes), default=None)
        made = [month for month in partitions.months(connection, own=True) if last and month.ends <= last]
        if not made:
            return []
        free = [segment["id"] for each in classes for segment in each.over(connection)[0]]
        return [month for month in made if partitions.is_whole(connection, month, free)]


def _drop(store: AuditStore, classes: Sequence[_Class], month: Month, *, dry_run: bool) -> None:
    with store.transaction(_PRUNING, write=not dry_run) as connection:
        if not dry_run:
            take_turn(connection)
        going = _going(connection, classes, month)
        if not partitions.is_whole(
            connection, month, [segment["id"] for _, some in going for segment in some]
        ):
            return
        if dry_run:
            dropped = True
        else:
            ids = [each.name_on_record(connection, segments) for each, segments in going]
            for prune_id in ids:
                _delete_keys(connection, prune_id)
            dropped = partitions.drop(connection, month)
            for prune_id in ids:
                _delete(connection, prune_id)
        for each, _ in going if dropped else ():
            each.tally.months.append(str(month))


def _going(connection: sa.Connection, classes: Sequence[_Class], month: Month) -> _Going:
    """Return what goes of *month*: the segments of it that may. One has no entry of another month."""
    found = [(each, each.over(connection, month)[0]) for each in classes]
    return [(each, segments) for each, segments in found if segments]


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

    _delete_keys(connection, prune_id)
    late = (tables.late_kept, tables.late_traces)
    for table in (tables.contents, *late):
        key = sa.tuple_(table.c.checked_at, table.c.record_id)
        only = [table.c.kind.like("late%")] if table is tables.contents else []
        connection.execute(sa.delete(table).where(key.in_(of(_LATE)), *only))
    for table in partitions.CHILDREN:
        key = sa.tuple_(table.c.checked_at, table.c.record_id)
        connection.execute(sa.delete(table).where(key.in_(of(_RECORD))))
    records = tables.records
    key = sa.tuple_(records.c.checked_at, records.c.id)
    connection.execute(sa.delete(records).where(key.in_(of(_RECORD))))
    connection.execute(sa.delete(tables.entries).where(entries.segment_id.in_(named)))


def _delete_keys(connection: sa.Connection, prune_id: str) -> None:
    """Delete the keys of single records: while these are there, which is what lets them go."""
    entries, pruned = tables.entries.c, tables.pruned_segments.c
    named = sa.select(pruned.segment_id).where(pruned.prune_id == prune_id)
    ids = sa.select(entries.id).where(entries.segment_id.in_(named), entries.kind == _RECORD)
    connection.execute(sa.delete(tables.subject_keys).where(tables.subject_keys.c.record_id.in_(ids)))
