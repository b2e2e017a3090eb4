"""Ask an export the thirty questions of audit_queries.sql, with DuckDB and without any database.

railscribe audit export export --format parquet
pip install duckdb
python examples/duckdb_questions.py export
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb

QUESTIONS = Path(__file__).with_name("audit_queries.sql")


def open_export(folder: Path) -> duckdb.DuckDBPyConnection:
    """Return a connection to which the export in *folder* looks like the audit database."""
    connection = duckdb.connect()
    connection.execute("SET file_search_path = '" + str(folder.resolve()).replace("'", "''") + "'")
    connection.execute((folder / "views.sql").read_text(encoding="utf-8"))
    return connection


def questions() -> Iterator[tuple[str, str]]:
    """Yield each question and its SELECT."""
    yield from re.findall(r"^-- (\d+\. .*)\n([^;]+;)", QUESTIONS.read_text(encoding="utf-8"), re.MULTILINE)


def ask(connection: duckdb.DuckDBPyConnection, sql: str) -> list[tuple[Any, ...]]:
    """Return the rows of one SELECT."""
    return connection.execute(sql).fetchall()


if __name__ == "__main__":
    with open_export(Path(sys.argv[1])) as export:
        for title, sql in questions():
            rows = ask(export, sql)
            print(f"\n{title}\n  {len(rows)} rows" + "".join(f"\n  {row}" for row in rows[:3]))
