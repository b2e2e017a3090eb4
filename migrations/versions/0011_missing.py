"""What is kept as it was, but cut, has a commitment of its own; what is missing is not called erased.

Revision 0011, after 0010. docs/schema.md explains the choices.
"""

# ruff: noqa: S608 - names of tables, all of them ours
from __future__ import annotations

import re

import sqlalchemy as sa
from alembic import op
from alembic.util.exc import CommandError

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_TABLES = ("record_kept", "late_kept")
_BEFORE = "form IN ('redacted', 'digest', 'encrypted', 'withheld')"
_AFTER = "form IN ('full', 'redacted', 'digest', 'encrypted', 'withheld')"
_ELSE = re.compile(r"ELSE 'erased'(?:::text)?\s+END AS content_state")
_NAMED = re.compile(
    r"WHEN \(?EXISTS \( ?SELECT 1\s+FROM erased_records (?:(?!WHEN|ELSE).)*?THEN 'erased'(?:::text)?\s+"
    r"ELSE 'missing'(?:::text)?\s+END AS content_state",
    re.DOTALL,
)
_BY_ERASURE = """WHEN EXISTS ( SELECT 1 FROM erased_records x
                                  WHERE x.checked_at = r.checked_at AND x.record_id = r.id) THEN 'erased'
                    ELSE 'missing' END AS content_state"""


def upgrade() -> None:
    for table in _TABLES:
        _allow(table, _BEFORE, _AFTER)
    _redefine(_ELSE, _BY_ERASURE)


def downgrade() -> None:
    """Undo upgrade; refuse where that would drop evidence."""
    for table in _TABLES:
        count = op.get_bind().execute(sa.text(f"SELECT count(*) FROM {table} WHERE form = 'full'")).scalar()
        if count:
            raise CommandError(
                f"this would drop what {count} rows of {table} say, and evidence is not dropped by a downgrade"
            )
    _redefine(_NAMED, "ELSE 'erased' END AS content_state")
    for table in _TABLES:
        _allow(table, _AFTER, _BEFORE)


def _allow(table: str, before: str, after: str) -> None:
    """Put *after* in the place of the CHECK *before*."""
    bind, name = op.get_bind(), f"ck_{table}_form_known"
    if bind.dialect.name != "sqlite":
        op.drop_constraint(name, table, type_="check")
        op.create_check_constraint(name, table, after)
        return
    # SQLite changes no CHECK; its manual (lang_altertable, "other kinds of table schema changes") gives this way,
    # which copies no row. What lies there meets both, or a downgrade was refused.
    version = bind.execute(sa.text("PRAGMA schema_version")).scalar_one()
    found = sa.text("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = :table")
    sql = str(bind.execute(found, {"table": table}).scalar_one())
    if sql.count(before) != 1:
        raise CommandError(f"{table} is not as its migrations made it")
    bind.execute(sa.text("PRAGMA writable_schema = ON"))
    change = sa.text("UPDATE sqlite_master SET sql = :sql WHERE type = 'table' AND name = :table")
    bind.execute(change, {"sql": sql.replace(before, after), "table": table})
    bind.execute(sa.text(f"PRAGMA schema_version = {version + 1}"))
    bind.execute(sa.text("PRAGMA writable_schema = RESET"))


def _redefine(old: re.Pattern[str], new: str) -> None:
    """Put *new* in the place of *old* in the definition of v_checks, whichever revision made it what it is."""
    on_sqlite = op.get_bind().dialect.name == "sqlite"
    query = (
        "SELECT sql FROM sqlite_master WHERE type = 'view' AND name = 'v_checks'"
        if on_sqlite
        else "SELECT 'CREATE VIEW v_checks AS ' || pg_get_viewdef('v_checks'::regclass)"
    )
    found = str(op.get_bind().execute(sa.text(query)).scalar_one())
    statement, count = old.subn(lambda _: new, found)
    if count != 1:
        raise CommandError("v_checks is not as its migrations made it")
    if on_sqlite:
        op.execute(sa.text("DROP VIEW v_checks"))
    else:
        statement = statement.replace("CREATE VIEW", "CREATE OR REPLACE VIEW", 1)  # so its rights stay
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(statement)
