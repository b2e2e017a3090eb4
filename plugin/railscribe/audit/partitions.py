"""Months as partitions on PostgreSQL: made ahead, and dropped whole when all that lies in them is pruned.

Rules

1. ``TABLES`` are partitioned by month (UTC): ``records_y2026m03``. What no month is made for lies in
   ``records_default``, so no insert fails for want of a month, whoever inserts.
2. Months are made by whoever owns the tables; a writer's role needs no right to. What the default partition holds of
   a month moves into it in the transaction that makes it.
3. A month is dropped where every record in it is named by a prune on record, as a row is deleted where it is named.
   Entries that stay (of operations, of reasoning that came late) move to the default partition.
4. A partition asked by its own name counts its own rights and statement triggers: it has no rights for anybody but
   the owner, row-level security without a policy, and the trigger against TRUNCATE of its own.
5. Who changes partitions locks all tables first, in the order in which appends reach them.
6. Databases that are not partitioned are left as they are.
"""

# ruff: noqa: S608 - names of tables and columns, all of them ours
from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

import sqlalchemy as sa
from sqlalchemy.engine import URL

from railscribe.audit import tables
from railscribe.audit.access import act_as_owner
from railscribe.audit.database import translated, writing
from railscribe.errors import AuditError

logger = logging.getLogger(__name__)

AHEAD = 3
"""Months that are there beforehand. Few: every statement is planned over all that are there."""
_OLDEST = 120
"""What a clock dated back by more months stays in the default partition."""
CHILDREN = tuple(
    table
    for table in tables.metadata.sorted_tables
    if any(key.column.table is tables.records for key in table.foreign_keys)
)
"""What belongs to a record, and goes with it: parents first."""
TABLES = (tables.entries, tables.records, *CHILDREN)
"""What is partitioned, each by the first column of its key: parents first."""
_KNOWS_ONLY = (18,)
"""The version of PostgreSQL that leaves partitions out of ANALYZE where it is told to."""
_TRIES = 20
_LOCK = 0x6D6F6E74  # "mont"
_NAME = re.compile(r"records_y(\d{4})m(\d{2})")


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """A calendar month, UTC; its text is such as ``2026-03``."""

    number: int
    """Months since the year 0."""

    @classmethod
    def of(cls, time: datetime) -> Month:
        utc = time.astimezone(timezone.utc)
        return cls(utc.year * 12 + utc.month - 1)

    @property
    def begins(self) -> datetime:
        return datetime(self.number // 12, self.number % 12 + 1, 1, tzinfo=timezone.utc)

    @property
    def ends(self) -> datetime:
        return Month(self.number + 1).begins

    def partition(self, table: sa.Table) -> str:
        return f"{table.name}_y{self.begins:%Ym%m}"

    def __str__(self) -> str:
        return f"{self.begins:%Y-%m}"


def months(connection: sa.Connection, *, own: bool = False) -> list[Month]:
    """Return the months that are made, oldest first; none where the tables are not partitioned.

    With *own*, none where this login may not make more, either.
    """
    if connection.dialect.name != "postgresql":
        return []
    query = """
        SELECT c.relname FROM pg_class p JOIN pg_inherits i ON i.inhparent = p.oid
        JOIN pg_class c ON c.oid = i.inhrelid WHERE p.oid = to_regclass('records') AND p.relkind = 'p'"""
    if own:
        query += " AND pg_has_role(p.relowner, 'USAGE') AND NOT pg_is_in_recovery()"
    names = map(_NAME.fullmatch, connection.execute(sa.text(query)).scalars())
    return sorted(Month(int(name[1]) * 12 + int(name[2]) - 1) for name in names if name)


def are_due(connection: sa.Connection) -> bool:
    """Return whether months are to be made, and this login may."""
    made = months(connection, own=True)
    return bool(made) and not _coming() <= set(made)


def make_ahead(engine: sa.Engine, url: URL) -> None:
    """Make the months to come. What stands in the way is said in the log, for nothing depends on it (rule 1)."""
    try:
        with translated(url, "Making months"), writing(engine).begin() as connection:
            connection.execute(sa.text("SET LOCAL lock_timeout = '1s'"))
            make(connection)
    except AuditError as error:
        logger.warning("months are made later: %s", error)


def make(connection: sa.Connection, *, of_default: bool = False) -> list[Month]:
    """Make the months to come, and with *of_default* those that the default partition holds records of (rule 2).

    The transaction goes on as the tables' owner. Return what was made; nothing where this login may not.
    """
    made = set(months(connection, own=True))
    if not made:
        return []
    if connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK))).first():
        made = set(months(connection))  # another may just have made them
    wanted = _coming() | (_of_default(connection) if of_default else set())
    new = sorted(wanted - made)
    if new:
        act_as_owner(connection)
        lock(connection)
        connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
    for month in new:
        make_month(connection, month)
    return new


