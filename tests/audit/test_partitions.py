"""Months as partitions on PostgreSQL: no insert fails for want of one, none is a way round, and a month is dropped."""

# ruff: noqa: S608 - names of tables, all of them ours
from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
import sqlalchemy as sa
from tests.audit.test_upgrade import append_as_before, before_0004

from railscribe.audit import AuditStore, Holds, Scope, partitions, prune, schema, tables
from railscribe.audit.database import open_engine, parse_url, writing
from railscribe.audit.partitions import AHEAD, TABLES, Month
from railscribe.audit.rows import late_rows, rows_of
from railscribe.audit.verify import verify_database
from railscribe.values import LateTrace, Record

pytestmark = pytest.mark.postgres

RecordFactory = Callable[..., Record]
LateFactory = Callable[..., LateTrace]
NOW = datetime.now(tz=timezone.utc)
OLD = Month.of(NOW - timedelta(days=400))
TERMS = {"default": 183, "six_years": 2192, "brief": 30}


@pytest.fixture
def url(empty_postgres_url: str) -> str:
    """The URL of a PostgreSQL database at head of the test's own."""
    schema.upgrade(empty_postgres_url)
    return empty_postgres_url


@contextmanager
def connected(url: str) -> Iterator[sa.Connection]:
    engine = writing(open_engine(parse_url(url)))
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def months(url: str) -> list[Month]:
    with connected(url) as connection:
        return partitions.months(connection)


def make(url: str, month: Month = OLD) -> None:
    """Make *month*, as if it had been made ahead."""
    with connected(url) as connection:
        partitions.make_month(connection, month)


def lies_in(url: str, table: sa.Table) -> set[str]:
    """Return the partitions of *table* that hold rows."""
    with connected(url) as connection:
        return set(
            connection.execute(
                sa.text(f"SELECT DISTINCT tableoid::regclass::text FROM {table.name}")
            ).scalars()
        )


def append(store: AuditStore, record: Record, retention_class: str = "default") -> None:
    store.append_rows([rows_of(record, retention_class=retention_class, keep_chars=1000)], "Filling")


def test_every_child_of_a_record_is_partitioned(url: str) -> None:
    """A table that a later revision hangs on records is partitioned by its revision, or this fails."""
    with connected(url) as connection:
        query = "SELECT relname FROM pg_class WHERE relkind = 'p' AND relnamespace = current_schema()::regnamespace"
        assert set(connection.execute(sa.text(query)).scalars()) == {table.name for table in TABLES}


def test_months_are_there_ahead(url: str) -> None:
    """A database at head has this month and those to come, each table's under its name, and one for the rest."""
    now = Month.of(NOW)

    assert months(url) == [Month(now.number + ahead) for ahead in range(AHEAD + 1)]
    assert str(Month.of(datetime(2026, 12, 31, 23, 59, tzinfo=timezone.utc))) == "2026-12"
    assert (
        Month.of(datetime(2026, 12, 1, tzinfo=timezone.utc)).partition(tables.records) == "records_y2026m12"
    )
    assert Month.of(datetime(2026, 12, 1, tzinfo=timezone.utc)).ends == datetime(
        2027, 1, 1, tzinfo=timezone.utc
    )


def test_what_has_no_month_lies_in_the_default(url: str, blocked: RecordFactory) -> None:
    """A clock far off loses nothing: the record is kept, found and verified."""
    off = [NOW - timedelta(days=9000), NOW + timedelta(days=9000)]
    with AuditStore.open(url) as store:
        for number, at in enumerate(off):
            store.append(blocked(number, checked_at=at))
        assert store.record(blocked(1).id)["content"]["user"]["state"] == "intact"

    assert lies_in(url, tables.records) == {"records_default"}
    assert lies_in(url, tables.contents) == {"contents_default"}
    assert verify_database(url).ok
    schema.upgrade(url)
    assert lies_in(url, tables.records) == {"records_default"}  # no months for what no clock should have said


