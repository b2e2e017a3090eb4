"""Rows into tables, many at a time: one statement a table, of values that are ready for it.

SQLAlchemy's own way costs twice as much as the database does: for every row and column a call for each type that
decorates another. Here rows come in canonical form (:mod:`railscribe.audit.stored`), made once for the leaf and the
table, and a column's type is looked at once, when its table is first met.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from railscribe.audit import tables
from railscribe.audit.contents import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class _Statement:
    """How rows of one table are inserted into one kind of database."""

    sql: str
    names: tuple[str, ...]
    times: tuple[int, ...]
    """Where SQLite wants a time in another form."""
    by_column: bool
    """PostgreSQL takes all rows at once, an array a column: a message each costs more than the row."""

    def values(self, row: Row) -> list[Any]:
        """Return *row* as the driver takes it."""
        taken: list[Any] = list(map(row.get, self.names))
        for place in self.times:
            if taken[place] is not None:
                taken[place] = taken[place].replace("T", " ")[:26]
        return taken


def insert(connection: sa.Connection, table: sa.Table, rows: Sequence[Row], *, if_new: bool = False) -> None:
    """Insert *rows*, in canonical form, into *table*; with *if_new* those that are there are left as they are."""
    statement = _statement(table, connection.dialect.name, if_new)
    values = list(map(statement.values, rows))
    if statement.by_column:
        connection.exec_driver_sql(statement.sql, tuple(map(list, zip(*values, strict=True))))
    else:
        connection.exec_driver_sql(statement.sql, list(map(tuple, values)))


@cache
def _statement(table: sa.Table, database: str, if_new: bool) -> _Statement:  # noqa: FBT001 - a cache's key
    on_sqlite = database == "sqlite"
    dialect: sa.Dialect = sqlite.dialect() if on_sqlite else postgresql.dialect()  # type: ignore[no-untyped-call]
    quote = dialect.identifier_preparer
    names = tuple(column.name for column in table.columns)
    columns = ", ".join(map(quote.quote, names))
    if on_sqlite:
        rows = f"VALUES ({', '.join('?' * len(names))})"
    else:
        arrays = ", ".join(f"%s::{column.type.compile(dialect=dialect)}[]" for column in table.columns)
        rows = f"SELECT * FROM unnest({arrays})"  # noqa: S608 - our own names
    sql = f"INSERT INTO {quote.format_table(table)} ({columns}) {rows}"
    are_times = [isinstance(column.type, tables.UtcDateTime) for column in table.columns]
    return _Statement(
        sql=f"{sql} ON CONFLICT DO NOTHING" if if_new else sql,
        names=names,
        times=tuple(place for place, is_time in enumerate(are_times) if is_time and on_sqlite),
        by_column=not on_sqlite,
    )
