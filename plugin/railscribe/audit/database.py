"""Reaching an audit database on SQLite or PostgreSQL, and saying what is wrong when that fails.

Rules

1. Nothing here creates a database file unless asked to; opening one that is missing is an error.
2. A commit is durable: SQLite with ``synchronous=FULL``, PostgreSQL never with ``synchronous_commit=off``.
3. Nothing waits for ever: locks, statements and connecting have time-outs.
4. Every foreign exception is translated here, once. Messages name the place without its password, and never
   carry a parameter of a statement. What may succeed later is a :class:`DatabaseUnavailableError`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.engine import URL, make_url

from railscribe.errors import (
    AuditError,
    DatabaseUnavailableError,
    MissingExtraError,
    ReadOnlyDatabaseError,
    SchemaRevisionError,
    SettingsError,
)

_CREATE = "Create it: railscribe db upgrade"
_WRITES = "railscribe_writes"
_SQLITE_WAIT_S = 5.0
_RIGHTS = {
    "42501": ("this login may not do that", "docs/access.md says which role may."),
    "0LP01": ("a role sees all tenants, or passes row-level security by", "Choose one that does not."),
}
"""What PostgreSQL says of rights, by code, in words and with what to do."""
_POSTGRESQL_SETTINGS = """
SELECT set_config('lock_timeout', '5s', false), set_config('statement_timeout', '30s', false),
       CASE WHEN current_setting('synchronous_commit') = 'off'
            THEN set_config('synchronous_commit', 'on', false) END
