"""An entry's rows as text, from what is to be stored and from what lies in a database.

Rules

1. From both sides the same row gives the same text (``chain/canonical.py``), whichever database it lies in.
2. What is read is taken as it lies there, past the types that would make it fit: a flag that is neither 0 nor 1, or a
   time in another form, does not pass for the value it resembles.
3. Content is no part of an entry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from functools import cache
from typing import Any

import sqlalchemy as sa

from railscribe.audit import tables
from railscribe.audit.chain.canonical import entry_bytes
from railscribe.audit.contents import Row, iso
from railscribe.audit.rows import Rows

_FLAGS = {0: False, 1: True}


Stored = Mapping[sa.Table, Sequence[dict[str, Any]]]
"""An entry's own rows as they will be stored, without the columns that have no value."""


def to_store(rows: Rows) -> Stored:
    """Return the own rows of *rows* in canonical form: once, for those who attest them and those who insert them."""
    return {table: [row_to_store(table, row) for row in some] for table, some in rows.own.items() if some}


def row_to_store(table: sa.Table, row: Row) -> dict[str, Any]:
    """Return *row* in canonical form.

    Raises:
        KeyError: *table* has no such column.
    """
    prepare = _prepared(table)
    return {name: prepare[name](value) for name, value in row.items() if value is not None}


def bytes_of(rows: Rows, stored: Stored | None = None) -> bytes:
    """Return the bytes of the entry *rows*, whose rows in canonical form may be at hand.

    Raises:
        ValueError: a value is no finite number.
    """
    stored = to_store(rows) if stored is None else stored
    own = {table.name: some for table, some in stored.items() if table is not tables.contents}
    return entry_bytes(rows.kind.value, own)


@cache
def _prepared(table: sa.Table) -> Mapping[str, Callable[[Any], Any]]:
    """Return what makes of a value of each column the one that will be read back."""
    return {column.name: _preparing(column) for column in table.columns}


def _preparing(column: sa.Column[Any]) -> Callable[[Any], Any]:
    if isinstance(column.type, tables.EvidenceText):
        return tables.storable
    if isinstance(column.type, tables.UtcDateTime):
        return _iso
    if isinstance(column.type, sa.Double):
        return _real
    return bool if isinstance(column.type, sa.Boolean) else int


def _iso(value: datetime) -> str:
    return iso(value.astimezone(timezone.utc))


def _real(value: float) -> float:
    return float(value) + 0.0  # SQLite keeps no sign of zero


class Reader:
    """Reads rows of one table, as they lie in one kind of database."""

    def __init__(self, table: sa.Table, *, on_sqlite: bool) -> None:
        self.table = table
        self.names = tuple(sorted(column.name for column in table.columns))
        """The columns in the order in which canonical bytes have them, which spares sorting each row."""
        self._on_sqlite = on_sqlite
        self._changes = [
            (place, change)
            for place, name in enumerate(self.names)
            if (change := self._change(table.columns[name])) is not None
        ]

    def selection(self, alias: str) -> str:
        """Return the columns for a SELECT from the table as *alias*."""
        return ", ".join(self._expression(self.table.columns[name], alias) for name in self.names)

    def row(self, values: Sequence[Any]) -> dict[str, Any]:
        """Return the row that was read as *values*, in canonical form.

        Raises:
            ValueError: one of them is in no form that was ever stored (rule 2).
        """
        taken = list(values)
        for place, change in self._changes:
            if taken[place] is not None:
                taken[place] = change(taken[place])
        return {name: value for name, value in zip(self.names, taken, strict=True) if value is not None}

    def _expression(self, column: sa.Column[Any], alias: str) -> str:
        name = f'{alias}."{column.name}"'
        if isinstance(column.type, tables.UtcDateTime) and not self._on_sqlite:
            return utc_text(name)
        return name

    def _change(self, column: sa.Column[Any]) -> Callable[[Any], Any] | None:
        if isinstance(column.type, sa.Double):
            return _real
        if self._on_sqlite and isinstance(column.type, tables.UtcDateTime):
            return time_of_sqlite
        if self._on_sqlite and isinstance(column.type, sa.Boolean):
            return _flag_of_sqlite
        return None


def utc_text(expression: str) -> str:
    """Return the SQL that gives a time of PostgreSQL's in canonical form."""
    return f"""to_char({expression} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""


def time_of_sqlite(value: Any) -> str:
    """Return a time as SQLite holds it in canonical form.

    Raises:
        ValueError: it is not in the form that we store.
    """
    if not isinstance(value, str) or len(value) != 26 or value[10] != " " or not value.isascii():
        raise ValueError("not a time as it is stored")
    return f"{value[:10]}T{value[11:]}Z"


def time_for(value: str, *, on_sqlite: bool) -> str:
    """Return a canonical time as a parameter of SQL."""
    return f"{value[:10]} {value[11:-1]}" if on_sqlite else value


def _flag_of_sqlite(value: Any) -> bool:
    if type(value) is not int or value not in _FLAGS:
        raise ValueError("not a flag as it is stored")
    return _FLAGS[value]
