"""Legal holds: what must not go, whatever its term is and whoever asks.

Rules

1. A hold names a tenant, a subject, a retention class, a record, or several of these; a record is held where all
   that the hold names are its own.
2. A hold ends by a release, which is a row of its own. Both are entries on record, with who and why.
3. Holds, erasures and prunes take turns: none can slip in between another's looking and its deleting.
"""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

import sqlalchemy as sa

from railscribe.audit import tables
from railscribe.audit.contents import Row, iso
from railscribe.audit.rows import EntryKind, Rows, railscribe_version
from railscribe.audit.store import AuditStore
from railscribe.errors import HeldError, UsageError

_TURN = 0x70726976  # "priv": the advisory lock of rule 3 on PostgreSQL
_NAMES = ("tenant", "subject", "retention_class", "record_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a hold holds (rule 1)."""

    tenant: str | None = None
    subject: str | None = None
    retention_class: str | None = None
    record_id: str | None = None


class Holds:
    """The holds of one audit store."""

    def __init__(self, store: AuditStore) -> None:
        self._store = store

    def add(self, scope: Scope, *, by: str, reason: str) -> str:
        """Hold what *scope* names, and return the hold's id.

        Raises:
            UsageError: *scope* names nothing.
            AuditError: it could not be made durable.
        """
        if not any(asdict(scope).values()):
            raise UsageError("A hold names a tenant, a subject, a retention class or a record.")
        at = datetime.now(tz=timezone.utc)
        hold_id = str(uuid.uuid4())
        row: Row = {
            **asdict(scope),
            "id": hold_id,
            "held_at": at,
            "held_by": by,
            "reason": reason,
            "railscribe_version": railscribe_version(),
        }
        rows = Rows(kind=EntryKind.HOLD, at=at, id=hold_id, shared={}, own={tables.holds: [row]})
        with self._store.transaction("Placing a hold", write=True) as connection:
            take_turn(connection)
            self._store.insert(connection, rows)
        return hold_id

    def release(self, beginning: str, *, by: str, reason: str) -> str:
        """End the one hold whose id begins with *beginning*, and return its id.

        Raises:
            UsageError: there is none, more than one, or it was released before.
            AuditError: it could not be made durable.
        """
        at = datetime.now(tz=timezone.utc)
        with self._store.transaction("Releasing a hold", write=True) as connection:
            take_turn(connection)
            found = [hold for hold in _holds(connection) if hold["id"].startswith(beginning)]
            if len(found) != 1 or not beginning:
                raise UsageError(
                    f"{len(found) or 'No'} holds' ids begin with {beginning!r}.",
                    hint="List them: railscribe audit hold list",
                )
            if found[0]["released_at"] is not None:
                raise UsageError("This hold was released before.")
            hold_id = str(found[0]["id"])
            row: Row = {
                "hold_id": hold_id,
                "released_at": at,
                "released_by": by,
                "reason": reason,
                "railscribe_version": railscribe_version(),
            }
            own = {tables.hold_releases: [row]}
            rows = Rows(kind=EntryKind.HOLD_RELEASE, at=at, id=hold_id, shared={}, own=own)
            self._store.insert(connection, rows)
        return hold_id

    def list(self) -> list[dict[str, Any]]:
        """Return all holds, oldest first, JSON-able, the released ones too.

        Raises:
            AuditError: the database could not be read.
        """
        with self._store.transaction("Reading holds") as connection:
            return [
                {**hold, **{name: hold[name] and iso(hold[name]) for name in ("held_at", "released_at")}}
                for hold in _holds(connection)
            ]


def take_turn(connection: sa.Connection) -> None:
    """Wait until no other hold, erasure or prune is under way (rule 3). SQLite's write lock does as much."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_TURN)))


def holding(records: sa.FromClause) -> sa.Select[Any]:
    """Return the question which holds in force hold rows of *records*, joined to it (rule 1)."""
    holds, releases = tables.holds.c, tables.hold_releases.c
    own = {name: records.c["id" if name == "record_id" else name] for name in _NAMES}
    fits = [sa.or_(holds[name].is_(None), holds[name] == own[name]) for name in _NAMES]
    in_force = ~sa.exists().where(releases.hold_id == holds.id)
    return sa.select(holds.id).where(in_force, *fits)


def refuse_held(connection: sa.Connection, records: sa.FromClause, *where: sa.ColumnElement[bool]) -> None:
    """Check that no hold in force holds any of *records* of which *where* is true.

    Raises:
        HeldError: one does; it is named.
    """
    found = connection.execute(holding(records).where(*where).limit(1)).scalar()
    if found is not None:
        raise HeldError(
            f"A legal hold, {found}, forbids to erase this.",
            hint="Look at it: railscribe audit hold list",
        )


def _holds(connection: sa.Connection) -> list[Row]:
    view = sa.table(
        "v_holds",
        *map(sa.column, ("id", *_NAMES, "held_by", "reason", "released_by", "release_reason")),
        *(sa.column(name, tables.UtcDateTime()) for name in ("held_at", "released_at")),
    )
    query = sa.select(view).order_by(view.c.held_at, view.c.id)
    return [dict(row) for row in connection.execute(query).mappings()]
