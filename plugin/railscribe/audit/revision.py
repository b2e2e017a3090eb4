"""Which revision a database is at. Asked on every opening, so it needs no Alembic."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import URL

from railscribe.audit.database import place
from railscribe.audit.tables import HEAD, VERSION_TABLE
from railscribe.errors import SchemaRevisionError

UPGRADE_DATABASE = "Run: railscribe db upgrade"


def revision_of(connection: sa.Connection) -> str | None:
    """Return the revision that *connection*'s database is at; ``None`` where it holds no audit tables."""
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    found: str | None = connection.execute(sa.text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608
    return found


def require_head(connection: sa.Connection, url: URL) -> None:
    """Check that the database is at the revision this version works with.

    Raises:
        SchemaRevisionError: it is not; the hint is what to run.
    """
    found = revision_of(connection)
    if found is None:
        raise SchemaRevisionError(
            f"The database at {place(url)} holds no audit tables yet.", hint=UPGRADE_DATABASE
        )
    refuse_newer(found, url)
    if found != HEAD:
        message = (
            f"The audit database at {place(url)} is at revision {found}; this version works with {HEAD}."
        )
        raise SchemaRevisionError(message, hint=UPGRADE_DATABASE)


def refuse_newer(found: str, url: URL) -> None:
    """Check that revision *found* is not one from the future.

    Raises:
        SchemaRevisionError: it is: a newer Railscribe made it.
    """
    if found > HEAD:
        message = (
            f"The audit database at {place(url)} is at revision {found}, newer than this version's {HEAD}."
        )
        raise SchemaRevisionError(message, hint="Upgrade Railscribe: pip install --upgrade railscribe")
