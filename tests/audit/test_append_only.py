"""History is added to and never changed: every way to change it is tried, on every table of evidence there is."""

# ruff: noqa: S608 - names of tables and columns, all of them ours
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from railscribe.audit import AuditStore, tables
from railscribe.audit.database import open_engine, parse_url, writing

Fill = Callable[[AuditStore], None]


def attempts(table: sa.Table, *, on_sqlite: bool) -> dict[str, str]:
    """Return every way to change *table*, by a name."""
    name, columns = table.name, ", ".join(table.c.keys())
    key = [column.name for column in table.primary_key]
    other, changed = _change(table)
    ways = {
        "update": f"UPDATE {name} SET {other} = {changed}",
        "update of the key": f"UPDATE {name} SET {', '.join(f'{c} = {c}' for c in key)}",
        "delete": f"DELETE FROM {name}",
        "upsert": f"INSERT INTO {name} ({columns}) SELECT {columns} FROM {name} WHERE true "
        f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {other} = {changed.replace(other, f'{name}.{other}')}",
    }
    if on_sqlite:
        forged = ", ".join(changed if column.name == other else column.name for column in table.c)
        ways["update or replace"] = f"UPDATE OR REPLACE {name} SET {other} = {changed}"
        ways["replace"] = f"REPLACE INTO {name} ({columns}) SELECT {forged} FROM {name}"
        ways["insert or replace"] = f"INSERT OR REPLACE INTO {name} ({columns}) SELECT {forged} FROM {name}"
        return ways
    same = " AND ".join(f"t.{c} = s.{c}" for c in key)
    merge = f"MERGE INTO {name} t USING (SELECT * FROM {name}) s ON {same} WHEN MATCHED THEN"
    ways["truncate"] = f"TRUNCATE {name} CASCADE"
    ways["merge"] = f"{merge} DELETE"
    ways["merge to update"] = f"{merge} UPDATE SET {other} = {changed.replace(other, f't.{other}')}"
    return ways


def _change(table: sa.Table) -> tuple[str, str]:
    """Return a column of *table*, not of its key where there is another, and something else to put there."""
    columns = [column for column in table.c if not column.primary_key] or list(table.c)
    for kind, changed in ((sa.Text, "{0} || 'x'"), (sa.Integer, "{0} + 1"), (sa.Boolean, "NOT {0}")):
        for column in reversed(columns):
            if isinstance(column.type, kind) or isinstance(getattr(column.type, "impl", None), kind):
                return column.name, changed.format(column.name)
    return columns[0].name, columns[0].name


def got_through(url: str, table: sa.Table) -> list[str]:
    """Return the ways by which *table* can be changed after all."""
    on_sqlite = url.startswith("sqlite")
    found = []
    for way, statement in attempts(table, on_sqlite=on_sqlite).items():
        with _rolled_back(url) as connection:
            before = connection.execute(sa.select(table)).all()
            assert before, f"nothing in {table.name}: the fixture fill has to put something there"
            try:
                connection.exec_driver_sql(statement)
            except sa.exc.DBAPIError as error:
                if "railscribe: " not in str(error):
                    found.append(f"{table.name}: {way} was stopped by something else: {error}")
                continue
            # A shared row that comes again is left as it is, without a word; all else is refused aloud.
            quiet = "replace" in way or way == "upsert"
            after = set(connection.execute(sa.select(table)).all())
            # Where all columns are key, what was forged is a row more: the chain finds those.
            if not quiet or not after.issuperset(before):
                found.append(f"{table.name}: {way}")
    return found


@contextmanager
def _rolled_back(url: str) -> Iterator[sa.Connection]:
    engine = writing(open_engine(parse_url(url)))
    try:
        with engine.connect() as connection, connection.begin() as transaction:
            yield connection
            transaction.rollback()
    finally:
        engine.dispose()


def test_evidence_cannot_be_changed(any_url: str, fill: Fill) -> None:
    """UPDATE, DELETE, TRUNCATE, upserts, REPLACE and MERGE get nowhere on any table of evidence on both databases."""
    with AuditStore.open(any_url) as store:
        fill(store)

    assert [way for table in tables.EVIDENCE for way in got_through(any_url, table)] == []


def test_every_table_is_evidence_or_says_why_not() -> None:
    """A new table is evidence, unless it is one of the few that are named here."""
    others = set(tables.metadata.tables.values()) - set(tables.EVIDENCE)

    assert {table.name for table in others} == {
        *("contents", "subject_keys", "tenant_auditors"),
        *("daily_decisions", "daily_categories", "daily_rollout", "hourly_checks", "daily_latency"),
        *("review_reasons", "failures", "waiting_reviews", "summarised"),
    }


@pytest.mark.parametrize("what", ["no_update", "no_delete", "third"])
def test_a_missing_trigger_is_found(own_url: str, fill: Fill, what: str) -> None:
    """What is tried above does get through where a trigger is missing: this test can fail."""
    on_sqlite = own_url.startswith("sqlite")
    name = what if what != "third" else ("no_replace" if on_sqlite else "no_truncate")
    with AuditStore.open(own_url) as store:
        fill(store)
    engine = writing(open_engine(parse_url(own_url)))
    with engine.begin() as connection:
        connection.execute(sa.text(f"DROP TRIGGER reviews_{name}{'' if on_sqlite else ' ON reviews'}"))
    engine.dispose()

    assert got_through(own_url, tables.reviews) != []


def test_no_second_key_on_sqlite(database_url: str) -> None:
    """No table of evidence has a rowid, by which REPLACE could push out a row that no trigger compares."""
    engine = open_engine(parse_url(database_url))
    for table in tables.EVIDENCE:
        with (
            engine.connect() as connection,
            pytest.raises(sa.exc.OperationalError, match="no such column: rowid"),
        ):
            connection.exec_driver_sql(f"SELECT rowid FROM {table.name}")
    engine.dispose()