def lock(connection: sa.Connection) -> None:
    """Wait for appends and readings that are under way, and keep others out until the transaction ends (rule 5).

    Readings lock in an order of their own. Who waits in vain for a while lets go of all and begins anew: sooner than
    PostgreSQL looks for deadlocks (a second), for what it ends might be a reading.
    """
    before = connection.execute(sa.text("SELECT current_setting('lock_timeout')")).scalar_one()
    names = ", ".join(table.name for table in TABLES)
    for left in reversed(range(_TRIES)):
        try:
            with connection.begin_nested():
                _run(connection, "SET LOCAL lock_timeout = '500ms'")
                _run(connection, f"LOCK TABLE {names}")
            break
        except sa.exc.OperationalError as error:
            if not left or getattr(error.orig, "sqlstate", None) not in ("55P03", "40P01"):
                raise
    _run(connection, f"SET LOCAL lock_timeout = '{before}'")


def is_whole(connection: sa.Connection, month: Month, segments: Sequence[str] = ()) -> bool:
    """Return whether every record of *month* is named by a prune on record, or lies in *segments*."""
    entries, records, pruned = tables.entries.c, tables.records.c, tables.pruned_segments.c
    within = (entries.at >= month.begins, entries.at < month.ends)
    named = sa.or_(
        entries.segment_id.in_(segments), sa.exists().where(pruned.segment_id == entries.segment_id)
    )
    goes = sa.exists().where(
        *within, entries.at == records.checked_at, entries.id == records.id, entries.kind == "record", named
    )
    stays = sa.select(records.id).where(
        records.checked_at >= month.begins, records.checked_at < month.ends, ~goes
    )
    return connection.execute(stays.limit(1)).first() is None


def drop(connection: sa.Connection, month: Month) -> bool:
    """Drop *month*; return ``False``, and leave it, where not all its records are named (rule 3)."""
    lock(connection)
    if not is_whole(connection, month):
        return False
    for table in reversed(TABLES):
        name = month.partition(table)
        if table in (tables.records, tables.entries):  # what others point at, or what is not dropped whole
            _run(connection, f"ALTER TABLE {table.name} DETACH PARTITION {name}")
        if table is tables.entries:
            gone = "SELECT 1 FROM pruned_segments p WHERE p.segment_id = e.segment_id"
            stay = f"SELECT * FROM {name} e WHERE NOT EXISTS ({gone})"
            _past_triggers(connection, table, f"INSERT INTO {table.name}_default {stay}")
        _run(connection, f"DROP TABLE {name}")
    return True


def analyse(connection: sa.Connection) -> None:
    """Bring the planner's figures for the tables as a whole up to date: autovacuum knows partitions alone."""
    if not months(connection, own=True):
        return
    connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
    only = "ONLY " if (connection.dialect.server_version_info or ()) >= _KNOWS_ONLY else ""
    for table in TABLES:
        _run(connection, f"ANALYZE {only}{table.name}")


def _coming() -> set[Month]:
    now = Month.of(datetime.now(tz=timezone.utc))
    return {Month(now.number + ahead) for ahead in range(AHEAD + 1)}


def _of_default(connection: sa.Connection) -> set[Month]:
    found = connection.execute(
        sa.text(
            "SELECT DISTINCT to_char(checked_at AT TIME ZONE 'UTC', 'YYYYMM') FROM records_default "
            "WHERE checked_at > now() - make_interval(months => :oldest) AND checked_at < now()"
        ),
        {"oldest": _OLDEST},
    ).scalars()
    return {Month(int(text[:4]) * 12 + int(text[4:]) - 1) for text in found}


def make_month(connection: sa.Connection, month: Month) -> None:
    """Make *month*, which is not there, in a transaction that has locked the tables (rules 2 and 5)."""
    bounds = f"'{month.begins.isoformat()}'", f"'{month.ends.isoformat()}'"
    for table in reversed(TABLES):
        name, default = month.partition(table), f"{table.name}_default"
        time = next(iter(table.primary_key)).name
        like = "INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE"
        _run(connection, f"CREATE TABLE {name} (LIKE {table.name} {like})")
        within = f"WHERE {time} >= {bounds[0]} AND {time} < {bounds[1]}"
        if connection.execute(sa.text(f"SELECT 1 FROM {default} {within} LIMIT 1")).first():
            gone = f"WITH gone AS (DELETE FROM {default} {within} RETURNING *)"
            _past_triggers(connection, table, f"{gone} INSERT INTO {name} SELECT * FROM gone")
        _close(connection, table, name)
    for table in TABLES:
        name = month.partition(table)
        values = f"FOR VALUES FROM ({bounds[0]}) TO ({bounds[1]})"
        _run(connection, f"ALTER TABLE {table.name} ATTACH PARTITION {name} {values}")


def _close(connection: sa.Connection, table: sa.Table, name: str) -> None:
    """Rule 4."""
    _run(connection, f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY")
    _run(
        connection,
        f"CREATE TRIGGER {table.name}_no_truncate BEFORE TRUNCATE ON {name} "
        "FOR EACH STATEMENT EXECUTE FUNCTION railscribe_refuse()",
    )


def _past_triggers(connection: sa.Connection, table: sa.Table, statement: str) -> None:
    """Run what moves rows out of, or into, the default partition of *table*, which is locked meanwhile."""
    _run(connection, f"ALTER TABLE {table.name}_default DISABLE TRIGGER USER")
    _run(connection, statement)
    _run(connection, f"ALTER TABLE {table.name}_default ENABLE TRIGGER USER")


def _run(connection: sa.Connection, statement: str) -> None:
    connection.execution_options(no_parameters=True).exec_driver_sql(statement)
