"""What persons decide about records that were flagged or that have a reason for review.

    reviews = Reviews(store)
    waiting = reviews.queue(limit=1)
    reviews.append(waiting[0]["id"], ReviewDecision.UPHOLD, reason="A threat, as the policy says.", by="carol")

Rules

1. A review is appended; the record and every earlier review stay as they are.
2. Reviews of one record are numbered without a gap, and each says which one it answers: the latest before it.
3. Nobody reviews a record that is about them: reviewer and subject are compared without regard to case, white
   space and the many ways in which Unicode writes one letter. The database refuses it, too, a little less widely.
4. A record waits while it was flagged or has a reason for review, and has no review or one that escalates it.
5. A reason is evidence and is kept for good, whatever is erased: it is no place for the words of the exchange.
"""

from __future__ import annotations

import json
import unicodedata
from datetime import datetime, timedelta, timezone
from enum import Enum
from typing import Any

import sqlalchemy as sa

from railscribe.audit import tables
from railscribe.audit.contents import Row, iso
from railscribe.audit.rows import EntryKind, Rows, railscribe_version
from railscribe.audit.store import AuditStore
from railscribe.errors import ReviewerIsSubjectError, UsageError

REASONS = (
    *("flagged", "score_in_band", "score_missing", "think_disagrees"),
    *("trace_awaited", "trace_contradicts", "trace_missing"),
)
"""Why a record can be in the queue."""
LONGEST_REASON = 2000  # characters
_LOCK = 0x72657669  # "revi"

_QUEUE = sa.table(
    "v_review_queue",
    sa.column("id"),
    sa.column("checked_at", tables.UtcDateTime()),
    *map(sa.column, ("tenant", "direction", "rail", "outcome", "cause", "enforcement")),
    *map(sa.column, ("policy", "policy_version", "policy_digest", "engine", "model")),
    *map(sa.column, ("reasons", "rule", "deciding_categories", "state", "last_review", "last_reviewed_by")),
    sa.column("last_reviewed_at", tables.UtcDateTime()),
)


class ReviewDecision(str, Enum):
    """What a reviewer decides about a record. Stored as is; never renamed."""

    UPHOLD = "uphold"
    """The decision on record was right."""
    OVERTURN = "overturn"
    """It was wrong."""
    ESCALATE = "escalate"
    """Somebody else is to decide; the record goes on waiting."""


