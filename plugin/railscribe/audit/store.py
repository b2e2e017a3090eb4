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

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from threading import Lock
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL
from typing_extensions import Self

from railscribe.audit.anchors import Anchors
from railscribe.audit.attesting import SEAL_EVERY_S, Attestation
from railscribe.audit.chain.checkpoint import Reason
from railscribe.audit.database import open_engine, parse_url, reading, translated, writing
from railscribe.audit.reading import find, latest_probes, list_records, whole
from railscribe.audit.revision import require_head
from railscribe.audit.rows import Rows, late_rows, probe_rows, rows_of
from railscribe.audit.summaries import Progress, Summarised, differences, rebuild, summarise
from railscribe.errors import AuditError, UsageError
from railscribe.values import EngineInfo, LateTrace, Outcome, Probe, Record

logger = logging.getLogger(__name__)

_READING = "Reading records"
KEEP_CHARS = 100_000
"""Of each text this much is kept; evidence covers the whole."""


class AuditStore:
    """Keeps records in one audit database; safe to use from several threads."""

    def __init__(
        self,
        engine: sa.Engine,
        url: URL,
        *,
        retention_class: str,
        keep_chars: int,
        keep_images: bool,
        attestation: Attestation,
    ) -> None:
        self._engine = engine
        self._url = url
        self._retention_class = retention_class
        self._keep_chars = keep_chars
        self._keep_images = keep_images
        self._known: set[tuple[str, str]] = set()
        """Shared rows known to be committed: they cannot be changed or deleted, so it stays true."""
        # One transaction that writes at a time: places in the chain are given one after the other.
        self._turn = Lock()
        self._attestation = attestation

    @classmethod
    def open(
        cls,
        url: str,
        *,
        retention_class: str = "default",
        keep_chars: int = KEEP_CHARS,
        keep_images: bool = False,
        signing_key: Path | None = None,
        seal_every_s: float = SEAL_EVERY_S,
        anchors: Anchors | None = None,
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
            retention_class=retention_class,
            keep_chars=keep_chars,
            keep_images=keep_images,
            attestation=Attestation(
                engine, parsed, signing_key=signing_key, seal_every_s=seal_every_s, anchors=anchors
            ),
        )

    def append(self, record: Record) -> None:
        """Make *record* durable (rules 1 and 2).

        Raises:
            AuditError: it could not be made durable; nothing of it was kept.
        """
        rows = rows_of(
            record,
            retention_class=self._retention_class,
            keep_chars=self._keep_chars,
            keep_images=self._keep_images,
        )
        self.append_rows([rows], "Appending a record")

    def append_late_trace(self, late: LateTrace) -> None:
        """Make durable what became of a record's deferred reasoning, once for each record.

        Raises:
            AuditError: it could not be made durable; nothing of it was kept.
        """
        rows = late_rows(late, retention_class=self._retention_class, keep_chars=self._keep_chars)
        self.append_rows([rows], "Appending a late trace")

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

        Each content has a ``state``: intact (its commitment holds), truncated, erased, or altered.

        Raises:
            UsageError: there is none, or more than one.
            AuditError: the database could not be read.
        """
        with self.transaction(_READING) as connection:
            keys = find(connection, beginning) if beginning else []
            if len(keys) == 1:
                return whole(connection, keys[0])
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
    def transaction(
        self, doing: str, *, write: bool = False, snapshot: bool = False
    ) -> Iterator[sa.Connection]:
        """Give this package's other modules a transaction, committed at its end, which only reads without *write*.

        With *snapshot* all of it sees the same state.

        Raises:
            AuditError: about *doing*, where the database failed.
        """
        if not write:
            engine = reading(self._engine)
            if snapshot and engine.dialect.name == "postgresql":  # on SQLite every transaction does
                engine = engine.execution_options(isolation_level="REPEATABLE READ")
            with translated(self._url, doing), engine.begin() as connection:
                yield connection
            return
        with self._turn:
            self._attestation.begin(doing)
            with (
                self._attestation.tentative(),
                translated(self._url, doing),
                writing(self._engine).begin() as connection,
            ):
                yield connection
            self._attestation.committed()

    def insert(self, connection: sa.Connection, rows: Rows) -> None:
        """Insert *rows* in a transaction of :meth:`transaction`; shared ones that are there are left as they are."""
        self._attestation.attest(connection, [rows])
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        for table, row in rows.shared.items():
            if (table.name, row["digest"]) not in self._known:
                connection.execute(dialect.insert(table).on_conflict_do_nothing(), row)
        for table, own in rows.own.items():
            if own:
                connection.execute(sa.insert(table), own)

    def seal(self, reason: Reason = Reason.REQUESTED) -> None:
        """Put all that was appended under a signed checkpoint.

        Raises:
            AuditError: it could not be made; what was appended stays, and is sealed later.
        """
        with self.transaction("Sealing", write=True) as connection:
            self._attestation.seal(connection, reason)

    def summarise(self, *, anew: bool = False, progress: Progress = lambda done, total: None) -> Summarised:
        """Sum up what is under checkpoints, so that views over days answer at once; *anew*: all of it.

        Raises:
            AuditError: the database failed; the sums are as after the last step.
        """
        made = rebuild if anew else summarise
        return made(self._summing, progress=progress)

    def summary_differences(self) -> list[str]:
        """Return where sums are not what the records add up to; an empty list is good.

        Raises:
            AuditError: the database could not be read.
        """
        return list(differences(self._summing))

    @contextmanager
    def _summing(self, *, write: bool = False) -> Iterator[sa.Connection]:
        """Give a transaction without a place in the chain: sums are no evidence."""
        engine = writing(self._engine) if write else reading(self._engine)
        with (
            self._turn if write else nullcontext(),
            translated(self._url, "Summarising"),
            engine.begin() as connection,
        ):
            yield connection

    def close(self) -> None:
        """Seal what was appended, and let go of the database. Calling it twice is harmless."""
        if self._attestation.is_open:
            try:
                self.seal(Reason.CLOSED)
            except AuditError as error:  # the next writer does it
                logger.warning("the audit store was closed without a checkpoint (%s)", type(error).__name__)
        self._attestation.close()
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
