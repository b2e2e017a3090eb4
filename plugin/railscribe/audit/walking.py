"""Walks over the entries of segments, with their evidence and their content, a bounded number at a time.

Rules

1. A walk is in the order of segments and positions, and each batch of entries is read together: one statement for each
   table, however many segments the batch is of.
2. What is in no form that was ever stored is told of the entry it belongs to, and does not end the walk.
3. An entry's row in ``entries``, its evidence and its content are read in the same snapshot.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from railscribe.audit import tables
from railscribe.audit.evidence import KINDS, Database, Key, Part, RowsByTable
from railscribe.audit.rows import EntryKind

BATCH = {"sqlite": 100, "postgresql": 500}
"""Entries in memory at a time, unless somebody put more into a segment: few, so that they stay in the processor's
caches; more where each statement is a way to a server."""
_AT_ONCE = 200
"""Segments in one statement: SQLite takes no deeper ones than a thousand."""
_LATE_CONTENT = ("late_trace", "late_reply")
_CONTENT = ("kind", "position", "salt", "body", "truncated")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a checkpoint says of a segment."""

    id: str
    count: int
    retention_class: str | None
    """``None``: no checkpoint says anything of it yet."""
    month: str | None
    root: str | None
    is_adopted: bool = False
    """Its entries are from before the chain."""


@dataclass(slots=True, kw_only=True)
class Found:
    """One entry as it lies in the database."""

    key: Key
    position: int
    leaf: str
    rows: RowsByTable = field(default_factory=dict)
    contents: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    is_odd: bool = False
    """Something of it is in no form that was ever stored."""
    is_erased: bool = False
    """An erasure names it; what attests that erasure is checked as all else is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """A piece of one segment, from *start* to before *stop*."""

    segment: Expected
    start: int
    stop: int


Batch = list[tuple[Slice, list[Found]]]
"""Pieces of segments, and the entries that lie there."""


class Walk:
    """Reads the entries of segments."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.seen: Counter[str] = Counter()
        """How many rows of each table were reached through entries."""
        self._empty = {
            table.name
            for table in (*(part.table for kind in KINDS.values() for part in kind.parts), tables.contents)
            if not database.rows(f"SELECT 1 FROM {table.name} LIMIT 1")  # noqa: S608
        }

    def go(self, segments: Iterable[Expected]) -> Iterator[Batch]:
        """Yield the entries of *segments*, those of a segment one after the other."""
        waiting: list[Slice] = []
        size, at_once = 0, BATCH[self._database.connection.dialect.name]
        for segment in segments:
            for start in range(0, max(segment.count, 1), at_once):
                stop = min(start + at_once, segment.count)
                if waiting and (size + stop - start > at_once or len(waiting) == _AT_ONCE):
                    yield self._read(waiting)
                    waiting, size = [], 0
                waiting.append(Slice(segment=segment, start=start, stop=stop))
                size += stop - start
        if waiting:
            yield self._read(waiting)

    def _read(self, slices: Sequence[Slice]) -> Batch:
        """Read the entries of *slices* (rule 1): pieces of one segment, or whole ones."""
        where, parameters = _where(slices)
        found = self._heads(where, parameters)
        by_place = {(segment, one.position): one for segment, some in found.items() for one in some}
        for kind in {one.key.kind for one in by_place.values()}:
            self._read_evidence(kind, where, parameters, by_place)
        return [(part, found.get(part.segment.id, [])) for part in slices]

    def _heads(self, where: str, parameters: list[Any]) -> dict[str, list[Found]]:
        database = self._database
        sql = (
            f"SELECT e.segment_id, e.position, {database.time('e.at')}, e.kind, e.id, e.leaf "  # noqa: S608
            f"FROM entries e WHERE {where} ORDER BY e.segment_id, e.position"
        )
        found: dict[str, list[Found]] = {}
        for segment, position, at, kind, entry_id, leaf in database.rows(sql, parameters):
            self.seen["entries"] += 1
            try:
                when, is_odd = database.read_time(at), False
            except ValueError:
                when, is_odd = str(at), True
            one = Found(key=Key(kind=kind, at=when, id=entry_id), position=position, leaf=leaf, is_odd=is_odd)
            found.setdefault(segment, []).append(one)
        return found

    def _read_evidence(
        self, kind: str, where: str, parameters: list[Any], by_place: dict[tuple[str, int], Found]
    ) -> None:
        known = KINDS.get(kind)
        if known is None:
            return  # it will be said that there is no evidence
        if len(known.head.id) > 1:
            for one in by_place.values():
                if one.key.kind == kind:
                    self._read_one(one)
            return
        for part in known.parts:
            if part.table.name not in self._empty:
                self._join(kind, part, where, parameters, by_place)
        if kind in (EntryKind.RECORD.value, EntryKind.LATE_TRACE.value):
            if "contents" not in self._empty:
                self._join_contents(kind, where, parameters, by_place)
            if tables.erased_records.name not in self._empty:
                self._join_erased(kind, where, parameters, by_place)

    def _read_one(self, one: Found) -> None:
        try:
            one.rows = self._database.of_entry(one.key)
        except ValueError:
            return
        for name, rows in one.rows.items():
            self.seen[name] += len(rows)

    def _join(
        self,
        kind: str,
        part: Part,
        where: str,
        parameters: list[Any],
        by_place: dict[tuple[str, int], Found],
    ) -> None:
        reader, name = self._database.reader(part.table), part.table.name
        sql = (
            f"SELECT e.segment_id, e.position, {reader.selection('t')} FROM entries e CROSS JOIN {name} t "  # noqa: S608
            f"WHERE {where} AND e.kind = ? AND {_leads(part)}"
        )
        count = 0
        for segment, position, *values in self._database.rows(sql, [*parameters, kind]):
            one = by_place[segment, position]
            count += 1
            try:
                row = reader.row(values)
            except ValueError:
                one.is_odd = True
                continue
            one.rows.setdefault(name, []).append(row)
        self.seen[name] += count

    def _join_contents(
        self, kind: str, where: str, parameters: list[Any], by_place: dict[tuple[str, int], Found]
    ) -> None:
        is_late = "" if kind == EntryKind.LATE_TRACE.value else "NOT "
        columns = ", ".join(f"t.{name}" for name in _CONTENT)
        sql = (
            f"SELECT e.segment_id, e.position, {columns} FROM entries e CROSS JOIN contents t "  # noqa: S608
            f"WHERE {where} AND e.kind = ? AND t.checked_at = e.at AND t.record_id = e.id "
            f"AND t.kind {is_late}IN {_LATE_CONTENT}"
        )
        found = self._database.rows(sql, [*parameters, kind])
        self.seen["contents"] += len(found)
        for segment, place, what, position, salt, body, truncated in found:
            content = {"salt": salt, "body": body, "truncated": truncated}
            by_place[segment, place].contents[what, position] = content

    def _join_erased(
        self, kind: str, where: str, parameters: list[Any], by_place: dict[tuple[str, int], Found]
    ) -> None:
        sql = (
            "SELECT e.segment_id, e.position FROM entries e CROSS JOIN erased_records t "  # noqa: S608
            f"WHERE {where} AND e.kind = ? AND t.checked_at = e.at AND t.record_id = e.id"
        )
        for segment, place in self._database.rows(sql, [*parameters, kind]):
            by_place[segment, place].is_erased = True