class Reviews:
    """The reviews of one audit store; safe to use from several threads and processes."""

    def __init__(self, store: AuditStore) -> None:
        self._store = store

    def queue(
        self,
        *,
        limit: int = 20,
        tenant: str | None = None,
        policy: str | None = None,
        reason: str | None = None,
    ) -> list[dict[str, Any]]:
        """Return the *limit* records that have waited longest for a person, oldest first (rule 4), JSON-able.

        Each with its exchange, its trace, also one that came later, and the clauses of the policy that decided.
        *reason* is one of ``REASONS``.

        Raises:
            UsageError: there is no such *reason*.
            AuditError: the database could not be read.
        """
        if reason is not None and reason not in REASONS:
            raise UsageError(
                f"Nothing waits for the reason {reason!r}.", hint=f"Reasons are {', '.join(REASONS)}."
            )
        queue = _QUEUE.c
        query = sa.select(_QUEUE).order_by(queue.checked_at, queue.id).limit(limit)
        for column, wanted in ((queue.tenant, tenant), (queue.policy, policy)):
            if wanted is not None:
                query = query.where(column == tables.storable(wanted))
        if reason is not None:
            listed = sa.literal(", ") + queue.reasons + ", "
            query = query.where(listed.contains(f", {reason}, ", autoescape=True))
        with self._store.transaction("Reading the review queue") as connection:
            waiting = [dict(row) for row in connection.execute(query).mappings()]
            return [
                _item(row, self._store.whole(connection, (row["checked_at"], row["id"]))) for row in waiting
            ]

    def append(self, beginning: str, decision: ReviewDecision, *, reason: str, by: str) -> dict[str, Any]:
        """Make durable what *by* decided about the one record whose id begins with *beginning*, and return it.

        Raises:
            ReviewerIsSubjectError: the record is about *by* (rule 3).
            UsageError: there is no such record, or more than one; *by* or *reason* is empty, or too long.
            AuditError: it could not be made durable; nothing of it was kept.
        """
        by, reason = by.strip(), reason.strip()
        if not by:
            raise UsageError("Somebody reviews a record.", hint="Say who: --by NAME.")
        if not reason:
            raise UsageError("A review has a reason.", hint="Say why: --reason TEXT.")
        if len(reason) > LONGEST_REASON:
            raise UsageError(f"A reason has {LONGEST_REASON:,} characters at most.")
        key = self._store.key_of(beginning)
        with self._store.transaction("Appending a review", write=True) as connection:
            _take_turn(connection)
            record, latest = _reviewed(connection, key)
            if is_same(by, record["subject"]):
                raise ReviewerIsSubjectError(hint="Leave it to somebody else.")
            now = datetime.now(timezone.utc)
            row: Row = {
                "checked_at": key[0],
                "record_id": key[1],
                "number": latest["number"] + 1 if latest else 1,
                "tenant": record["tenant"],
                "outcome": record["outcome"],
                "decision": decision.value,
                "reason": reason,
                "reviewed_by": by,
                # Clocks of several machines differ, and the order of reviews is not to depend on them.
                "reviewed_at": max(now, latest["reviewed_at"] + timedelta(microseconds=1)) if latest else now,
                "answers": latest["number"] if latest else None,
                "railscribe_version": railscribe_version(),
            }
            self._store.insert(connection, _rows_of(row))
        return {name: iso(value) if isinstance(value, datetime) else value for name, value in row.items()}


def is_same(reviewer: str, subject: str | None) -> bool:
    """Return whether *reviewer* and *subject* name the same identity (rule 3)."""
    return subject is not None and _bare(reviewer) == _bare(tables.restored(subject))


def _bare(name: str) -> str:
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    # Zero-width signs (Cf) can be seen as little as blanks.
    return "".join(c for c in folded if not c.isspace() and unicodedata.category(c) != "Cf")


def _rows_of(row: Row) -> Rows:
    return Rows(
        kind=EntryKind.REVIEW,
        at=row["reviewed_at"],
        id=json.dumps([row["record_id"], row["number"]]),
        shared={},
        own={tables.reviews: [row]},
    )


def _reviewed(connection: sa.Connection, key: tuple[datetime, str]) -> tuple[Row, Row | None]:
    """Return of the record at *key* what a review repeats, and its latest review."""
    records, reviews = tables.records.c, tables.reviews.c
    of_record = sa.select(records.tenant, records.outcome, records.subject).where(
        records.checked_at == key[0], records.id == key[1]
    )
    latest = (
        sa.select(reviews.number, reviews.reviewed_at)
        .where(reviews.checked_at == key[0], reviews.record_id == key[1])
        .order_by(reviews.number.desc())
        .limit(1)
    )
    record = connection.execute(of_record).mappings().one()
    found = connection.execute(latest).mappings().first()
    return dict(record), dict(found) if found else None


def _take_turn(connection: sa.Connection) -> None:
    """Wait for others who review; SQLite's write lock is held from the first moment."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))


def _item(row: Row, record: dict[str, Any]) -> dict[str, Any]:
    """Return one record of the queue with what a reviewer has to see of it."""
    item = dict(row)
    for time in ("checked_at", "last_reviewed_at"):
        item[time] = iso(item[time]) if item[time] else None
    for names in ("reasons", "deciding_categories"):
        item[names] = item[names].split(", ") if item[names] else []
    late = record["late_trace"]
    return {
        **item,
        "deciding_clauses": record["policy"]["deciding_clauses"],
        "user": record["content"]["user"],
        "response": record["content"]["response"],
        "trace": record["content"]["trace"],
        "late_trace": late["trace"] if late else None,
        "review_decisions": record["review_decisions"],
    }
