"""Where the evidence of an entry lies, by the entry's kind, and how it is read as canonical bytes.

Rules

1. A kind has one table with one row for each of its entries, which the entry's time and id lead to, and perhaps
   tables with any number of rows beside it. A kind that comes later takes its line in ``KINDS``.
2. An id is the one column's text, or a JSON list where there are several.
3. Nothing is read through types that make values fit (:mod:`railscribe.audit.stored`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from railscribe.audit import tables
from railscribe.audit.chain.canonical import entry_bytes
from railscribe.audit.rows import EntryKind
from railscribe.audit.stored import Reader, time_for, time_of_sqlite, utc_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A table of a kind, and its columns that lead there from an entry."""

    table: sa.Table
    at: str | None
    """The column that holds the entry's time; ``None`` where the id alone leads there."""
    id: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """The tables of one kind of entry, the one with the one row first."""

    parts: tuple[Part, ...]

    @property
    def head(self) -> Part:
        """The part with one row for each entry."""
        return self.parts[0]


def _of_record(*names: sa.Table) -> tuple[Part, ...]:
    return tuple(Part(table=table, at="checked_at", id=("record_id",)) for table in names)


def _named_by(column: str, *names: sa.Table) -> tuple[Part, ...]:
    return tuple(Part(table=table, at=None, id=(column,)) for table in names)


KINDS: Mapping[str, Kind] = {
    EntryKind.RECORD.value: Kind(
        parts=(
            Part(table=tables.records, at="checked_at", id=("id",)),
            *_of_record(
                *(tables.record_categories, tables.record_notes, tables.record_images, tables.record_pieces),
                tables.record_kept,
            ),
        )
    ),
    EntryKind.LATE_TRACE.value: Kind(parts=_of_record(tables.late_traces, tables.late_kept)),
    EntryKind.PROBE.value: Kind(
        parts=(Part(table=tables.engine_probes, at="probed_at", id=("engine_digest", "probe")),)
    ),
    EntryKind.POLICY_REGISTRATION.value: Kind(
        parts=(
            Part(table=tables.policy_registrations, at="registered_at", id=("digest",)),
            *_named_by(
                "registration_digest",
                tables.policy_sources,
                tables.policy_clauses,
                tables.policy_diagnostics,
                tables.policy_allowances,
            ),
        )
    ),
    EntryKind.POLICY_MOVE.value: Kind(
        parts=(Part(table=tables.policy_moves, at="moved_at", id=("name", "tag", "tenant", "number")),)
    ),
    EntryKind.REVIEW.value: Kind(
        parts=(Part(table=tables.reviews, at="reviewed_at", id=("record_id", "number")),)
    ),
    EntryKind.ERASURE.value: Kind(
        parts=(
            Part(table=tables.erasures, at="erased_at", id=("id",)),
            *_named_by("erasure_id", tables.erased_records, tables.erased_keys),
        )
    ),
    EntryKind.HOLD.value: Kind(parts=(Part(table=tables.holds, at="held_at", id=("id",)),)),
    EntryKind.HOLD_RELEASE.value: Kind(
        parts=(Part(table=tables.hold_releases, at="released_at", id=("hold_id",)),)
    ),
    EntryKind.PRUNE.value: Kind(
        parts=(
            Part(table=tables.prunes, at="pruned_at", id=("id",)),
            *_named_by("prune_id", tables.pruned_segments, tables.pruned_entries),
        )
    ),
    EntryKind.GAP.value: Kind(parts=(Part(table=tables.gaps, at="at", id=("id",)),)),
}

RowsByTable = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What leads to an entry's evidence."""

    kind: str
    at: str
    """In canonical form."""
    id: str