@pytest.mark.parametrize("by", ["upgrade", "prune"])
def test_a_month_that_is_made_takes_what_the_default_holds(
    url: str, by: str, blocked: RecordFactory, late: LateFactory
) -> None:
    """Rows move into their month, whole, with the triggers as they were, and the chain verifies."""
    record = blocked(0, checked_at=OLD.begins)
    with AuditStore.open(url) as store:
        store.append(record)
        store.append_late_trace(late(record))
        store.append(blocked(1, checked_at=OLD.ends))
        before = store.record(record.id)

    if by == "upgrade":
        schema.upgrade(url)
    with AuditStore.open(url) as store:
        if by == "prune":
            prune(store, terms={"default": 9999}, by="operator", reason="nothing is over its term")
        assert store.record(record.id) == before

    assert lies_in(url, tables.records) == {
        OLD.partition(tables.records),
        Month(OLD.number + 1).partition(tables.records),
    }
    assert OLD.partition(tables.late_traces) in lies_in(url, tables.late_traces)
    assert schema.check(url) == []
    report = verify_database(url)
    assert (report.ok, report.records) == (True, 2)


def test_a_store_that_may_makes_months(
    url: str, undecided: RecordFactory, caplog: pytest.LogCaptureFixture
) -> None:
    """Opening makes what has become due; where something stands in the way it says so, and opens all the same."""
    last = months(url)[-1]

    def take_away() -> None:
        with connected(url) as connection:
            assert partitions.drop(connection, last)

    take_away()
    AuditStore.open(url).close()
    assert last in months(url)

    take_away()
    with connected(url) as connection:
        connection.execute(sa.text("LOCK TABLE entries IN ACCESS SHARE MODE"))
        with caplog.at_level(logging.WARNING), AuditStore.open(url) as store:
            store.append(undecided(0))
    assert "months are made later" in caplog.text
    assert last not in months(url)
    schema.upgrade(url)
    assert last in months(url)


def ways_round(partition: str, table: sa.Table) -> list[str]:
    column = list(table.c)[-1].name
    return [
        f"UPDATE {partition} SET {column} = {column}",
        f"DELETE FROM {partition}",
        f"TRUNCATE {partition}",
        f"TRUNCATE {partition} CASCADE",
    ]


def test_no_partition_is_a_way_round(url: str, blocked: RecordFactory, late: LateFactory) -> None:
    """UPDATE, DELETE and TRUNCATE of a partition are refused to the owner, in old months, new ones and the rest."""
    make(url)
    with AuditStore.open(url) as store:
        for number, at in enumerate((OLD.begins, NOW, NOW - timedelta(days=9000))):
            record = blocked(number, checked_at=at)
            store.append(record)
            store.append_late_trace(late(record))
    got_through, refused = [], []
    for table in TABLES:
        for partition in lies_in(url, table):
            for statement in ways_round(partition, table):
                try:
                    with connected(url) as connection:
                        connection.execute(sa.text(statement))
                except sa.exc.DBAPIError as error:
                    refused.append(str(error.orig))
                    continue
                got_through.append(statement)

    assert got_through == []
    # Without CASCADE PostgreSQL itself refuses to empty what others point at.
    assert [
        said for said in refused if "railscribe: append-only" not in said and "foreign key" not in said
    ] == []
    assert len(refused) >= 3 * 4 * 5


@pytest.mark.parametrize(
    "change",
    [
        "DROP TRIGGER records_no_truncate ON records_default",
        "ALTER TABLE records_default DISABLE TRIGGER records_no_delete",
    ],
)
def test_a_trigger_missing_on_a_partition_is_named(url: str, change: str) -> None:
    """``db check`` looks at each partition."""
    with connected(url) as connection:
        connection.execute(sa.text(change))

    (difference,) = schema.check(url)

    assert difference.startswith("missing: records_no_")
    assert difference.endswith(" on records_default")


def fill(url: str, undecided: RecordFactory, late: LateFactory) -> None:
    """A month of two classes, one with late reasoning in a segment that stays, and of operations; a record of now."""
    make(url)
    with AuditStore.open(url) as store:
        for number in range(3):
            append(store, undecided(number, checked_at=OLD.begins + timedelta(days=number)))
            append(store, undecided(number + 10, checked_at=OLD.begins), "brief")
        append(store, undecided(20, checked_at=NOW))
    with AuditStore.open(url) as store:
        rows = late_rows(
            late(undecided(1, checked_at=OLD.begins + timedelta(days=1))),
            retention_class="six_years",
            keep_chars=9,
        )
        store.append_rows([rows], "Filling")