"""


def parse_url(url: str) -> URL:
    """Return *url* as one that the store can use.

    Raises:
        SettingsError: it is no database URL, or one of a database that the store does not run on.
    """
    example = "Such as sqlite:///railscribe.db or postgresql+psycopg://user@host/audit."
    try:
        parsed = make_url(url)
    except (exc.ArgumentError, ValueError):
        raise SettingsError(
            "The database URL cannot be read.", hint=example
        ) from None  # it may hold a password
    backend = parsed.drivername.partition("+")[0]
    if backend in ("postgres", "postgresql"):
        return parsed.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise SettingsError(f"The audit store does not run on {backend}.", hint=example)
    if parsed.database in (None, "", ":memory:") or parsed.query.get("mode") == "memory":
        raise SettingsError("An in-memory database keeps no records.", hint=example)
    return parsed.set(drivername="sqlite")


def place(url: URL) -> str:
    """Return where *url* points, without user, password or options."""
    if url.drivername == "sqlite":
        return str(_file(url))
    host = url.host or str(url.query.get("host", "localhost"))
    return f"{host}{f':{url.port}' if url.port else ''}/{url.database or ''}"


def open_engine(url: URL, *, create: bool = False) -> sa.Engine:
    """Return an engine for *url*; connects to nothing yet. *create* lets it make the SQLite file.

    Raises:
        AuditError: the SQLite file does not exist.
        MissingExtraError: the PostgreSQL driver is not installed.
    """
    if url.drivername == "sqlite":
        return _sqlite(url, create=create)
    try:
        engine = sa.create_engine(
            url,
            hide_parameters=True,
            pool_pre_ping=True,
            connect_args={} if "connect_timeout" in url.query else {"connect_timeout": 5},
        )
    except ImportError as error:
        raise MissingExtraError(
            "PostgreSQL needs the psycopg driver.", hint="Install it: pip install 'railscribe[postgres]'"
        ) from error
    event.listen(engine, "connect", _prepare_postgresql)
    return engine


def writing(engine: sa.Engine) -> sa.Engine:
    """Return *engine* with transactions that take SQLite's write lock as they begin.

    A SQLite transaction that reads first and writes later fails at once, without waiting, when another has
    written in between.
    """
    return engine.execution_options(**{_WRITES: True})


def reading(engine: sa.Engine) -> sa.Engine:
    """Return *engine* with transactions that can change nothing."""
    return engine.execution_options(**{_WRITES: False}, postgresql_readonly=True)


@contextmanager
def translated(url: URL, doing: str) -> Iterator[None]:
    """Turn what the driver raises inside the block into an :class:`AuditError` about *doing*.

    Raises:
        AuditError: what went wrong, in words, with the original as its cause.
    """
    try:
        yield
    except exc.SQLAlchemyError as error:
        raise _explain(error, url, doing) from error


@contextmanager
def pipelined(connection: sa.Connection) -> Iterator[None]:
    """Send the statements inside one after the other, and hear of them together at the end, on PostgreSQL.

    Each statement would else wait for the answer to the one before. Nothing that is read inside is there before the
    end, so read nothing; what failed is raised at the end at the latest.

    Raises:
        sa.exc.DBAPIError: a statement failed; those after it did nothing.
    """
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name != "postgresql" or not _can_pipeline():
        yield
        return
    foreign = connection.dialect.loaded_dbapi.Error
    try:
        with driver.pipeline():
            yield
    except foreign as error:  # the driver's own: SQLAlchemy was not asked
        lost = connection.dialect.is_disconnect(error, driver, None)
        raise exc.DBAPIError.instance(
            None, None, error, foreign, connection_invalidated=lost, dialect=connection.dialect
        ) from error


@cache
def _can_pipeline() -> bool:
    import psycopg

    return psycopg.Pipeline.is_supported()  # libpq 14


def missing(url: URL) -> SchemaRevisionError:
    """Return the error about a database that does not exist."""
    return SchemaRevisionError(f"There is no audit database at {place(url)}.", hint=_CREATE)


def _explain(error: exc.SQLAlchemyError, url: URL, doing: str) -> AuditError:
    original = getattr(error, "orig", None)
    # SQLite names its errors in words alone before Python 3.11; PostgreSQL by code.
    words, code = str(original).lower(), str(getattr(original, "sqlstate", None) or "")
    where = place(url)
    if "readonly" in words or "during recovery" in words or code == "25006":
        return ReadOnlyDatabaseError(
            f"{doing}: the audit database at {where} is read-only.",
            hint="Check its permissions, and that it is no replica.",
        )
    if "is locked" in words or code in ("55P03", "57014"):
        return DatabaseUnavailableError(
            f"{doing}: the audit database at {where} is locked by another process.",
            hint="Try again, or end the other.",
        )
    if "is full" in words or code == "53100":
        return DatabaseUnavailableError(f"{doing}: the disk under the audit database at {where} is full.")
    if "append-only" in words:
        return AuditError(f"{doing}: records are append-only; they cannot be changed or deleted.")
    if "not a database" in words:
        return DatabaseUnavailableError(f"{doing}: {where} is not a SQLite database.")
    if "unable to open" in words:
        return DatabaseUnavailableError(
            f"{doing}: cannot open {where}.", hint="Check that its folder exists and may be written to."
        )
    if code in _RIGHTS:
        said, hint = _RIGHTS[code]
        return AuditError(f"{doing}: {said} at {where}.", hint=hint)
    if code in ("3D000",):
        return DatabaseUnavailableError(
            f"{doing}: there is no database at {where}.", hint="Create it: createdb"
        )
    if isinstance(error, exc.OperationalError) and url.drivername != "sqlite" and not code:
        return DatabaseUnavailableError(
            f"{doing}: cannot reach PostgreSQL at {where}.", hint="Check the address, and that it runs."
        )
    kind = DatabaseUnavailableError if _is_away(error, words, code) else AuditError
    return kind(
        f"{doing}: the audit database at {where} failed ({type(original or error).__name__} {code}".rstrip()
        + ")."
    )


# Connections, resources, an operator's doing, the system's own errors, the server's; deadlocks and the like.
_AWAY = ("08", "53", "57", "58", "XX", "40")


def _is_away(error: exc.SQLAlchemyError, words: str, code: str) -> bool:
    """Return whether the database failed, and not what was asked of it: the same may succeed later."""
    if isinstance(error, exc.DBAPIError) and error.connection_invalidated:
        return True
    if code:
        return code.startswith(_AWAY)
    if isinstance(error, (exc.OperationalError, exc.InterfaceError)):
        return "no such" not in words and "has no column" not in words
    return isinstance(error, exc.TimeoutError) or "malformed" in words or "disk i/o" in words


def _file(url: URL) -> Path:
    """Return the path of a SQLite URL, also of the ``file:`` kind."""
    name = str(url.database)
    return Path(unquote(name.removeprefix("file:")) if name.startswith("file:") else name)


def _sqlite(url: URL, *, create: bool) -> sa.Engine:
    path = _file(url)
    if not create and not path.exists():
        raise missing(url)
    # As a URI, because only a URI can say that a missing file is not to be made (rule 1).
    mode = url.query.get("mode") or ("rwc" if create else "rw")
    query = {**url.query, "mode": mode, "uri": "true"}
    query.setdefault("timeout", str(_SQLITE_WAIT_S))
    engine = sa.create_engine(
        url.set(database=f"file:{quote(str(path.absolute()))}", query=query), hide_parameters=True
    )
    event.listen(engine, "connect", _prepare_sqlite)
    if create:
        if mode == "rwc":
            _make_private(path)
        event.listen(engine, "connect", _use_wal)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _make_private(path: Path) -> None:
    """Make the file at *path*, where there is none, its owner's alone: it will hold what people said.

    SQLite gives its log the same rights. Where none can be made SQLite will say so.
    """
    with suppress(OSError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def _prepare_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # the driver's own BEGIN comes too late and leaves DDL outside
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _use_wal(connection: Any, _: object) -> None:
    connection.execute("PRAGMA journal_mode=WAL")  # stays with the file: readers and one writer at a time


def _begin_sqlite(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql(
        f"PRAGMA query_only={'OFF' if writes else 'ON'}"
    )  # connections are pooled: say it each time
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _prepare_postgresql(connection: Any, _: object) -> None:
    connection.autocommit = True  # a setting made in a transaction is undone with it
    connection.execute(_POSTGRESQL_SETTINGS)
    connection.autocommit = False
