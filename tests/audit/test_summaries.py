"""Sums by day: always what the records add up to, whoever appends or summarises meanwhile."""

# ruff: noqa: S608 - names of views, all of them ours
from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from railscribe.audit import AuditStore, summaries, tables
from railscribe.audit.database import open_engine, parse_url, writing
from railscribe.values import Identity, Record

RecordFactory = Callable[..., Record]

SUMMED = (
    *("v_daily_decisions", "v_daily_categories", "v_blocked_by_category_day"),
    *("v_engine_days", "v_engine_timeline", "v_latency", "v_hours", "v_log_coverage"),
)


def some(blocked: RecordFactory, first: int, count: int) -> list[Record]:
    """Return *count* records from number *first* on, over three days and two tenants."""
    return [
        blocked(
            number,
            checked_at=blocked().checked_at + timedelta(hours=9 * (number % 7)),
            identity=Identity(tenant=("acme", "other")[number % 2]),
            latency_ms={"engine": float(number * 37 % 100)},
        )
        for number in range(first, first + count)
    ]


def answers(store: AuditStore) -> dict[str, list[tuple[Any, ...]]]:
    """Return what the views over sums say, rows of the same key added up."""
    found = {}
    for view in SUMMED:
        columns, rows = store.select(f"SELECT * FROM {view}")
        summed = ("checks", "unsafe", "traces_requested", "traces_missing", "blocked")
        if view.startswith("v_daily"):
            key = ", ".join(name for name in columns if name not in summed and "checked_at" not in name)
            sums = ", ".join(f"sum({name})" for name in columns if name in summed)
            _, rows = store.select(f"SELECT {key}, {sums} FROM {view} GROUP BY {key}")
        found[view] = sorted(rows, key=repr)
    return found


def test_summarising_changes_no_answer(any_url: str, blocked: RecordFactory) -> None:
    """What the views say of sealed, open and summarised records is what they say of records alone."""
    with AuditStore.open(any_url) as store:
        for record in some(blocked, 0, 20):
            store.append(record)
        store.seal()
        before = answers(store)

        taken = store.summarise()

        assert taken.entries == 20
        assert answers(store) == before
        assert store.select("SELECT count(*) FROM v_unsummarised")[1] == [(0,)]
        for record in some(blocked, 20, 9):  # of days that are summed up, in an open segment
            store.append(record)
        between = answers(store)
        assert store.select("SELECT count(*) FROM v_unsummarised")[1] == [(9,)]
        store.seal()
        store.summarise()
        assert {name: rows for name, rows in answers(store).items() if name != "v_hours"} == {
            name: rows for name, rows in between.items() if name != "v_hours"
        }
        assert store.select("SELECT sum(checks) FROM v_daily_decisions")[1] == [(29,)]
        assert store.summary_differences() == []


@pytest.mark.postgres
def test_both_databases_sum_up_alike(database_url: str, postgres_url: str, blocked: RecordFactory) -> None:
    """Half summarised, half not, the views answer alike on SQLite and on PostgreSQL."""

    def told(url: str) -> dict[str, list[tuple[Any, ...]]]:
        with AuditStore.open(url) as store:
            for record in some(blocked, 0, 12):
                store.append(record)
            store.seal()
            store.summarise()
            for record in some(blocked, 12, 5):
                store.append(record)
            found = answers(store)
        del found["v_hours"], found["v_log_coverage"]  # checkpoints are of now
        return found

    assert told(database_url) == told(postgres_url)


def test_in_steps_by_several_while_others_append(any_url: str, blocked: RecordFactory) -> None:
    """Two writers and two that summarise, all at once: nothing is counted twice, nothing left out."""
    problems: list[BaseException] = []

    def write(first: int) -> None:
        with AuditStore.open(any_url, seal_every_s=0.01) as store:
            for record in some(blocked, first, 25):
                store.append(record)

    def sum_up() -> None:
        with AuditStore.open(any_url) as store:
            for _ in range(8):
                summaries.summarise(store._summing, step=4)

    def run(work: Callable[..., None], *arguments: int) -> threading.Thread:
        def caught() -> None:
            try:
                work(*arguments)
            except BaseException as error:  # noqa: BLE001 - carried out of the thread
                problems.append(error)

        thread = threading.Thread(target=caught)
        thread.start()
        return thread

    for thread in [run(write, 0), run(write, 25), run(sum_up), run(sum_up)]:
        thread.join()

    assert problems == []
    with AuditStore.open(any_url) as store:
        assert store.select("SELECT sum(checks) FROM v_daily_decisions")[1] == [(50,)]
        store.summarise()
        assert store.select("SELECT sum(checks) FROM daily_decisions")[1] == [(50,)]
        assert store.summary_differences() == []


def test_a_false_sum_is_found_and_made_anew(any_url: str, blocked: RecordFactory) -> None:
    """Somebody changes a sum: comparing names it, and summing up anew puts it right."""
    with AuditStore.open(any_url) as store:
        for record in some(blocked, 0, 6):
            store.append(record)
        store.seal()
        store.summarise()
        engine = writing(open_engine(parse_url(any_url)))
        with engine.begin() as connection:
            connection.execute(
                sa.update(tables.hourly_checks).values(checks=tables.hourly_checks.c.checks + 1)
            )
            connection.execute(sa.update(tables.daily_latency).values(total_max_ms=1.5))
        engine.dispose()

        found = store.summary_differences()

        assert {line.partition(":")[0] for line in found} == {"hourly_checks", "daily_latency"}
        store.summarise(anew=True)
        assert store.summary_differences() == []


def test_records_that_no_entry_attests_yet_are_counted(any_url: str, blocked: RecordFactory) -> None:
    """Where no writer has begun since the upgrade, the views read all records."""
    record = replace(blocked(0), identity=Identity(tenant="old"))
    engine = writing(open_engine(parse_url(any_url)))
    with AuditStore.open(any_url) as store:
        store.append(record)
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
        else:
            triggers = connection.execute(
                sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE '%_no_delete'")
            )
            for name in triggers.scalars().all():
                connection.execute(sa.text(f"DROP TRIGGER {name}"))
        for table in ("segments", "checkpoints", "entries", "writers", "signing_keys"):
            connection.execute(sa.text(f"DELETE FROM {table}"))
    engine.dispose()

    with AuditStore.open(any_url) as store:
        _, rows = store.select("SELECT tenant, checks FROM v_daily_decisions")

    assert rows == [("old", 1)]