def test_a_month_goes_by_drop(url: str, undecided: RecordFactory, late: LateFactory) -> None:
    """All classes' segments are named, the month's partitions are gone, entries that stay stay, and all verifies."""
    fill(url, undecided, late)
    with AuditStore.open(url) as store:
        told = prune(store, terms=TERMS, by="operator", reason="a look", dry_run=True)
        assert {each.retention_class: (each.segments, each.records, each.months) for each in told} == {
            "brief": (1, 3, (str(OLD),)),
            "default": (1, 3, (str(OLD),)),
            "six_years": (0, 0, ()),
        }
        assert OLD in months(url)

        done = prune(store, terms=TERMS, by="operator", reason="its term is over")

        assert [replace(each, prunes=(), before=NOW) for each in done] == [
            replace(each, before=NOW) for each in told
        ]
        assert [len(each.prunes) for each in done] == [1, 1, 0]
        assert [record["id"] for record in store.records()] == [undecided(20).id]
        store.append(undecided(30, checked_at=OLD.begins))  # as from a spool that comes late
    assert OLD not in months(url)
    assert lies_in(url, tables.entries) == {"entries_default", Month.of(NOW).partition(tables.entries)}
    report = verify_database(url)
    assert report.ok, report.failures
    assert report.records == 2
    assert report.checked["segments_pruned"] == 2
    assert schema.check(url) == []


def test_appends_go_on_while_months_come_and_go(
    url: str, undecided: RecordFactory, late: LateFactory
) -> None:
    """Other writers' appends, checkpoints and views wait for a drop, and none fails or is lost."""
    fill(url, undecided, late)
    done = threading.Event()

    def write(first: int) -> int:
        number = first
        with AuditStore.open(url) as store:
            while not done.is_set() or number < first + 20:
                store.append(undecided(number, checked_at=datetime.now(tz=timezone.utc)))
                if number % 10 == 0:
                    store.records(limit=1)
                    store.seal()
                number += 1
        return number - first

    with ThreadPoolExecutor(3) as pool:
        writing = [pool.submit(write, 1000 * number) for number in (1, 2, 3)]
        try:
            with AuditStore.open(url) as store:
                prune(store, terms=TERMS, by="operator", reason="its term is over")
                with store.tending("Dropping") as connection:
                    assert partitions.drop(connection, partitions.months(connection)[-1])
                with store.tending("Making") as connection:
                    assert len(partitions.make(connection)) == 1
        finally:
            done.set()
        appended = sum(each.result() for each in writing)

    report = verify_database(url)
    assert report.ok, report.failures
    assert report.records == appended + 1


def test_a_month_of_which_something_stays_goes_by_rows(
    url: str, undecided: RecordFactory, late: LateFactory
) -> None:
    """A hold, or a class whose term is not over, keeps the month; what is over its term goes as before."""
    fill(url, undecided, late)
    with AuditStore.open(url) as store:
        held = Holds(store).add(Scope(record_id=undecided(0).id), by="legal", reason="a suit")
        (brief, default) = prune(
            store, terms={"default": 183, "brief": 30}, by="operator", reason="its term is over"
        )
        assert (brief.records, brief.months, default.held, default.months) == (3, (), 1, ())
        assert OLD in months(url)

        Holds(store).release(held, by="legal", reason="settled")
        (default,) = prune(store, terms={"default": 183}, by="operator", reason="its term is over")
        assert (default.records, default.months) == (3, (str(OLD),))
    assert OLD not in months(url)
    assert verify_database(url).ok


def test_a_month_is_not_dropped_unless_a_prune_names_it(
    url: str, undecided: RecordFactory, late: LateFactory
) -> None:
    """What drops asks the record of prunes itself, under the lock: nobody's word is taken for it."""
    fill(url, undecided, late)
    with AuditStore.open(url) as store:
        prune(store, terms={"brief": 30}, by="operator", reason="its term is over")

    with connected(url) as connection:
        assert partitions.drop(connection, OLD) is False

    assert OLD in months(url)
    assert verify_database(url).ok


