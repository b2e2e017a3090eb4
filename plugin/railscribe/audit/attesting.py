"""The chain's part in a store's transactions: who writes, in which order, and what happens around a commit.

    attestation.begin(doing)                             # before a transaction that writes
    with attestation.tentative(), engine.begin() as connection:
        attestation.enter(connection)                    # before anything else
        attestation.attest(connection, batch, …)         # its first insertions
        ...                                              # the evidence of the batch
    attestation.committed()

Rules

1. All of it happens under the store's one lock for writing.
2. A key is asked for by the first entry, not by opening: reading takes none.
3. What is left of writers that died, and evidence from before there was a chain, is taken care of before the first
   entry is placed.
4. Anchoring comes after the commit and holds up nobody.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import URL

from railscribe.audit import keys, tables
from railscribe.audit.anchors import Anchors
from railscribe.audit.chain.checkpoint import Reason
from railscribe.audit.database import open_engine, parse_url, reading, translated, writing
from railscribe.audit.inserting import insert
from railscribe.audit.leftovers import older_evidence
from railscribe.audit.locks import hold_writer
from railscribe.audit.rows import Rows
from railscribe.audit.sealing import Sealer, last_checkpoint, signs_next
from railscribe.audit.stored import Stored
from railscribe.errors import AuditError

logger = logging.getLogger(__name__)

SEAL_EVERY_S = 60.0


class Attestation:
    """One store's place in the chain, from its first entry on."""

    def __init__(
        self,
        engine: sa.Engine,
        url: URL,
        *,
        signing_key: Path | None,
        seal_every_s: float = SEAL_EVERY_S,
        anchors: Anchors | None = None,
    ) -> None:
        self._engine = engine
        self._url = url
        self._key_path = signing_key
        self._seal_every_s = seal_every_s
        self._anchors = anchors or Anchors()
        self.sealer: Sealer | None = None
        self._left: list[str] = []
        """Writers that this process gave up: nobody knows which of their last places are taken."""

    @property
    def is_open(self) -> bool:
        """Whether there was an entry that was not followed by a closing checkpoint."""
        return self.sealer is not None and self.sealer.is_open

    @property
    def writer(self) -> str:
        """The writer's name; empty before its first entry."""
        return "" if self.sealer is None else self.sealer.writer_id

    def begin(self, doing: str) -> None:
        """Be ready for a transaction that writes (rules 2 and 3).

        Raises:
            SigningKeyError: there is no key to sign with, or it is not the chain's.
            AuditError: about *doing*, where the database failed.
        """
        if self.sealer is not None:
            return
        with translated(self._url, doing), reading(self._engine).begin() as connection:
            last = last_checkpoint(connection)
        sealer = Sealer(
            keys.load_or_create(self._key_path, signs=signs_next(last) if last else None),
            seal_every_s=self._seal_every_s,
            tell=self._anchors.take_failures,
            left=self._left,
        )
        self._adopt(sealer, doing)
        self.sealer = sealer

    def _adopt(self, sealer: Sealer, doing: str) -> None:
        left = True
        while left:
            with (
                sealer.tentative(),
                translated(self._url, doing),
                writing(self._engine).begin() as connection,
            ):
                left = sealer.adopt(connection, now()) > 0

    @contextmanager
    def tentative(self) -> Iterator[None]:
        """Undo in memory what a transaction inside does where it fails."""
        if self.sealer is None:
            yield
            return
        with self.sealer.tentative():
            yield

    def enter(self, connection: sa.Connection) -> None:
        """Go on with the chain, and seal what is due, before anything is inserted.

        Raises:
            AuditError: the chain cannot be gone on with.
        """
        if self.sealer is None:
            raise AuditError("Entries are placed in transactions that write.")
        self.sealer.enter(connection, now())

    def attest(self, connection: sa.Connection, batch: Sequence[Rows], stored: Sequence[Stored]) -> None:
        """Give each entry of *batch* its place, after :meth:`enter` and before its evidence; reads nothing.

        *stored* are their rows in canonical form.

        Raises:
            AuditError: an entry cannot be placed.
        """
        if self.sealer is not None:
            placed = list(map(self.sealer.place, batch, stored))
            hold_writer(connection, self.sealer.writer_id)
            insert(connection, tables.entries, placed)

    def seal(self, connection: sa.Connection, reason: Reason) -> None:
        """Make a checkpoint, in a transaction of its own; nothing happens before there was an entry."""
        if self.sealer is not None and self.sealer.is_open:
            self.sealer.seal(connection, reason, now())

    def due_s(self) -> float:
        """Return after how many seconds a checkpoint should be made although nothing is appended."""
        if self.sealer is None or not self.sealer.is_open:
            return float("inf")
        return self.sealer.due_s(now())

    def doubt(self) -> None:
        """Go on as another writer: a commit's end was not heard of. What this one left is sealed as it lies."""
        if self.sealer is not None:
            self._left.append(self.sealer.writer_id)
            self.sealer = None

    def committed(self) -> None:
        """Carry outside what was sealed (rule 4). Call it after a commit."""
        if self.sealer is not None:
            self._anchors.carry(self.sealer.take_made())

    def close(self) -> None:
        """Wait a little for what is being carried outside."""
        self._anchors.close()


def now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(timezone.utc)


def adopt(url: str, signing_key: Path | None) -> bool:
    """Take evidence from before there was a chain into it now, where there is any; return whether there was.

    The first entry would do the same; after an upgrade there is time for it.

    Raises:
        SigningKeyError: there is no key to sign with.
        AuditError: the database failed.
    """
    doing, parsed = "Taking older evidence into the chain", parse_url(url)
    engine = open_engine(parsed)
    try:
        with translated(parsed, doing), reading(engine).begin() as connection:
            has_older = next(older_evidence(connection, 1), None) is not None
        if has_older:
            Attestation(engine, parsed, signing_key=signing_key).begin(doing)
    finally:
        engine.dispose()
    return has_older
