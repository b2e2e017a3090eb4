"""Bringing an audit database to a revision, and telling whether it is at the right one.

Migrations are the one road to a schema. :class:`~railscribe.audit.AuditStore` never takes it by itself; the
command ``railscribe db upgrade`` does, through :func:`upgrade`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.util.exc import CommandError

from railscribe.audit import partitions, tables
from railscribe.audit.access import act_as_owner, is_set_up
from railscribe.audit.database import open_engine, parse_url, place, reading, translated, writing
from railscribe.audit.revision import UPGRADE_DATABASE, refuse_newer, revision_of
from railscribe.errors import AuditError

_LOCK = 0x7261696C  # "rail": a number that no other user of the same PostgreSQL database takes


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the database at *url* to *revision*, making it first where it is a missing SQLite file.

    All steps happen in one transaction, under a lock.

    Raises:
        AuditError: what stood in the way; no step was taken.
    """
    _migrate(url, revision, command.upgrade, create=True)


def downgrade(url: str, revision: str) -> None:
    """Take the database at *url* back to *revision*; refused where that would drop records, or where it has roles.

    Raises:
        AuditError: what stood in the way; no step was taken.
    """
    if has_roles(url):  # whose conditions hold on to the tables
        raise AuditError(
            "A database with roles is not taken back.",
            hint="Take them down first: railscribe db roles --drop",
        )
    _migrate(url, revision, command.downgrade, create=False)


def current(url: str) -> str | None:
    """Return the revision of the database at *url*; ``None`` where it holds no audit tables.

    Raises:
        AuditError: it is missing or cannot be read.
    """
    with _reading(url) as connection:
        return revision_of(connection)


def has_roles(url: str) -> bool:
    """Return whether ``railscribe db roles`` was run on the database at *url*.

    Raises:
        AuditError: it is missing or cannot be read.
    """
    with _reading(url) as connection:
        return is_set_up(connection)


def check(url: str) -> list[str]:
    """Return how the database at *url* differs from what this version expects; an empty list is good.

    Looks at the revision, tables, columns, indexes and keys, and at views and append-only triggers by name.

    Raises:
        AuditError: it is missing or cannot be read.
    """
    with _reading(url) as connection:
        found = revision_of(connection)
        if found != tables.HEAD:
            return [f"revision: at {found or 'none'}, expected {tables.HEAD}. {UPGRADE_DATABASE}"]
        context = MigrationContext.configure(
            connection,
            opts={
                "version_table": tables.VERSION_TABLE,
                "include_name": _is_ours(connection),
            },
        )
        differences = [_in_words(difference) for difference in compare_metadata(context, tables.metadata)]
        return differences + [f"missing: {name}" for name in _missing(connection)]


def alembic_config() -> Config:
    """Return Alembic's configuration, as code: there is no ``alembic.ini`` to lose."""
    config = Config()
    options = {
        "script_location": str(files("railscribe.audit.migrations")),
        "file_template": "%(rev)s_%(slug)s",
        "path_separator": "os",
    }
    for name, value in options.items():
        config.set_main_option(name, value.replace("%", "%%"))  # ConfigParser would interpolate it
    return config


def _migrate(url: str, revision: str, migrate: Callable[[Config, str], None], *, create: bool) -> None:
    parsed = parse_url(url)
    # Whoever comes second waits for all the steps of the first, as on PostgreSQL below.
    patient = {"timeout": "60"} if parsed.drivername == "sqlite" and "timeout" not in parsed.query else {}
    engine = writing(open_engine(parsed.update_query_dict(patient), create=create))
    try:
        with translated(parsed, "Migrating"), engine.begin() as connection:
            if connection.dialect.name == "postgresql":  # SQLite's write lock is held from the first moment
                connection.execute(sa.text("SET LOCAL lock_timeout = '60s'"))
                connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
                act_as_owner(connection)
            refuse_newer(revision_of(connection) or "", parsed)
            config = alembic_config()
            config.attributes["connection"] = connection
            migrate(config, revision)
            at_head = create and revision_of(connection) == tables.HEAD
            if at_head and partitions.make(connection, of_default=True):
                partitions.analyse(connection)
    except CommandError as error:
        raise AuditError(f"Migrating {place(parsed)} to {revision}: {error}.") from error
    finally:
        engine.dispose()


@contextmanager
def _reading(url: str) -> Iterator[sa.Connection]:
    parsed = parse_url(url)
    engine = reading(open_engine(parsed))
    try:
        with translated(parsed, "Looking at the schema"), engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def _is_ours(connection: sa.Connection) -> Callable[[str | None, str, Any], bool]:
    """Return what says by name which findings are ours to judge: the database may be shared."""
    copies: set[str | None] = set()
    if connection.dialect.name == "postgresql":
        # A key that points at a partitioned table is listed once more for each of its partitions.
        query = """SELECT k.conname FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
            WHERE k.contype = 'f' AND k.conparentid <> 0 AND NOT c.relispartition AND pg_table_is_visible(c.oid)"""
        copies = set(connection.execute(sa.text(query)).scalars())

    def is_ours(name: str | None, kind: str, _: Any) -> bool:
        if kind == "foreign_key_constraint":
            return name not in copies
        return kind != "table" or name in tables.metadata.tables

    return is_ours


def _missing(connection: sa.Connection) -> list[str]:
    """Return the views and triggers that should be there and are not; Alembic compares neither."""
    on_sqlite = connection.dialect.name == "sqlite"
    third = "no_replace" if on_sqlite else "no_truncate"
    guarded = (*tables.EVIDENCE, tables.contents, tables.subject_keys)
    expected = {*tables.VIEWS, "contents_stay_erased", "subject_keys_stay_erased"}
    expected |= {"entries_not_sealed", "records_have_entry"}
    expected |= {f"{table.name}_{what}" for table in guarded for what in ("no_update", "no_delete", third)}
    query = (
        "SELECT name FROM sqlite_master WHERE type IN ('view', 'trigger')"
        if on_sqlite
        else "SELECT t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE t.tgenabled <> 'D'"
        " AND NOT c.relispartition AND pg_table_is_visible(c.oid)"
        " UNION SELECT viewname FROM pg_views WHERE schemaname = current_schema()"
    )
    found = set(connection.execute(sa.text(query)).scalars())
    return [*sorted(expected - found), *([] if on_sqlite else _missing_on_partitions(connection))]


def _missing_on_partitions(connection: sa.Connection) -> list[str]:
    """Return the triggers that a table has and a partition of it has not, or not switched on."""
    query = """
        SELECT format('%s on %s', t.tgname, i.inhrelid::regclass) AS missing
        FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_inherits i ON i.inhparent = c.oid
        WHERE c.relkind = 'p' AND NOT t.tgisinternal AND t.tgenabled <> 'D' AND pg_table_is_visible(c.oid)
        AND c.relnamespace = current_schema()::regnamespace AND starts_with(t.tgname, c.relname || '_')
        AND NOT EXISTS (SELECT FROM pg_trigger p
                        WHERE p.tgrelid = i.inhrelid AND p.tgname = t.tgname AND p.tgenabled <> 'D')
        ORDER BY 1"""
    return list(connection.execute(sa.text(query)).scalars())


def _in_words(difference: Any) -> str:
    """Return one of Alembic's difference tuples as a line."""
    if isinstance(difference, list):  # changes to one column come as a list of tuples
        return "; ".join(_in_words(part) for part in difference)
    what, *parts = difference
    named = [
        str(getattr(part, "name", None) or part)
        for part in parts
        if isinstance(part, (str, sa.schema.SchemaItem))
    ]
    return f"{what}: {' '.join(named)}"
