"""The forms in which an export keeps rows: JSON Lines, CSV, Parquet. Rows are canonical, without absent columns.

Rules

1. What was written is read back as it was, to the last bit, in every form: an export is verified from its own rows.
2. Memory does not grow with the number of rows.
3. CSV is opened by spreadsheets, which run what begins with ``=``, ``+``, ``-`` or ``@``: such a text, and one that
   begins with a quote mark, a tab or a line's end, has ``'`` before it. No value is ``\\N``, a text that looks so has
   ``'`` before it.
4. Parquet of what belongs to records lies in folders by day and tenant, as Hive names them, so DuckDB, Spark and Trino
   leave out what a question is not about. The tenant is in the folder's name alone.
"""

from __future__ import annotations

import csv
import json
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote, unquote

import sqlalchemy as sa

from railscribe.audit import tables
from railscribe.errors import MissingExtraError

Row = dict[str, Any]

IN_MEMORY = 50_000
"""Rows that wait for their Parquet file, at most."""
NO_VALUE = "\\N"
_DANGEROUS = ("=", "+", "-", "@", "'", "\t", "\r", "\n")
_NO_TENANT = "__HIVE_DEFAULT_PARTITION__"


class Format(str, Enum):
    """In which form rows are written."""

    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


class Sink(ABC):
    """Takes the rows of one table after the other, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True)

    @abstractmethod
    def begin(self, table: sa.Table, *, of_records: bool) -> None:
        """Go on to *table*, whose rows belong to records or do not."""

    @abstractmethod
    def write(self, row: Row, tenant: str | None) -> None:
        """Write one row of the table."""

    @abstractmethod
    def end(self) -> None:
        """Be done with the table."""


def sink(form: Format, folder: Path) -> Sink:
    """Return what writes rows in *form* into *folder*, which is made.

    Raises:
        MissingExtraError: Parquet, and pyarrow is not installed.
    """
    sinks: dict[Format, Callable[[Path], Sink]] = {
        Format.JSONL: _JsonLines,
        Format.CSV: _Csv,
        Format.PARQUET: _Parquet,
    }
    return sinks[form](folder)


def read(form: Format, folder: Path, table: sa.Table) -> Iterator[Row]:
    """Yield the rows of *table* that lie in *folder* in *form* (rule 1).

    Raises:
        ValueError: a row is in no form that was ever written.
        MissingExtraError: Parquet, and pyarrow is not installed.
    """
    readers = {Format.JSONL: _read_json_lines, Format.CSV: _read_csv, Format.PARQUET: _read_parquet}
    return readers[form](folder, table)


class _Text(Sink):
    suffix: str

    def begin(self, table: sa.Table, *, of_records: bool) -> None:
        del of_records
        self._table = table
        path = self._folder / f"{table.name}.{self.suffix}"
        self._file: TextIO = path.open("w", encoding="utf-8", newline="")

    def end(self) -> None:
        self._file.close()


class _JsonLines(_Text):
    suffix = "jsonl"

    def write(self, row: Row, tenant: str | None) -> None:
        del tenant
        self._file.write(_line(row))


def _line(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False) + "\n"


def _read_json_lines(folder: Path, table: sa.Table) -> Iterator[Row]:
    path = folder / f"{table.name}.jsonl"
    if path.exists():
        with path.open(encoding="utf-8", newline="\n") as lines:
            for line in lines:
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError("a row is a JSON object")  # noqa: TRY004 - of a value, not of a type
                yield row


class _Csv(_Text):
    suffix = "csv"

    def begin(self, table: sa.Table, *, of_records: bool) -> None:
        super().begin(table, of_records=of_records)
        self._names = table.columns.keys()
        self._writer = csv.writer(self._file, lineterminator="\r\n")
        self._writer.writerow(self._names)

    def write(self, row: Row, tenant: str | None) -> None:
        del tenant
        self._writer.writerow([_cell(row.get(name)) for name in self._names])


def _cell(value: Any) -> str:
    """Return *value* as a cell (rule 3)."""
    if value is None:
        return NO_VALUE
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        return repr(value)
    return f"'{value}" if value.startswith((*_DANGEROUS, NO_VALUE)) else value


def _read_csv(folder: Path, table: sa.Table) -> Iterator[Row]:
    path = folder / f"{table.name}.csv"
    if not path.exists():
        return
    csv.field_size_limit(2**31 - 1)
    with path.open(encoding="utf-8", newline="") as file:
        lines = csv.reader(file)
        names = next(lines, [])
        if not set(names) <= set(table.columns.keys()):
            raise ValueError("not the columns of its table")
        columns = [table.columns[name] for name in names]
        for cells in lines:
            named = zip(names, columns, cells, strict=True)
            yield {name: _value(cell, column) for name, column, cell in named if cell != NO_VALUE}


def _value(cell: str, column: sa.Column[Any]) -> Any:
    if isinstance(column.type, sa.Boolean):
        return {"true": True, "false": False}[cell]
    if isinstance(column.type, sa.Double):
        return float(cell)
    if isinstance(column.type, sa.Integer):
        return int(cell)
    return cell.removeprefix("'")


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError(
            "Parquet needs pyarrow.", hint="Install it: pip install 'railscribe[parquet]'"
        ) from error
    return pyarrow


class _Parquet(Sink):
    def __init__(self, folder: Path) -> None:
        self._arrow = _pyarrow()
        super().__init__(folder)

    def begin(self, table: sa.Table, *, of_records: bool) -> None:
        self._table, self._of_records = table, of_records
        self._waiting: dict[Path, list[Row]] = defaultdict(list)
        self._count = 0
        self._parts: dict[Path, int] = defaultdict(int)
        self._names = [
            column.name for column in table.columns if not (of_records and column.name == "tenant")
        ]
        types = {name: _arrow_type(self._arrow, table.columns[name]) for name in self._names}
        self._schema = self._arrow.schema(list(types.items()))
        self._times = [
            name for name in self._names if isinstance(table.columns[name].type, tables.UtcDateTime)
        ]

    def write(self, row: Row, tenant: str | None) -> None:
        folder = self._folder / self._table.name
        if self._of_records:
            folder = folder / f"day={row['checked_at'][:10]}" / f"tenant={_escaped(tenant or '')}"
        for name in self._times:
            if name in row:
                row[name] = datetime.fromisoformat(row[name][:-1] + "+00:00")
        self._waiting[folder].append(row)
        self._count += 1
        if self._count >= IN_MEMORY:
            self._flush()

    def end(self) -> None:
        self._flush()

    def _flush(self) -> None:
        for folder, rows in self._waiting.items():
            folder.mkdir(parents=True, exist_ok=True)
            columns = [
                self._arrow.array([row.get(field.name) for row in rows], type=field.type)
                for field in self._schema
            ]
            made = self._arrow.Table.from_arrays(columns, schema=self._schema)
            path = folder / f"part-{self._parts[folder]:05}.parquet"
            self._arrow.parquet.write_table(made, path, compression="zstd")
            self._parts[folder] += 1
        self._waiting.clear()
        self._count = 0


def _arrow_type(arrow: Any, column: sa.Column[Any]) -> Any:
    if isinstance(column.type, tables.UtcDateTime):
        return arrow.timestamp("us", tz="UTC")
    if isinstance(column.type, sa.Boolean):
        return arrow.bool_()
    if isinstance(column.type, sa.Double):
        return arrow.float64()
    return arrow.int64() if isinstance(column.type, sa.Integer) else arrow.string()


def _escaped(tenant: str) -> str:
    """Return *tenant* as the value of a folder; an empty one as Hive says it."""
    return quote(tenant, safe="") if tenant else _NO_TENANT


def _read_parquet(folder: Path, table: sa.Table) -> Iterator[Row]:
    arrow = _pyarrow()
    for path in sorted((folder / table.name).rglob("*.parquet")):
        extra: Mapping[str, str] = {}
        if path.parent.name.startswith("tenant=") and "tenant" in table.columns:
            value = path.parent.name.removeprefix("tenant=")
            extra = {"tenant": "" if value == _NO_TENANT else unquote(value)}
        with arrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1000):
                for row in batch.to_pylist():
                    told = {name: _told(value) for name, value in row.items() if value is not None}
                    yield {**told, **extra}


def _told(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
    return value
