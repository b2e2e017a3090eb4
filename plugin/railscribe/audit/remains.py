"""What deleting leaves behind in free space, and how it is cleared away.

Rules

1. SQLite: rows are overwritten as they are deleted, and the write-ahead log, which has them still, is emptied. A
   reader that is at work keeps it from being emptied; that is said.
2. PostgreSQL: deleted rows lie in their pages until VACUUM, which cannot run in a transaction; and in its own
   write-ahead log until that is recycled.
3. ``thorough`` rewrites: SQLite's whole file, PostgreSQL's two tables under an exclusive lock. Only that reaches what
   lies in free space from before.
4. What was copied before is beyond reach: that is said each time.
"""

from __future__ import annotations

from typing import Any

from railscribe.audit.store import AuditStore

_TABLES = "contents, subject_keys"


def clear_away(store: AuditStore, *, vacuum: bool = False, thorough: bool = False) -> str | None:
    """Clear away what deleting left in free space; return what is left to be done, in words.

    Raises:
        AuditError: the database failed; what was deleted stays deleted.
    """
    with store.raw("Clearing away what was deleted") as connection:
        if store.dialect == "sqlite":
            return _sqlite(connection, thorough=vacuum or thorough)
        return _postgresql(connection, vacuum=vacuum, thorough=thorough)


def of_copies(*, keys: int) -> str:
    """Return what copies from before still hold of an erasure that destroyed so many *keys* (rule 4)."""
    how = (
        " (backups: what was encrypted, with the keys of their day, for whoever has the wrapping key)"
        if keys
        else ""
    )
    return (
        f"Backups, and exports with content, that were made before this still hold it{how}. Let them expire, and erase"
        " again after restoring one (docs/privacy.md)."
    )


def _sqlite(connection: Any, *, thorough: bool) -> str | None:
    connection.execute("PRAGMA query_only=OFF")
    if thorough:
        connection.execute("VACUUM")
    (busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        return (
            "A reader keeps the write-ahead log from being emptied; it holds what was erased. Run this again once"
            " the reader is done."
        )
    return None


def _postgresql(connection: Any, *, vacuum: bool, thorough: bool) -> str | None:
    if not vacuum and not thorough:
        return (
            f"Dead rows lie in their pages until VACUUM. Run: VACUUM {_TABLES}; or this with --vacuum. The"
            " write-ahead log has them until it is recycled."
        )
    connection.autocommit = True  # VACUUM runs in no transaction
    try:
        connection.execute("SET statement_timeout = 0")
        connection.execute(f"VACUUM {'(FULL) ' if thorough else ''}{_TABLES}")
        connection.execute("RESET statement_timeout")
    finally:
        connection.autocommit = False
    return "The write-ahead log has what was erased until it is recycled."