def _where(slices: Sequence[Slice]) -> tuple[str, list[Any]]:
    if len(slices) == 1:
        (part,) = slices
        return (
            "e.segment_id = ? AND e.position >= ? AND e.position < ?",
            [part.segment.id, part.start, part.stop],
        )
    either = " OR ".join(["(e.segment_id = ? AND e.position >= ? AND e.position < ?)"] * len(slices))
    return f"({either})", [value for part in slices for value in (part.segment.id, part.start, part.stop)]


def _leads(part: Part) -> str:
    leads = f't."{part.id[0]}" = e.id'
    return leads if part.at is None else f'{leads} AND t."{part.at}" = e.at'


def content_beside(database: Database) -> Iterator[str]:
    """Yield the ids of records that content lies with and no entry leads to it."""
    same = "e.at = t.checked_at AND e.id = t.record_id"
    for kind, within in ((EntryKind.RECORD, "NOT IN"), (EntryKind.LATE_TRACE, "IN")):
        sql = (
            f"SELECT DISTINCT t.record_id FROM contents t WHERE t.kind {within} {_LATE_CONTENT} AND NOT EXISTS "  # noqa: S608
            f"(SELECT 1 FROM entries e WHERE {same} AND e.kind = '{kind.value}')"
        )
        for (record,) in database.stream(sql):
            yield str(record)


def find_beside(database: Database, part: Part, kind: str) -> Iterator[str]:
    """Yield the ids of rows of *part* that no entry of *kind* leads to, each once for its entry."""
    columns = [f't."{name}"' for name in part.id]
    same = f"e.kind = '{kind}' AND {_leads(part)}"
    sql = (
        f"SELECT DISTINCT {', '.join(columns)} FROM {part.table.name} t "  # noqa: S608
        f"WHERE NOT EXISTS (SELECT 1 FROM entries e WHERE {same})"
    )
    for values in database.stream(sql):
        yield str(values[0])


def set_up(connection: sa.Connection) -> None:
    """Make PostgreSQL take the way through the keys, and its time, for what may be millions of rows."""
    if connection.dialect.name == "postgresql":
        for name in ("statement_timeout", "enable_seqscan", "enable_hashjoin", "enable_mergejoin"):
            value = "0" if name == "statement_timeout" else "off"
            connection.execute(sa.text(f"SET LOCAL {name} = {value}"))
