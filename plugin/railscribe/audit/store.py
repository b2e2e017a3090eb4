"""The audit store: records go in once, and come out as rows and answers.

    with AuditStore.open("sqlite:///railscribe.db") as store:
        store.append(record)
        print(store.records(limit=1)[0]["outcome"])

Rules

1. ``append`` returns when the record is durable: committed, and flushed to the disk by the database.
2. A record is appended whole or not at all.
3. Opening checks the revision. It never creates a database and never upgrades one.
4. Every method may be called from any thread. None is asynchronous: await them on a thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime, timezone
from decimal import Decimal
from threading import Lock
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL
from typing_extensions import Self

from railscribe.audit.database import open_engine, parse_url, reading, translated, writing
from railscribe.audit.keeping import Keeping, find_key
from railscribe.audit.reading import find, latest_probes, list_records, whole, whose
from railscribe.audit.revision import require_head
from railscribe.audit.rows import Rows, late_rows, probe_rows, rows_of
from railscribe.errors import AuditError, UsageError
from railscribe.values import EngineInfo, Identity, LateTrace, Outcome, Probe, Record

_READING = "Reading records"
KEEP_CHARS = 100_000
"""Of each text this much is kept; evidence covers the whole."""


class AuditStore:
    """Keeps records in one audit database; safe to use from several threads."""

    def __init__(
        self, engine: sa.Engine, url: URL, *, keeping: Keeping, keep_chars: int, keep_images: bool
    ) -> None:
        self._engine = engine
        self._url = url
        self._keeping = keeping
        self._keep_chars = keep_chars
        self._keep_images = keep_images
        self._known: set[tuple[str, str]] = set()
        """Shared rows known to be committed: they cannot be changed or deleted, so it stays true."""
        # SQLite has one writer, and those that wait for it sleep and retry by chance. Within a process, a
        # lock wakes the next one at once.
        self._turn: AbstractContextManager[object] = (
            Lock() if engine.dialect.name == "sqlite" else nullcontext()
        )

    @classmethod
    def open(
        cls,
        url: str,
        *,
        retention_class: str = "default",
        keep_chars: int = KEEP_CHARS,
        keep_images: bool = False,
        keeping: Keeping | None = None,
    ) -> Self:
        """Open the audit database at *url*, which must exist at the right revision (rule 3).

        Raises:
            SchemaRevisionError: it does not exist or is at another revision; the hint is the command to run.
            AuditError: it cannot be reached or read.
            SettingsError: *url* is no URL of a database that the store runs on.
            MissingExtraError: the PostgreSQL driver is not installed.
        """
        parsed = parse_url(url)
        engine = open_engine(parsed)
        try:
            with translated(parsed, "Opening the store"), reading(engine).begin() as connection:
                require_head(connection, parsed)
        except BaseException:
            engine.dispose()
            raise
        return cls(
            engine,
            parsed,
            keeping=keeping or Keeping(retention_class=retention_class),
            keep_chars=keep_chars,
            keep_images=keep_images,
        )

    def append(self, record: Record) -> None:
        """Make *record* durable (rules 1 and 2).

        Raises:
            AuditError: it could not be made durable; nothing of it was kept.
        """
        self.append_rows([self._rows_of(record)], "Appending a record")

    def _rows_of(self, record: Record) -> Rows:
        policy = record.rendering.policy_name
        return rows_of(
            record,
            retention_class=self._keeping.class_for(record.identity.tenant, policy),
            keep_chars=self._keep_chars,
            keep_images=self._keep_images,
            treatment=self._keeping.treatment(record.identity, policy, record.id, self._find_key),
        )

    def _late_rows_of(self, late: LateTrace) -> Rows:
        identity, policy = late.identity, late.policy
        if not self._keeping.asks_whose:
            identity, policy = identity or Identity(), ""
        elif identity is None or policy is None:
            with self.transaction(_READING) as connection:
                identity, policy = whose(connection, (late.checked_at, late.record_id))
        treatment = self._keeping.treatment(identity, policy, late.record_id, self._find_key, is_late=True)
        return late_rows(late, keep_chars=self._keep_chars, treatment=treatment)

    def _find_key(self, tenant: str, subject: str | None, record_id: str | None) -> dict[str, Any] | None:
        with self.transaction("Looking for a content key") as connection:
            return find_key(connection, tenant, subject, record_id)

    def append_late_trace(self, late: LateTrace) -> None:
        """Make durable what became of a record's deferred reasoning, once for each record.

        Raises:
            AuditError: it could not be made durable; nothing of it was kept.
        """
        self.append_rows([self._late_rows_of(late)], "Appending a late trace")

    def append_probes(self, probes: Iterable[Probe]) -> None:
        """Make *probes* durable, all or none.

        Raises:
            AuditError: they could not be made durable; none was kept.
        """
        self.append_rows([probe_rows(probe) for probe in probes], "Appending probes")

    def probes(self, engine: EngineInfo, address: str | None) -> list[Probe]:
        """Return the latest probe of each name that was made of *engine* at *address*, in the names' order.

        Raises:
            AuditError: the database could not be read.
        """
        with self.transaction(_READING) as connection:
            return latest_probes(connection, engine, address)

    def records(
        self,
        *,
        limit: int = 50,
        outcome: Outcome | None = None,
        tenant: str | None = None,
        since: datetime | None = None,
    ) -> list[dict[str, Any]]:
        """Return the newest *limit* records, newest first: flat, JSON-able, without content.

        ``reviews`` of each are the reasons why a person should look at it, late ones included.

        Raises:
            AuditError: the database could not be read.
        """
        with self.transaction(_READING) as connection:
            return list_records(connection, limit=limit, outcome=outcome, tenant=tenant, since=since)

    def record(self, beginning: str) -> dict[str, Any]:
        """Return the one record whose id begins with *beginning*, whole: policy text, verdict, content.

        Each content has a ``state``: intact (its commitment holds), truncated, redacted, digest, encrypted (its key
        is not at hand), withheld, erased, or altered.

        Raises:
            UsageError: there is none, or more than one.
            AuditError: the database could not be read.
        """
        with self.transaction(_READING) as connection:
            keys = find(connection, beginning) if beginning else []
            if len(keys) == 1:
                return whole(connection, keys[0], self._keeping.opener(connection))
        if keys:
            raise UsageError(f"More than one record's id begins with {beginning!r}.", hint="Give more of it.")
        raise UsageError(
            f"No record's id begins with {beginning!r}.", hint="List them: railscribe audit list"
        )

    def select(self, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Run one SELECT of the operator's in a transaction that cannot write; return its columns and rows.

        Times come back as SQLite keeps them, on both databases: ``2026-11-22 08:12:53.123456``, UTC.

        Raises:
            UsageError: it returns no rows.
            AuditError: the database could not answer it.
        """
        with self.transaction(_READING) as connection:
            result = connection.execution_options(no_parameters=True).exec_driver_sql(sql)
            if not result.returns_rows:
                raise UsageError("The statement returns no rows.", hint="Give one SELECT.")
            rows = [tuple(_plain(value) for value in row) for row in result]
            return list(result.keys()), rows

    def append_rows(self, batch: Sequence[Rows], doing: str) -> None:
        """Insert *batch* in one transaction, committed; for this package's other modules.

        Raises:
            AuditError: about *doing*, where it could not be made durable; nothing of it was kept.
        """
        with self.transaction(doing, write=True) as connection:
            for rows in batch:
                self.insert(connection, rows)
        for rows in batch:
            self._known.update((table.name, row["digest"]) for table, row in rows.shared.items())

    @contextmanager
    def transaction(self, doing: str, *, write: bool = False) -> Iterator[sa.Connection]:
        """Give this package's other modules a transaction, committed at its end, which only reads without *write*.

        Raises:
            AuditError: about *doing*, where the database failed.
        """
        engine, turn = (
            (writing(self._engine), self._turn) if write else (reading(self._engine), nullcontext())
        )
        with turn, translated(self._url, doing), engine.begin() as connection:
            yield connection

    @property
    def dialect(self) -> str:
        """``sqlite`` or ``postgresql``."""
        return self._engine.dialect.name

    @contextmanager
    def raw(self, doing: str) -> Iterator[Any]:
        """Give this package's other modules the driver's connection, in no transaction, for what can run in none.

        Raises:
            AuditError: about *doing*, where the database failed.
        """
        pooled = None
        try:
            with translated(self._url, doing):
                pooled = self._engine.raw_connection()
            yield pooled.driver_connection
        except self._engine.dialect.loaded_dbapi.Error as error:
            raise AuditError(f"{doing} failed ({type(error).__name__}).") from error
        finally:
            if pooled is not None:
                pooled.close()

    def insert(self, connection: sa.Connection, rows: Rows) -> None:
        """Insert *rows* in a transaction of :meth:`transaction`; shared ones that are there are left as they are."""
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        for table, row in rows.shared.items():
            if (table.name, row["digest"]) not in self._known:
                connection.execute(dialect.insert(table).on_conflict_do_nothing(), row)
        for table, own in rows.own.items():
            if own:
                connection.execute(sa.insert(table), own)

    def close(self) -> None:
        """Let go of the database. Calling it twice is harmless."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _plain(value: Any) -> Any:
    """Return *value* as both databases' drivers can give it."""
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f")
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value
