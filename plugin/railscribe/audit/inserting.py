"""Rows into tables, many at a time: one statement a table, and each value made ready once.

SQLAlchemy's own way costs twice as much as the database does: for every row and column a call for each type that
decorates another. Here a column's type is looked at once, when its table is first met.

Rules

1. A row without a column has no value there. A row with a column that its table does not have is a bug.
2. Values are stored as :mod:`railscribe.audit.tables` says, on both databases.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from railscribe.audit import tables
from railscribe.audit.contents import Row

_Ready = Callable[[Any], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Statement:
    """How rows of one table are inserted into one kind of database."""

    sql: str
    names: tuple[str, ...]
    known: frozenset[str]
    changes: tuple[tuple[int, _Ready], ...]
    """What is done to which value before it is handed over."""

    def values(self, row: Row) -> tuple[Any, ...]:
        """Return *row* as the driver takes it."""
        if not row.keys() <= self.known:
            raise KeyError(*(row.keys() - self.known))
        taken = list(map(row.get, self.names))
        for place, ready in self.changes:
            value = taken[place]
            if value is not None:
                taken[place] = ready(value)
        return tuple(taken)


def insert(connection: sa.Connection, table: sa.Table, rows: Sequence[Row], *, if_new: bool = False) -> None:
    """Insert *rows* into *table*; with *if_new* those that are there already are left as they are."""
    statement = _statement(table, connection.dialect.name, if_new)
    connection.exec_driver_sql(statement.sql, [statement.values(row) for row in rows])


@cache
def _statement(table: sa.Table, database: str, if_new: bool) -> _Statement:  # noqa: FBT001 - a cache's key
    on_sqlite = database == "sqlite"
    dialect = sqlite.dialect() if on_sqlite else postgresql.dialect()
    quote = dialect.identifier_preparer
    names = tuple(column.name for column in table.columns)
    columns = ", ".join(map(quote.quote, names))
    marks = ", ".join(["?" if on_sqlite else "%s"] * len(names))
    sql = f"INSERT INTO {quote.format_table(table)} ({columns}) VALUES ({marks})"  # noqa: S608 - our own names
    kinds = [_ready(column.type, on_sqlite=on_sqlite) for column in table.columns]
    return _Statement(
        sql=f"{sql} ON CONFLICT DO NOTHING" if if_new else sql,
        names=names,
        known=frozenset(names),
        changes=tuple((place, ready) for place, ready in enumerate(kinds) if ready is not None),
    )


def _ready(kind: Any, *, on_sqlite: bool) -> _Ready | None:
    if isinstance(kind, tables.EvidenceText):
        return tables.storable
    if isinstance(kind, tables.UtcDateTime):
        return _sqlite_time if on_sqlite else _utc
    return None  # numbers, flags and bytes go as they are


def _utc(value: datetime) -> datetime:
    return value.astimezone(timezone.utc)


def _sqlite_time(value: datetime) -> str:
    """Return *value* as SQLAlchemy keeps it on SQLite: UTC, to the microsecond, without a zone."""
    return value.astimezone(timezone.utc).isoformat(" ", "microseconds")[:26]
