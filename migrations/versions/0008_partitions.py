"""Months as partitions on PostgreSQL, so that pruning a month is a drop and not a delete.

Revision 0008, after 0007. docs/schema.md explains the choices. PostgreSQL cannot turn a table into a partitioned one:
each is made anew, takes the rows over, and gets back what hung on the old one, as the catalogue has it: checks, keys,
indexes, triggers, policies, rights, and views. So nothing is lost that an operator added. SQLite has no partitions.
"""

# ruff: noqa: S608 - names of tables and columns, all of them ours, or from the catalogue, quoted
from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timezone
from graphlib import TopologicalSorter

import sqlalchemy as sa
from alembic import op
from alembic.util.exc import CommandError

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_TABLES = {
    "entries": "at",
    "records": "checked_at",
    **dict.fromkeys(
        (
            *("record_categories", "record_notes", "record_images", "record_pieces", "record_kept"),
            *("late_traces", "late_kept", "contents"),
        ),
        "checked_at",
    ),
}
"""What is partitioned by which time; parents first."""
_AHEAD = 3
_OLDEST_YEARS = 10
"""What a clock dated further back stays in the default partition."""


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        _make_anew(months=_months())


def downgrade() -> None:
    """Undo upgrade. The rows stay, so nothing is refused."""
    if op.get_bind().dialect.name == "postgresql" and _is_partitioned():
        _make_anew(months=None)


def _make_anew(months: list[date] | None) -> None:
    """Make every table again, partitioned by *months* or not at all, with its rows and all that hangs on it."""
    views, policies = list(_views()), _pairs(_POLICIES)
    hanging = [statement for table in _TABLES for statement in _hanging_on(table)]
    hanging += [statement for table in _TABLES for statement in _texts(_FOREIGN_KEYS, table=table)]
    _run(*(drop for drop, _ in reversed(views)), *(drop for drop, _ in policies))
    for table, time in _TABLES.items():
        _take_over(table, time, months)
    for table in reversed(_TABLES):
        _run(f"DROP TABLE {table}", f"ALTER TABLE {table}_anew RENAME TO {table}")
    # Every table's own key before anybody points at it.
    _run(*sorted(hanging, key=lambda statement: " PRIMARY KEY " not in statement))
    for table in _TABLES:
        for partition in _texts(_PARTITIONS, table=table):
            _guard(table, partition)
    _run(*(create for _, create in policies))
    for _, made in views:
        _run(*made)
    _run(*(f"ANALYZE {table}" for table in _TABLES))


def _take_over(table: str, time: str, months: list[date] | None) -> None:
    """Make ``<table>_anew`` with the rows of *table*."""
    by = "" if months is None else f" PARTITION BY RANGE ({time})"
    like = "INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE INCLUDING COMMENTS"
    _run(f"CREATE TABLE {table}_anew (LIKE {table} {like}){by}")
    if months is not None:
        for month in months:
            _partition(table, f"_y{month:%Ym%m}", f"FOR VALUES FROM {_range(month)}")
        _partition(table, "_default", "DEFAULT")
    _run(f"INSERT INTO {table}_anew SELECT * FROM {table}")


def _partition(table: str, suffix: str, bounds: str) -> None:
    _run(f"CREATE TABLE {table}{suffix} PARTITION OF {table}_anew {bounds}")


def _guard(table: str, partition: str) -> None:
    """Close *partition* to whoever goes round its table: then its own rights and statement triggers count."""
    _run(f"ALTER TABLE {partition} ENABLE ROW LEVEL SECURITY")  # and no policy: nobody but the owner
    _run(
        f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {partition} "
        "FOR EACH STATEMENT EXECUTE FUNCTION railscribe_refuse()"
    )


def _months() -> list[date]:
    """The months that records lie in, and those to come."""
    today = datetime.now(tz=timezone.utc).date().replace(day=1)
    query = "SELECT DISTINCT date_trunc('month', checked_at AT TIME ZONE 'UTC')::date FROM records"
    found = map(date.fromisoformat, _texts(query))
    oldest, coming = today.replace(year=today.year - _OLDEST_YEARS), [today]
    for _ in range(_AHEAD):
        coming.append(_next(coming[-1]))
    return sorted({*(month for month in found if oldest <= month < today), *coming})


def _next(month: date) -> date:
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)


def _range(month: date) -> str:
    return f"('{month} 00:00:00+00') TO ('{_next(month)} 00:00:00+00')"


def _is_partitioned() -> bool:
    return bool(_texts("SELECT 1 FROM pg_class WHERE oid = to_regclass('records') AND relkind = 'p'"))


_PRIMARY_KEYS = """
    SELECT format('ALTER TABLE %s ADD CONSTRAINT %I %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
    FROM pg_constraint WHERE conrelid = to_regclass(:table) AND contype = 'p'"""
_INDEXES = """
    SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = to_regclass(:table) AND NOT indisprimary"""
