"""Where an entry goes: into the database, else into the spool, else into a gap. Runs on the writer's thread.

Rules

1. While the database takes entries, they go there, together in one transaction. What the database refuses is
   refused alone: a group is halved until the one entry at fault is found.
2. When it does not, they go to the spool, and so does all that comes before the spool is replayed: order stays.
   The database is asked again after ``FIRST_PAUSE_S``, and each time after twice as long, up to ``LONGEST_PAUSE_S``.
3. A replay takes a batch at a time, so what comes meanwhile waits for one batch and not for all. It inserts only
   what is missing: a commit whose end was not heard of may have happened.
4. What was wrong from the beginning is a mistake in the settings, and is said at once: a database that can only be
   read, a key that is not the chain's. Later the same is an outage: entries wait in the spool, and the log says why.
5. What nobody took is counted as a gap, which is written before anything else as soon as anything can be.
6. Files of writers that died are replayed when there is nothing else to do.
7. A clock that is set back changes no time of an entry, which is part of what it says; it is put on record as a gap
   in which nothing is missing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from copy import copy
from datetime import timedelta
from itertools import chain

from railscribe.audit.attesting import now
from railscribe.audit.chain.checkpoint import Reason
from railscribe.audit.gaps import Gap, GapReason, Gaps, entry_of
from railscribe.audit.ledger import Ledger
from railscribe.audit.rows import Rows
from railscribe.audit.spool import Spool, SpoolFile
from railscribe.errors import (
    AuditError,
    ChainError,
    DatabaseUnavailableError,
    NotRecordedError,
    ReadOnlyDatabaseError,
    SchemaRevisionError,
    SigningKeyError,
    SpoolError,
)

logger = logging.getLogger(__name__)

BATCH = 1000
"""Entries in one transaction, at most."""
FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 15.0
CLOCK_SLACK = timedelta(seconds=1)
"""A clock that is put right by less is no event."""
_ORPHANS_PAUSE_S = 30.0
_REPLAYING = "Replaying the spool"

_MISTAKES = (ReadOnlyDatabaseError, SigningKeyError, ChainError)
_AWAY = (DatabaseUnavailableError, SchemaRevisionError, SigningKeyError, ChainError)

Batch = Sequence[Rows]
"""Entries that belong together: all or none."""


class Keeper:
    """Keeps entries somewhere durable, for one writer."""

    def __init__(self, ledger: Ledger, spool: Spool | None, *, fail_open: bool) -> None:
        self._ledger = ledger
        self._spool = spool
        self._fail_open = fail_open
        self._gaps = Gaps()
        self._pause_s = 0.0
        self._ask_at = float("-inf")
        """When a database that was away is asked again."""
        self._is_proven = False
        """Whether anything was ever committed (rule 4)."""
        self._orphans: Iterator[SpoolFile] = iter(())
        self._orphan: SpoolFile | None = None
        self._orphans_at = float("-inf")
        self._seal_at = float("-inf")
        """When a checkpoint that could not be made is tried again."""
        self._clock = now()

    def keep(self, batches: Sequence[Batch], doing: str) -> list[AuditError | None]:
        """Make *batches* durable; return for each why that failed, or ``None``."""
        self._watch_clock()
        if self._spool is not None and (self._spool.own is not None or time.monotonic() < self._ask_at):
            return self._wait_in_spool(batches, doing, None)
        return self._write(batches, doing)

    def _write(self, batches: Sequence[Batch], doing: str) -> list[AuditError | None]:
        gaps = self._gaps.open
        try:
            self._ledger.append([*self._gap_entries(gaps), *chain.from_iterable(batches)], doing)
        except _AWAY as error:
            if isinstance(error, _MISTAKES) and not self._is_proven:
                return _each(error, batches)
            self._went_away(error)
            return self._wait_in_spool(batches, doing, error)
        except AuditError as error:
            if len(batches) == 1:
                return [error]
            half = len(batches) // 2
            return self.keep(batches[:half], doing) + self.keep(batches[half:], doing)
        self._came_back()
        self._gaps.written(gaps)
        return [None] * len(batches)

    def _wait_in_spool(
        self, batches: Sequence[Batch], doing: str, error: AuditError | None
    ) -> list[AuditError | None]:
        gaps = self._gaps.open
        try:
            if self._spool is None:
                raise SpoolError("There is no spool.")  # noqa: TRY301
            self._spool.append([*self._gap_entries(gaps), *chain.from_iterable(batches)])
        except SpoolError as spool_error:
            self._ask_at = float("-inf")  # nothing is gained by waiting
            return self._lost(batches, doing, error, spool_error)
        self._gaps.written(gaps)
        return [None] * len(batches)

    def _lost(
        self, batches: Sequence[Batch], doing: str, error: AuditError | None, spool_error: SpoolError
    ) -> list[AuditError | None]:
        words = " ".join(
            str(each.args[0]) for each in (error, spool_error if self._spool else None) if each is not None
        )
        missing = sum(map(len, batches))
        reason = GapReason.LET_GO if self._fail_open else GapReason.HELD_BACK
        if not self._gaps.open:
            logger.error("entries are not recorded (%s): %s", reason.value, words)
        self._gaps.add(reason, missing, words)
        if self._fail_open:
            return [None] * len(batches)
        if isinstance(error, (SchemaRevisionError, SigningKeyError, ChainError)):
            return _each(error, batches)
        said = words if error is not None else f"{doing}: {words}"
        lost = NotRecordedError(said, hint=(error or spool_error).hint)
        lost.__cause__ = error or spool_error
        return _each(lost, batches)

    def chores(self) -> float:
        """Do a piece of what waits for a quiet moment; return after how many seconds there may be more."""
        self._watch_clock()
        moment = time.monotonic()
        if self._spool is not None and self._spool.own is not None:
            if moment >= self._ask_at:
                self._replay(self._spool.own)
            return max(self._ask_at - time.monotonic(), 0.0)
        if moment < self._ask_at:
            return self._ask_at - moment
        seal_s = self._seal_if_due(moment)
        return seal_s if self._spool is None else min(seal_s, self._replay_orphans(moment))

    def _seal_if_due(self, moment: float) -> float:
        if (due_s := self._ledger.due_s()) > 0:
            return due_s
        if moment >= self._seal_at:
            self._seal_at = moment + LONGEST_PAUSE_S  # should it fail
            try:
                self._ledger.seal(Reason.SCHEDULED)
            except AuditError as error:
                logger.error("a checkpoint is due and could not be made: %s", error)  # noqa: TRY400
                self._went_away(error)
            else:
                self._seal_at = moment
        return max(self._ledger.due_s(), self._seal_at - moment)

    def seal(self) -> bool:
        """Put what was kept under a checkpoint; return whether all of it is, and nothing waits in the spool.

        Raises:
            AuditError: it cannot be, and that will not change by waiting.
        """
        if (self._spool is not None and self._spool.own is not None) or time.monotonic() < self._ask_at:
            return False
        try:
            self._ledger.seal(Reason.REQUESTED)
        except DatabaseUnavailableError as error:
            self._went_away(error)
            return False
        return True

    def _watch_clock(self) -> None:
        """Put on record that the clock was set back: times repeat that way, and it looks like tampering (rule 7)."""
        at = now()
        if self._clock - at > CLOCK_SLACK:
            by_s = (self._clock - at).total_seconds()
            logger.warning("the clock was set back by %.1f s", by_s)
            self._gaps.add(
                GapReason.CLOCK_WENT_BACK, 0, f"Set back by {by_s:.1f} s.", since=at, until=self._clock
            )
        self._clock = at

    def _replay_orphans(self, moment: float) -> float:
        if self._spool is None or not self._is_proven:
            return float("inf")
        if self._orphan is None:
            if moment >= self._orphans_at:
                self._orphans, self._orphans_at = self._spool.orphans(), moment + _ORPHANS_PAUSE_S
            self._orphan = self._next_orphan()
            if self._orphan is None:
                return self._orphans_at - moment
        if self._replay(self._orphan):
            self._orphan = None
        return max(self._ask_at - time.monotonic(), 0.0)

    def _next_orphan(self) -> SpoolFile | None:
        try:
            return next(self._orphans, None)
        except SpoolError as error:
            logger.warning("a spool file was left where it is: %s", error)
            return None

    def replay(self) -> int:
        """Replay all that waits and whose writer is dead; return how many entries that brought.

        Raises:
            AuditError: the database could not be written to, or the spool not be read; what is left waits.
        """
        if self._spool is None:
            return 0
        brought = 0
        for file in self._spool.orphans():
            try:
                while not file.is_read:
                    brought += self._replay_batch(file)
                file.discard()
            finally:
                file.close()
        self._write_gaps()
        return brought

    def _replay(self, file: SpoolFile) -> bool:
        """Replay a batch of *file*; return whether this is done with it."""
        try:
            self._replay_batch(file)
        except _AWAY as error:
            self._went_away(error)
            return False
        except SpoolError as error:
            logger.warning("a spool file is left where it is: %s", error)
            if self._spool is not None and file is self._spool.own:
                self._spool.close()
            file.close()
            return True
        if not file.is_read:
            return False
        if self._spool is not None and file is self._spool.own:
            self._spool.discard_own()
        else:
            file.discard()
        self._came_back()
        logger.warning("the spool file %s is replayed", file.path.name)
        return True

    def _replay_batch(self, file: SpoolFile) -> int:
        damaged = file.damaged
        entries = file.peek(BATCH)
        brought = self._insert_missing(entries, file) if entries else 0
        file.forget()
        if file.damaged > damaged:
            self._gaps.add(
                GapReason.DAMAGED, file.damaged - damaged, f"Damaged in the spool file {file.path.name}."
            )
        return brought

    def _insert_missing(self, entries: Batch, file: SpoolFile) -> int:
        try:
            brought = self._ledger.append_missing(entries, _REPLAYING)
        except _AWAY:
            raise
        except AuditError as error:
            if len(entries) == 1:
                file.refuse(entries[0])
                self._gaps.add(
                    GapReason.REFUSED, 1, str(error.args[0]), since=entries[0].at, until=entries[0].at
                )
                return 0
            half = len(entries) // 2
            return self._insert_missing(entries[:half], file) + self._insert_missing(entries[half:], file)
        self._is_proven = True
        return brought

    def close(self, limit_s: float) -> None:
        """Bring in what waits, for as long as the database takes it and *limit_s* is not over; let go of the spool."""
        until = time.monotonic() + limit_s
        if self._spool is None:
            self._write_gaps()
            self._ledger.close()
            return
        self._ask_at = float("-inf")  # once more, however long the pause would be
        while self._spool.own is not None and self._ask_at == float("-inf") and time.monotonic() < until:
            self._replay(self._spool.own)
        self._write_gaps()
        self._ledger.close()
        self._spool.close()
        if self._orphan is not None:
            self._orphan.close()

    def _write_gaps(self) -> None:
        if self._gaps.open and (failed := self.keep([[]], "Writing a gap")[0]) is not None:
            logger.error("a gap is not on record: %s", failed)

    def _gap_entries(self, gaps: Sequence[Gap]) -> list[Rows]:
        return [entry_of(gap, self._ledger.writer) for gap in gaps]

    def _went_away(self, error: AuditError) -> None:
        if not self._pause_s:
            logger.error("the audit database takes no entries: %s", error)
        self._pause_s = min(self._pause_s * 2 or FIRST_PAUSE_S, LONGEST_PAUSE_S)
        if self._spool is not None:
            self._ask_at = time.monotonic() + self._pause_s

    def _came_back(self) -> None:
        if self._pause_s:
            logger.warning("the audit database takes entries again")
        self._is_proven = True
        self._pause_s, self._ask_at = 0.0, float("-inf")


def _each(error: AuditError, batches: Sequence[Batch]) -> list[AuditError | None]:
    """Return *error* once for each of *batches*: one that is raised in two threads would mix their tracebacks."""
    return [copy(error) for _ in batches]
