"""Putting a made-up half year into an audit database of this benchmark's own, at the speed of the disk.

``COPY`` on PostgreSQL, ``executemany`` on SQLite, a transaction for some hours of checks; killed, it goes on where it
was. Meanwhile there are no triggers, no foreign keys that are looked up, and no indexes beside primary keys: they are
made when all is in. How to make them lies in a table ``put_aside`` until then, so a killed run loses none.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from made_year import BATCH, COLUMNS, FIRST, MONTHS, Year
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

from railscribe.audit import partitions
from railscribe.audit.database import open_engine, parse_url, writing

_INDEXES = """
SELECT i.relname, pg_get_indexdef(x.indexrelid) FROM pg_index x
JOIN pg_class i ON i.oid = x.indexrelid
WHERE NOT x.indisunique AND NOT i.relispartition AND i.relnamespace = CAST(current_schema() AS regnamespace)
"""


def fill(url: str, checks: int, upto: int, *, bare: bool = True) -> None:
    """Fill the database at *url* to the minute *upto*, from where an earlier run left it.

    *bare* takes indexes away meanwhile, which pays when much comes in.
    """
    parsed = parse_url(url)
    on_sqlite = parsed.drivername == "sqlite"
    year, engine = Year(checks, "" if on_sqlite else "+00"), writing(open_engine(parsed))
    with engine.begin() as connection:
        done = int(
            connection.execute(sa.text("SELECT coalesce(max(number), 0) FROM checkpoints")).scalar_one()
        )
        if not done:
            _make_months(connection)
            _begin(connection, year)
        _put_aside(connection, indexes=bare)
    with _bar() as progress, engine.connect() as connection:
        bar = progress.add_task("minutes", total=upto, completed=done)
        if on_sqlite:
            raw: Any = connection.connection
            for setting in ("foreign_keys=OFF", "synchronous=OFF", "cache_size=-400000", "query_only=OFF"):
                raw.execute(f"PRAGMA {setting}")
        for first in range(done, upto, BATCH):
            last = min(first + BATCH, upto)
            rows = year.batch(first, last)
            with connection.begin():
                if not on_sqlite:
                    connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
                    connection.execute(sa.text("SET LOCAL synchronous_commit = off"))
                    connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
                for table, some in rows.items():
                    _insert(connection, table, some)
            progress.update(bar, completed=last)
        connection.invalidate()  # its settings are nobody else's
    with engine.begin() as connection:
        _put_back(connection)
    engine.dispose()


def analyse(url: str) -> None:
    """Let PostgreSQL look at what it holds, as its autovacuum has done in one in use. Nobody has SQLite do so."""
    if parse_url(url).drivername == "sqlite":
        return
    engine = open_engine(parse_url(url)).execution_options(isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text("SET statement_timeout = 0"))
        connection.exec_driver_sql("VACUUM ANALYZE")
    engine.dispose()


def _bar() -> Progress:
    return Progress(
        "[progress.description]{task.description}", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(), console=Console(stderr=True),
    )  # fmt: skip


def _make_months(connection: sa.Connection) -> None:
    """Make the partitions of the half year where tables are partitioned: months are made from today on."""
    made = set(partitions.months(connection))
    for number in range(MONTHS if made else 0):
        month = partitions.Month(partitions.Month.of(FIRST).number + number)
        if month not in made:
            partitions.make_month(connection, month)


def _begin(connection: sa.Connection, year: Year) -> None:
    if connection.execute(sa.text("SELECT 1 FROM records LIMIT 1")).first():
        raise SystemExit("This database has records already, and is not this benchmark's.")
    known = set()
    for table, row in year.first_rows():
        key = (table.name, *(row[column.name] for column in table.primary_key))
        if key not in known:
            known.add(key)
            connection.execute(sa.insert(table), row)


def _put_aside(connection: sa.Connection, *, indexes: bool) -> None:
    """Take triggers and *indexes* away, and write down how to make them; of PostgreSQL's triggers none fires."""
    connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS put_aside (statement text NOT NULL)")
    found: list[tuple[str, str, str]] = []
    if connection.dialect.name == "sqlite":
        kinds = "'trigger', 'index'" if indexes else "'trigger'"
        query = f"SELECT type, name, sql FROM sqlite_master WHERE type IN ({kinds}) AND sql IS NOT NULL"  # noqa: S608
        found = [(kind, name, sql) for kind, name, sql in connection.exec_driver_sql(query)]
    elif indexes:
        # Of a partitioned table the index is said to be ON ONLY it; made so it would not be its partitions'.
        found = [
            ("index", name, sql.replace(" ON ONLY ", " ON "))
            for name, sql in connection.exec_driver_sql(_INDEXES)
        ]
    for kind, name, sql in found:
        connection.execute(sa.text("INSERT INTO put_aside VALUES (:sql)"), {"sql": sql})
        connection.exec_driver_sql(f"DROP {kind.upper()} {name}")


def _put_back(connection: sa.Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
        connection.execute(sa.text("SET LOCAL maintenance_work_mem = '1GB'"))
    for statement in connection.execute(sa.text("SELECT statement FROM put_aside")).scalars().all():
        connection.execution_options(no_parameters=True).exec_driver_sql(statement)
    connection.exec_driver_sql("DROP TABLE put_aside")


def _insert(connection: sa.Connection, table: str, rows: list[list[Any]]) -> None:
    if not rows:
        return
    names = ", ".join(f'"{name}"' for name in COLUMNS[table])
    raw: Any = connection.connection
    if connection.dialect.name == "postgresql":
        with raw.cursor() as cursor, cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
            copy.write("".join(map(_line, rows)))
        return
    marks = ", ".join("?" * len(COLUMNS[table]))
    raw.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", rows)  # noqa: S608


def _line(row: list[Any]) -> str:
    """Return *row* as COPY takes it; nothing that is made up here needs escaping."""
    return "\t".join("\\N" if value is None else str(value) for value in row) + "\n"