# A key that points at a partitioned table is listed once more for each of its partitions.
_FOREIGN_KEYS = """
    SELECT format('ALTER TABLE %s ADD CONSTRAINT %I %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
    FROM pg_constraint WHERE conrelid = to_regclass(:table) AND contype = 'f' AND conparentid = 0"""
_TRIGGERS = """
    SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = to_regclass(:table) AND NOT tgisinternal"""
_SECURITY = """
    SELECT format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', oid::regclass) FROM pg_class
    WHERE oid = to_regclass(:table) AND relrowsecurity"""
_RIGHTS = """
    SELECT format('GRANT %s ON %s TO %s%s', a.privilege_type, c.oid::regclass, coalesce(quote_ident(r.rolname),
                  'PUBLIC'), CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
    FROM pg_class c CROSS JOIN aclexplode(c.relacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
    WHERE c.oid = to_regclass(:table) AND a.grantee <> c.relowner
    UNION ALL
    SELECT format('GRANT %s (%I) ON %s TO %s%s', a.privilege_type, t.attname, c.oid::regclass,
                  coalesce(quote_ident(r.rolname), 'PUBLIC'),
                  CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
    FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid CROSS JOIN aclexplode(t.attacl) a
    LEFT JOIN pg_roles r ON r.oid = a.grantee
    WHERE c.oid = to_regclass(:table) AND a.grantee <> c.relowner"""
_OWNER = """
    SELECT format('ALTER TABLE %s OWNER TO %I', oid::regclass, pg_get_userbyid(relowner)) FROM pg_class
    WHERE oid = to_regclass(:table) AND pg_get_userbyid(relowner) <> current_user"""
_POLICIES = """
    SELECT format('DROP POLICY %I ON %I', policyname, tablename),
           format('CREATE POLICY %I ON %I AS %s FOR %s TO %s%s%s', policyname, tablename, permissive, cmd,
                  (SELECT string_agg(CASE WHEN r = 'public' THEN 'PUBLIC' ELSE quote_ident(r) END, ', ')
                   FROM unnest(roles) r),
                  ' USING (' || qual || ')', ' WITH CHECK (' || with_check || ')')
    FROM pg_policies WHERE schemaname = current_schema()"""
_PARTITIONS = """
    SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = to_regclass(:table)"""
_DEPENDENT = """
    WITH RECURSIVE resting(view, on_what) AS (
        SELECT r.ev_class, d.refobjid FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid
        WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
        AND d.refobjid = ANY(SELECT to_regclass(t) FROM unnest(CAST(:tables AS text[])) t) AND r.ev_class <> d.refobjid
        UNION
        SELECT r.ev_class, d.refobjid FROM resting b JOIN pg_depend d ON d.refobjid = b.view
        JOIN pg_rewrite r ON r.oid = d.objid
        WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
        AND r.ev_class <> d.refobjid
    )
    SELECT DISTINCT b.view::regclass::text AS view, b.on_what::regclass::text AS on_what, c.relkind FROM resting b
    JOIN pg_class c ON c.oid = b.view"""
_VIEW = """
    SELECT format('CREATE VIEW %s%s AS %s', oid::regclass,
                  ' WITH (' || array_to_string(reloptions, ', ') || ')', pg_get_viewdef(oid))
    FROM pg_class WHERE oid = to_regclass(:table)"""


def _hanging_on(table: str) -> Iterator[str]:
    for query in (_PRIMARY_KEYS, _INDEXES, _TRIGGERS, _SECURITY, _RIGHTS, _OWNER):
        yield from _texts(query, table=table)


def _views() -> Iterator[tuple[str, list[str]]]:
    """Every view that rests on the tables, those first that others rest on: how to drop it, and to make it again."""
    found = op.get_bind().execute(sa.text(_DEPENDENT), {"tables": list(_TABLES)}).all()
    if others := sorted({row.view for row in found if row.relkind != "v"}):
        raise CommandError(
            f"{', '.join(others)} rests on tables that are made anew; drop it, and make it after"
        )
    views = {row.view for row in found}
    order: TopologicalSorter[str] = TopologicalSorter()
    for row in found:
        order.add(row.view, *([row.on_what] if row.on_what in views else []))
    for view in order.static_order():
        made = [statement for query in (_VIEW, _RIGHTS, _OWNER) for statement in _texts(query, table=view)]
        yield f"DROP VIEW {view}", made


def _texts(query: str, **values: str) -> list[str]:
    return [str(text) for text in op.get_bind().execute(sa.text(query), values).scalars()]


def _pairs(query: str) -> list[tuple[str, str]]:
    return [(str(row[0]), str(row[1])) for row in op.get_bind().execute(sa.text(query))]


def _run(*statements: str) -> None:
    # Past SQLAlchemy's text(), which would take a colon for a parameter.
    plainly = op.get_bind().execution_options(no_parameters=True)
    for statement in statements:
        plainly.exec_driver_sql(statement)