def test_a_month_under_way_stays(url: str, undecided: RecordFactory) -> None:
    """However short a term, the month that is written to is not dropped, empty or not."""
    with AuditStore.open(url) as store:
        append(store, undecided(0, checked_at=NOW - timedelta(seconds=1)), "brief")
    with AuditStore.open(url) as store:
        (done,) = prune(store, terms={"brief": 0}, by="operator", reason="its term is over")
    assert (done.records, done.months) == (1, ())
    assert Month.of(NOW) in months(url)


def test_rows_of_before_move_into_months(
    empty_postgres_url: str, blocked: RecordFactory, late: LateFactory
) -> None:
    """The revision moves rows into months, down and up again, with views, policies and rights as they were."""
    url = empty_postgres_url
    schema.upgrade(url, "0004")
    record = before_0004(blocked(0, checked_at=OLD.begins))
    append_as_before(url, record, late(record), before_0004(blocked(1, checked_at=NOW)))
    schema.upgrade(url, "0007")
    with connected(url) as connection:
        connection.execute(sa.text("CREATE VIEW theirs WITH (security_barrier) AS SELECT id FROM v_checks"))
        connection.execute(sa.text("GRANT SELECT (id) ON records TO pg_monitor WITH GRANT OPTION"))
        connection.execute(sa.text("GRANT SELECT ON theirs TO PUBLIC"))
        connection.execute(sa.text("ALTER TABLE contents ENABLE ROW LEVEL SECURITY"))
        connection.execute(
            sa.text("CREATE POLICY mine ON contents FOR SELECT TO pg_monitor USING (kind = 'user')")
        )
    before = hanging(url)

    schema.upgrade(url, "0008")
    assert hanging(url) == before
    assert lies_in(url, tables.records) == {
        OLD.partition(tables.records),
        Month.of(NOW).partition(tables.records),
    }
    schema.downgrade(url, "0007")
    assert hanging(url) == before
    assert lies_in(url, tables.records) == {"records"}

    schema.upgrade(url)
    assert schema.check(url) == []
    with AuditStore.open(url) as store:
        assert store.select("SELECT count(*) FROM theirs")[1] == [(2,)]
        store.append(blocked(2))
    assert verify_database(url).ok


def hanging(url: str) -> list[tuple[str, ...]]:
    """Return the rights, policies, indexes, keys, triggers and views of what is no partition."""
    query = """
        WITH ours AS (SELECT c.* FROM pg_class c WHERE relnamespace = current_schema()::regnamespace
                      AND NOT relispartition)
        SELECT 'relation', relname::text, relacl::text, concat(reloptions, relrowsecurity,
               CASE WHEN relkind = 'v' THEN pg_get_viewdef(oid) END) FROM ours WHERE relkind IN ('v', 'r', 'p')
        UNION ALL SELECT 'column', relname::text, attname::text, attacl::text FROM ours
        JOIN pg_attribute ON attrelid = oid WHERE attnum > 0 AND relkind IN ('v', 'r', 'p')
        UNION ALL SELECT policyname::text, roles::text, qual, cmd FROM pg_policies
        WHERE schemaname = current_schema()
        UNION ALL SELECT 'index', i.relname::text, replace(pg_get_indexdef(i.oid), 'ONLY ', ''), NULL
        FROM pg_index JOIN pg_class i ON i.oid = indexrelid JOIN ours ON ours.oid = indrelid
        UNION ALL SELECT 'key', conname::text, pg_get_constraintdef(k.oid), NULL FROM pg_constraint k
        JOIN ours ON ours.oid = conrelid WHERE conparentid = 0
        UNION ALL SELECT 'trigger', tgname::text, pg_get_triggerdef(t.oid), tgenabled::text FROM pg_trigger t
        JOIN ours ON ours.oid = tgrelid WHERE NOT tgisinternal
        ORDER BY 1, 2, 3, 4
    """
    with connected(url) as connection:
        return [tuple(map(str, row)) for row in connection.execute(sa.text(query))]
