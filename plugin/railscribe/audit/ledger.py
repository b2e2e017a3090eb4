"""The one way into an audit database: transactions that insert entries and give them their places.

Rules

1. A process writes to a database in one transaction at a time. SQLite has one writer, and those that wait for it
   sleep and retry by chance; a lock wakes the next one at once. Places are given under the same lock.
2. A batch becomes one statement for each table, in the order in which the tables refer to one another.
3. Rows shared by digest are inserted where they are missing, and known to be there once they are committed.
4. Where nobody heard how a commit ended, its places may be taken: this process goes on as another writer.
5. While the process forks, nothing is under way, and SQLite's connections are closed: what the child would inherit
   of them are locks that it does not hold. A child of a process that could not be still gets a named error.
6. Whether the database is still at this version's revision is asked on every new connection, and again when the
   answer is older than ``ASK_AGAIN_S``: a version that does not know a schema does not write to it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from threading import Lock
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL

from railscribe.audit import tables
from railscribe.audit.attesting import Attestation
from railscribe.audit.chain.checkpoint import Reason
from railscribe.audit.contents import Row
from railscribe.audit.database import pipelined, reading, translated, writing
from railscribe.audit.inserting import insert
from railscribe.audit.revision import require_head
from railscribe.audit.rows import Rows
from railscribe.audit.stored import row_to_store, to_store
from railscribe.errors import AuditError

logger = logging.getLogger(__name__)

ASK_AGAIN_S = 1.0
_STILL_S = 10.0
"""A fork waits so long for a transaction that is under way."""
_ORDER = {table: number for number, table in enumerate(tables.metadata.sorted_tables)}
_Key = tuple[Any, ...]


class Ledger:
    """Inserts entries into one database; safe to use from several threads, not across a fork."""

    def __init__(self, engine: sa.Engine, url: URL, attestation: Attestation) -> None:
        self.engine = engine
        self.url = url
        self._attestation = attestation
        self._turn = Lock()
        self._known: set[tuple[str, str]] = set()
        """Shared rows known to be committed: they cannot be changed or deleted, so it stays true."""
        self._fresh: list[tuple[str, str]] = []
        self._asked_at = float("-inf")
        self._asked_of: object = None
        self._is_paused = False
        self.is_still = True
        """Whether a child of the fork that is being made may use the database."""
        self._refuses = False

    def pause(self) -> None:
        """Be still for a fork (rule 5)."""
        self._is_paused = self._turn.acquire(timeout=_STILL_S)
        self.is_still = True
        if self.engine.dialect.name == "sqlite":
            pool = self.engine.pool
            self.is_still = self._is_paused and not (isinstance(pool, sa.QueuePool) and pool.checkedout())
            self.engine.dispose()

    def resume(self) -> None:
        """Go on after a fork, in the parent."""
        if self._is_paused:
            self._is_paused = False
            self._turn.release()

    def refuse(self) -> None:
        """Serve nobody from now on (rule 5)."""
        self._refuses = True

    def _require_served(self) -> None:
        if self._refuses:
            raise AuditError(
                "The audit store was in use while the process forked, so the child cannot use it.",
                hint="Open one in the child.",
            )

    @contextmanager
    def reading(self, doing: str, *, snapshot: bool = False) -> Iterator[sa.Connection]:
        """Give a transaction that can change nothing, and with *snapshot* sees the same state throughout.

        Raises:
            AuditError: about *doing*, where the database failed.
        """
        self._require_served()
        engine = reading(self.engine)
        if snapshot and engine.dialect.name == "postgresql":  # on SQLite every transaction does
            engine = engine.execution_options(isolation_level="REPEATABLE READ")
        with translated(self.url, doing), engine.begin() as connection:
            yield connection

    @contextmanager
    def tending(self, doing: str) -> Iterator[sa.Connection]:
        """Give a transaction that writes what is no evidence, and has no place in the chain (rule 1).

        Raises:
            AuditError: about *doing*, where the database failed.
        """
        self._require_served()
        with self._turn, translated(self.url, doing), writing(self.engine).begin() as connection:
            yield connection

    @contextmanager
    def writing(self, doing: str) -> Iterator[sa.Connection]:
        """Give a transaction for :meth:`insert`, committed at its end (rule 1).

        Raises:
            SchemaRevisionError: the database has gone to another revision (rule 6).
            DatabaseUnavailableError: about *doing*, where the database could not be written to now.
            AuditError: about *doing*, where it refused.
        """
        self._require_served()
        with self._turn:
            self._fresh.clear()
            self._attestation.begin(doing)
            with self._attestation.tentative(), translated(self.url, doing), self._committed() as connection:
                self._ask_revision(connection)
                yield connection
            self._known.update(self._fresh)
            self._attestation.committed()

    @contextmanager
    def _committed(self) -> Iterator[sa.Connection]:
        with writing(self.engine).connect() as connection:
            transaction = connection.begin()
            try:
                yield connection
            except BaseException:
                transaction.rollback()
                raise
            try:
                transaction.commit()
            except BaseException:
                self._attestation.doubt()
                raise

    def seal(self, reason: Reason) -> None:
        """Put all that this writer appended under a signed checkpoint.

        Raises:
            AuditError: it could not be made; what was appended stays, and is sealed later.
        """
        with self.writing("Sealing") as connection:
            self._attestation.seal(connection, reason)

    def close(self) -> None:
        """End this writer in the chain, if it has begun; where that fails, the next one does it."""
        if self._attestation.is_open:
            try:
                self.seal(Reason.CLOSED)
            except AuditError as error:
                logger.warning("the audit store was closed without a checkpoint: %s", error)
        self._attestation.close()

    @property
    def writer(self) -> str:
        """This writer's name in the chain; empty before its first entry."""
        return self._attestation.writer

    def due_s(self) -> float:
        """Return after how many seconds a checkpoint is due although nothing is appended."""
        return self._attestation.due_s()

    def append(self, entries: Sequence[Rows], doing: str) -> None:
        """Insert *entries* in one transaction, committed.

        Raises:
            AuditError: as :meth:`writing` does; nothing of them was kept, unless the connection broke.
        """
        with self.writing(doing) as connection:
            self.insert(connection, entries)

    def append_missing(self, entries: Sequence[Rows], doing: str) -> int:
        """Insert those of *entries* that are not there yet, as :meth:`append` does; return how many."""
        with self.writing(doing) as connection:
            missing = _missing(connection, entries)
            self.insert(connection, missing)
        return len(missing)

    def insert(self, connection: sa.Connection, entries: Sequence[Rows]) -> None:
        """Insert *entries* in a transaction of :meth:`writing` (rules 2 and 3)."""
        if not entries:
            return
        stored = [to_store(rows) for rows in entries]
        shared: dict[sa.Table, dict[str, Row]] = {}
        own: dict[sa.Table, list[Row]] = {}
        for rows, kept in zip(entries, stored, strict=True):
            for table, row in rows.shared.items():
                if (table.name, row["digest"]) not in self._known:
                    shared.setdefault(table, {})[row["digest"]] = row
            for table, some in kept.items():
                own.setdefault(table, []).extend(some)
        self._attestation.enter(connection)
        with pipelined(connection):
            self._attestation.attest(connection, entries, stored)
            for table in sorted(shared, key=_ORDER.__getitem__):
                # In one order in all processes: those that insert the same rows at once wait and do not deadlock.
                some = [row_to_store(table, row) for _, row in sorted(shared[table].items())]
                insert(connection, table, some, if_new=True)
                self._fresh += [(table.name, row["digest"]) for row in some]
            for table in sorted(own, key=_ORDER.__getitem__):
                insert(connection, table, own[table])

    def _ask_revision(self, connection: sa.Connection) -> None:
        of, now = connection.connection.dbapi_connection, time.monotonic()
        if of is not self._asked_of or now - self._asked_at > ASK_AGAIN_S:
            require_head(connection, self.url)
            self._asked_of, self._asked_at = of, now


def _missing(connection: sa.Connection, entries: Sequence[Rows]) -> list[Rows]:
    """Return those of *entries* whose evidence is not in the database, each once."""
    left: dict[sa.Table, dict[_Key, Rows]] = {}
    for rows in entries:
        table = next(table for table, some in rows.own.items() if some)
        key = tuple(rows.own[table][0][column.name] for column in table.primary_key)
        left.setdefault(table, {}).setdefault(key, rows)
    found: set[int] = set()
    for table, by_key in left.items():
        columns = list(table.primary_key)
        query = sa.select(*columns).where(sa.tuple_(*columns).in_(list(by_key)))
        there = {tuple(row) for row in connection.execute(query)}
        found.update(id(rows) for key, rows in by_key.items() if _stored(key) not in there)
    return [rows for rows in entries if id(rows) in found]


def _stored(key: _Key) -> _Key:
    """Return *key* as the database gives it back."""
    return tuple(
        tables.storable(value) if isinstance(value, str) and not isinstance(value, datetime) else value
        for value in key
    )