class Database:
    """Reads past SQLAlchemy's types, in the transaction of a connection."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection
        self.on_sqlite = connection.dialect.name == "sqlite"
        self._raw: Any = connection.connection
        self._readers: dict[sa.Table, Reader] = {}
        self._cursors = 0

    def reader(self, table: sa.Table) -> Reader:
        """Return the reader of *table*."""
        if table not in self._readers:
            self._readers[table] = Reader(table, on_sqlite=self.on_sqlite)
        return self._readers[table]

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return what the SELECT *sql* gives, its parameters written ``?``."""
        with self._translated():
            cursor = self._raw.cursor()
            try:
                cursor.execute(self._native(sql), tuple(parameters))
                return list(cursor.fetchall())
            except UnicodeEncodeError:  # asked for what was read as no UTF-8, which nothing is equal to
                return []
            except self.connection.dialect.loaded_dbapi.OperationalError as error:
                if "decode" not in str(error):
                    raise
                with self._tolerant():
                    return list(cursor.execute(sql, tuple(parameters)).fetchall())
            finally:
                cursor.close()

    def stream(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """Yield what the SELECT *sql* gives, a thousand rows in memory at a time."""
        self._cursors += 1
        with self._translated():
            cursor = (
                self._raw.cursor() if self.on_sqlite else self._raw.cursor(name=f"railscribe_{self._cursors}")
            )
            try:
                cursor.execute(self._native(sql), tuple(parameters))
                while some := self._next(cursor):
                    yield from some
            finally:
                cursor.close()

    def _next(self, cursor: Any) -> list[tuple[Any, ...]]:
        if not self.on_sqlite:
            return list(cursor.fetchmany(1000))
        with self._tolerant():
            return list(cursor.fetchmany(1000))

    @contextmanager
    def _tolerant(self) -> Iterator[None]:
        """Let SQLite read what somebody put there as text and is no UTF-8, as text that was never hashed."""
        driver = self._raw.driver_connection
        driver.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
        try:
            yield
        finally:
            driver.text_factory = str

    def time(self, expression: str) -> str:
        """Return the SQL for a time, to be read with :meth:`read_time`."""
        return expression if self.on_sqlite else utc_text(expression)

    def read_time(self, value: Any) -> str:
        """Return a time that was read, in canonical form.

        Raises:
            ValueError: it is in no form that was ever stored.
        """
        return time_of_sqlite(value) if self.on_sqlite else str(value)

    def time_or_raw(self, value: Any) -> str:
        """Return a time that was read in canonical form; one that is in no form of ours as it lies there."""
        try:
            return self.read_time(value)
        except ValueError:
            return str(value)

    def of_entry(self, key: Key) -> RowsByTable:
        """Return the rows of the evidence of one entry, by table.

        Raises:
            ValueError: the key leads nowhere, or a row is in no form that was ever stored.
        """
        kind = KINDS.get(key.kind)
        if kind is None:
            raise ValueError("no known kind")
        found: RowsByTable = {}
        for part in kind.parts:
            reader = self.reader(part.table)
            where = [f't."{name}" = ?' for name in part.id]
            parameters: list[Any] = list(id_parts(key.id, len(part.id)))
            if part.at is not None:
                where.append(f't."{part.at}" = ?')
                parameters.append(time_for(key.at, on_sqlite=self.on_sqlite))
            sql = f"SELECT {reader.selection('t')} FROM {part.table.name} t WHERE {' AND '.join(where)}"  # noqa: S608
            found[part.table.name] = [reader.row(row) for row in self.rows(sql, parameters)]
        if not found[kind.head.table.name]:
            raise ValueError("no evidence")
        return found

    def has_entry(self, key: Key) -> bool:
        """Return whether there is an entry with *key*."""
        sql = "SELECT 1 FROM entries WHERE at = ? AND kind = ? AND id = ?"
        at = time_for(key.at, on_sqlite=self.on_sqlite)
        return bool(self.rows(sql, (at, key.kind, key.id)))

    def _native(self, sql: str) -> str:
        return sql if self.on_sqlite else sql.replace("%", "%%").replace("?", "%s")

    def _translated(self) -> Any:
        return _errors_of(self.connection)


def without_entry(database: Database, kinds: Sequence[str] = tuple(KINDS), *, limit: int) -> Iterator[Key]:
    """Yield the keys of up to *limit* pieces of evidence of each of *kinds* that no entry attests, by time."""
    for name in kinds:
        head = KINDS[name].head
        same = f"e.at = t.{head.at} AND e.kind = '{name}'"
        if len(head.id) == 1:  # else the id is put together here
            same += f' AND e.id = t."{head.id[0]}"'
        columns = ", ".join([database.time(f"t.{head.at}"), *(f't."{column}"' for column in head.id)])
        sql = f"SELECT {columns} FROM {head.table.name} t"  # noqa: S608
        if len(head.id) == 1:
            sql += f" WHERE NOT EXISTS (SELECT 1 FROM entries e WHERE {same})"  # noqa: S608
        found = 0
        for at, *values in database.stream(f"{sql} ORDER BY t.{head.at}"):
            key = Key(kind=name, at=database.time_or_raw(at), id=id_stored(values))
            if len(head.id) > 1 and database.has_entry(key):
                continue
            yield key
            found += 1
            if found == limit:
                break


def id_stored(values: Sequence[Any]) -> str:
    """Return the id of an entry whose evidence has *values*, as they were read, for its key (rule 2)."""
    return str(values[0]) if len(values) == 1 else json.dumps(list(values))


def id_parts(entry_id: str, count: int) -> Sequence[Any]:
    """Return what an entry's id names in *count* columns (rule 2).

    Raises:
        ValueError: it names something else.
    """
    if count == 1:
        return [entry_id]
    parts = json.loads(entry_id)
    if (
        not isinstance(parts, list)
        or len(parts) != count
        or not all(isinstance(part, (str, int)) for part in parts)
    ):
        raise ValueError("not the id of such an entry")
    return parts


def bytes_of_rows(kind: str, rows: RowsByTable) -> bytes:
    """Return the bytes of the entry that *rows* are the evidence of.

    Raises:
        ValueError: a value is in no form that was ever stored.
    """
    try:
        return entry_bytes(kind, rows)
    except TypeError:
        raise ValueError("not a value as it is stored") from None


class _errors_of:  # noqa: N801 - a context manager
    """Turns a driver's errors into SQLAlchemy's, as its own cursors would."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        dbapi = self._connection.dialect.loaded_dbapi
        if isinstance(error, dbapi.Error):
            raise sa.exc.DBAPIError.instance("", None, error, dbapi.Error, hide_parameters=True) from error
