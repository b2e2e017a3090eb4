"""The audit store: records go in once, and come out as rows and answers.

    with AuditStore.open("sqlite:///railscribe.db") as store:
        store.append(record)
        print(store.records(limit=1)[0]["outcome"])

Rules

1. ``append`` returns when the record is durable, or at the stage that was asked for (docs/audit-store.md): what
   several threads and tasks append at once is committed together.
2. A record is appended whole or not at all.
3. Opening checks the revision. It never creates a database and never upgrades one.
4. Every method may be called from any thread. But for ``append_async`` none is asynchronous: await them on a thread.
5. Closing keeps what is queued; so does the end of the process. After a fork, parent and child both go on.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL
from typing_extensions import Self

from railscribe.audit.anchors import Anchors
from railscribe.audit.attesting import SEAL_EVERY_S, Attestation
from railscribe.audit.chain.checkpoint import Reason
from railscribe.audit.database import open_engine, parse_url, reading, translated
from railscribe.audit.keeper import Keeper
from railscribe.audit.keeping import Keeping, find_key
from railscribe.audit.ledger import Ledger
from railscribe.audit.partitions import are_due, make_ahead
from railscribe.audit.reading import find, latest_probes, list_records, whole, whose
from railscribe.audit.revision import require_head
from railscribe.audit.rows import Rows, late_rows, probe_rows, rows_of
from railscribe.audit.spool import Spool, folder_for
from railscribe.audit.summaries import Progress, Summarised, differences, rebuild, summarise
from railscribe.audit.writer import Writer
from railscribe.errors import AuditError, UsageError
from railscribe.values import EngineInfo, Identity, LateTrace, Outcome, Probe, Record, Stage

_READING = "Reading records"
_APPENDING = "Appending a record"
KEEP_CHARS = 100_000
"""Of each text this much is kept; evidence covers the whole."""


class AuditStore:
    """Keeps records in one audit database; safe to use from several threads."""

    def __init__(
        self,
        engine: sa.Engine,
        url: URL,
        *,
        keeping: Keeping,
        keep_chars: int = KEEP_CHARS,
        keep_images: bool = False,
        wait_for: Stage = Stage.DURABLE,
        spool: Spool | None = None,
        fail_open: bool = False,
        signing_key: Path | None = None,
        seal_every_s: float = SEAL_EVERY_S,
        anchors: Anchors | None = None,
    ) -> None:
        self.wait_for = wait_for
        """The stage that an append waits for where its caller names none."""
        self.spool = spool
        self._engine = engine
        self._url = url
        self._keeping = keeping
        self._keep_chars = keep_chars
        self._keep_images = keep_images
        self._fail_open = fail_open
        self._signing_key = signing_key
        self._seal_every_s = seal_every_s
        self._anchors = anchors
        self._begin()

    @classmethod
    def open(
        cls,
        url: str,
        *,
        retention_class: str = "default",
        keep_chars: int = KEEP_CHARS,
        keep_images: bool = False,
        wait_for: Stage = Stage.DURABLE,
        spool_dir: Path | None = None,
        spool_max_mb: int = 1024,
        fail_open: bool = False,
        signing_key: Path | None = None,
        seal_every_s: float = SEAL_EVERY_S,
        keeping: Keeping | None = None,
        anchors: Anchors | None = None,
    ) -> Self:
        """Open the audit database at *url*, which must exist at the right revision (rule 3).

        Where *spool_dir* is given, entries wait in it while the database takes none. *fail_open* lets appends
        return although neither took them.

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
                months_are_due = are_due(connection)
            if months_are_due:
                make_ahead(engine, parsed)
        except BaseException:
            engine.dispose()
            raise
        spool = (
            Spool(folder_for(parsed, spool_dir), max_bytes=spool_max_mb * 1_000_000)
            if spool_dir is not None and spool_max_mb
            else None
        )
        return cls(
            engine,
            parsed,
            keeping=keeping or Keeping(retention_class=retention_class),
            keep_chars=keep_chars,
            keep_images=keep_images,
            wait_for=wait_for,
            spool=spool,
            fail_open=fail_open,
            signing_key=signing_key,
            seal_every_s=seal_every_s,
            anchors=anchors,
        )

    def _begin(self) -> None:
        """Take what a process needs of its own (rule 5)."""
        attestation = Attestation(
            self._engine,
            self._url,
            signing_key=self._signing_key,
            seal_every_s=self._seal_every_s,
            anchors=self._anchors,
        )
        self._ledger = Ledger(self._engine, self._url, attestation)
        self._keeper = Keeper(self._ledger, self.spool, fail_open=self._fail_open)
        self._writer = Writer(self._keeper)
        # The end of the process closes what nobody closed.
        self._closing = weakref.finalize(self, _close, self._writer, self._engine)
        _open_stores.add(self)

    def pause(self) -> None:
        """Be still while the process forks (rule 5)."""
        self._ledger.pause()

    def resume(self) -> None:
        """Go on after a fork, in the parent."""
        self._ledger.resume()

    def begin_in_child(self) -> None:
        """Leave the parent its connections, its queue and its spool file."""
        was_still = self._ledger.is_still
        self._closing.detach()
        _of_parent.append(self._engine.pool)
        self._engine.dispose(close=False)
        if self.spool is not None:
            self.spool.close()
        self._begin()
        if not was_still:
            self._ledger.refuse()

    def append(self, record: Record, *, wait: Stage | None = None) -> None:
        """Append *record* and return when it has reached *wait*, or else the store's ``wait_for`` (rules 1 and 2).

        Raises:
            AuditError: it was not kept.
        """
        rows = self._rows_of(record)
        self._writer.submit(lambda: rows, _APPENDING, wait or self.wait_for).result()

    async def append_async(self, record: Record, *, wait: Stage | None = None) -> None:
        """Append as :meth:`append` does, on an event loop: no thread waits for it, and no loop is blocked.

        Once begun it is finished, whoever stops waiting for it.

        Raises:
            AuditError: it was not kept.
        """
        make = partial(self._rows_of, record)
        await (await self._writer.submit_async(make, _APPENDING, wait or self.wait_for))

    def _rows_of(self, record: Record) -> list[Rows]:
        policy = record.rendering.policy_name
        rows = rows_of(
            record,
            retention_class=self._keeping.class_for(record.identity.tenant, policy),
            keep_chars=self._keep_chars,
            keep_images=self._keep_images,
            treatment=self._keeping.treatment(record.identity, policy, record.id, self._find_key),
        )
        return [rows]

    def _late_rows_of(self, late: LateTrace) -> Rows:
        identity, policy = late.identity, late.policy
        if (identity is None or policy is None) and self._keeping.asks_whose:
            with self.transaction(_READING) as connection:
                identity, policy = whose(connection, (late.checked_at, late.record_id))
        identity, policy = identity or Identity(), policy or ""
        treatment = self._keeping.treatment(identity, policy, late.record_id, self._find_key, is_late=True)
        return late_rows(
            late,
            retention_class=self._keeping.class_for(identity.tenant, policy),
            keep_chars=self._keep_chars,
            treatment=treatment,
        )

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
        is not at hand), withheld, erased; or, which verifying fails on, altered, missing, key_missing or unproven.

        Raises:
            UsageError: there is none, or more than one.
            AuditError: the database could not be read.
        """
        key = self.key_of(beginning)
        with self.transaction(_READING) as connection:
            return self.whole(connection, key)

    def whole(self, connection: sa.Connection, key: tuple[datetime, str]) -> dict[str, Any]:
        """Return the record at *key* whole, in a transaction of :meth:`transaction`; for this package's modules."""
        return whole(connection, key, self._keeping.opener(connection))

    def key_of(self, beginning: str) -> tuple[datetime, str]:
        """Return when the one record was checked whose id begins with *beginning*, and its id.

        Raises:
            UsageError: there is none, or more than one.
            AuditError: the database could not be read.
        """
        with self.transaction(_READING) as connection:
            keys = find(connection, beginning) if beginning else []
        if len(keys) == 1:
            return keys[0]
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
        """Make *batch* durable, all or none, in its turn; for this package's other modules.

        Raises:
            AuditError: about *doing*, where it could not be made durable; nothing of it was kept.
        """
        self._writer.submit(lambda: batch, doing, Stage.DURABLE).result()

    @contextmanager
    def transaction(
        self, doing: str, *, write: bool = False, snapshot: bool = False
    ) -> Iterator[sa.Connection]:
        """Give this package's other modules a transaction, committed at its end, which only reads without *write*.

        One that writes is for what has to read before it inserts. It takes its turn with the writer, and does not
        wait in the spool: where the database is away, it fails.

        With *snapshot*, one that reads sees the same state throughout.

        Raises:
            AuditError: about *doing*, where the database failed.
        """
        ledger = self._ledger
        with ledger.writing(doing) if write else ledger.reading(doing, snapshot=snapshot) as connection:
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
        self._ledger.insert(connection, [rows])

    def replay(self) -> int:
        """Bring in what writers that died left in the spool; return how many entries that were not there yet.

        Raises:
            AuditError: the database could not be written to, or the spool not be read; what is left waits.
        """
        if self.spool is None:
            return 0
        # A keeper of its own: the writer's is its thread's.
        spool = Spool(self.spool.folder, max_bytes=0)
        return Keeper(self._ledger, spool, fail_open=False).replay()

    def seal(self) -> None:
        """Put all that was appended under a signed checkpoint.

        Raises:
            AuditError: it could not be made; what was appended stays, and is sealed later.
        """
        self._ledger.seal(Reason.REQUESTED)

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
    def tending(self, doing: str) -> Iterator[sa.Connection]:
        """Give this package's other modules a transaction for what is no evidence, committed at its end.

        Raises:
            AuditError: about *doing*, where the database failed.
        """
        with self._ledger.tending(doing) as connection:
            yield connection

    @contextmanager
    def _summing(self, *, write: bool = False) -> Iterator[sa.Connection]:
        ledger, doing = self._ledger, "Summarising"
        with ledger.tending(doing) if write else ledger.reading(doing) as connection:
            yield connection

    def close(self) -> None:
        """Keep what is queued and let go of the database (rule 5). Calling it twice is harmless."""
        self._closing()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# Whoever forks takes all stores along (rule 5).
_open_stores: weakref.WeakSet[AuditStore] = weakref.WeakSet()
_of_parent: list[object] = []
"""Connections that a child of a fork must neither use nor close: kept, so that nothing closes them."""


def _close(writer: Writer, engine: sa.Engine) -> None:
    writer.close()
    engine.dispose()


def _at_fork(what: Callable[[AuditStore], None]) -> Callable[[], None]:
    def each() -> None:
        for store in list(_open_stores):
            what(store)

    return each


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_at_fork(AuditStore.pause),
        after_in_parent=_at_fork(AuditStore.resume),
        after_in_child=_at_fork(AuditStore.begin_in_child),
    )


def _plain(value: Any) -> Any:
    """Return *value* as both databases' drivers can give it."""
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f")
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value
