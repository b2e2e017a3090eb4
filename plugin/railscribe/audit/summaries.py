"""Sums over records by day, so that a question about ten million checks is answered at once.

    with AuditStore.open(url) as store:
        store.summarise()

Rules

1. Appending knows nothing of sums: no counter is updated while a check waits, and no two writers meet at one. What is
   under a checkpoint does not change any more, so it is summed up afterwards, once; until then the views read it from
   the records. A view is right at every moment, and fast where somebody summarises now and then.
2. One step takes in whole checkpoints: sums and the note that they are in (``summarised``) come in one transaction.
   Two that summarise at once take turns, and the second finds the work done. One that is killed has done nothing.
3. What a step needs is read before its transaction, which writes a few hundred rows, so appending waits for
   milliseconds.
4. Percentiles cannot be added up: those of a day are made anew when something of the day comes in, from all its
   records. A day with records that are not summarised yet is read from the records, so what is kept of it meanwhile
   is not believed.
5. What is rare (reasons for a review, failures, what waits) is marked, a row each, in the order of time. What a late
   trace or a review makes void is taken out by the next step; until then the views leave it out.
6. Sums and marks are no evidence. ``rebuild`` makes them anew from the records, and ``differences`` compares them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from railscribe.audit import tables
from railscribe.audit.migrations import reviews_0009 as rare
from railscribe.audit.migrations import summaries_0009 as sums
from railscribe.audit.migrations.summaries_0010 import rollout

STEP = 100_000
"""Entries in one step, about."""

_ADDED_UP = (tables.daily_decisions, tables.daily_categories, tables.daily_rollout, tables.hourly_checks)
_MARKED = (tables.review_reasons, tables.failures, tables.waiting_reviews)
_HOLDS = {tables.review_reasons: rare.STILL_AWAITED, tables.waiting_reviews: rare.STILL_WAITING}
"""What has come since makes rows of these void; when they still hold."""
_AS_MADE = {**_HOLDS, tables.waiting_reviews: rare.MADE_WAITING}
_LOCK = 0x73756D73  # "sums"
Transaction = Callable[..., AbstractContextManager[sa.Connection]]
"""Gives a transaction that reads, or with ``write=True`` one that writes."""


class Progress(Protocol):
    """Is told how many entries are in, and of how many."""

    def __call__(self, done: int, total: int) -> object: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Summarised:
    """What a run took in."""

    checkpoint: int
    """All up to this one is summed up."""
    entries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    after: int
    upto: int
    entries: int
    rows: dict[sa.Table, list[tuple[Any, ...]]]
    void: dict[sa.Table, list[tuple[Any, ...]]]
    days: list[str]


def summarise(
    transaction: Transaction, *, step: int = STEP, progress: Progress = lambda done, total: None
) -> Summarised:
    """Take in what is under checkpoints and not summed up yet."""
    done = 0
    total = _waiting(transaction)
    while True:
        read = _read(transaction, step)
        if read is None:
            with transaction() as connection:
                return Summarised(checkpoint=_upto(connection), entries=done)
        latency = {day: _latency(transaction, day) for day in read.days}
        if _write(transaction, read, latency):
            done += read.entries
            progress(done, max(done, total))


def rebuild(
    transaction: Transaction, *, step: int = STEP, progress: Progress = lambda done, total: None
) -> Summarised:
    """Throw all sums away and make them anew, as after a prune."""
    with transaction(write=True) as connection:
        _take_turn(connection)
        for table in (*_ADDED_UP, *_MARKED, tables.daily_latency, tables.summarised):
            connection.execute(sa.delete(table))
    return summarise(transaction, step=step, progress=progress)


def differences(transaction: Transaction) -> Iterator[str]:
    """Yield, by table and key, where sums and marks are not what the records come to (rule 6)."""
    with transaction() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
        words = sums.Words(connection.dialect.name)
        for table, select in _sums(words, 0, _upto(connection)).items():
            yield from _compared(
                table, _all(connection, select), connection, where=_AS_MADE.get(table, "true")
            )
        waiting = set(_column(connection, f"SELECT DISTINCT {words.day('checked_at')} FROM v_unsummarised"))  # noqa: S608
        made = [
            row
            for row in _all(connection, sums.latency(words, "FROM records r WHERE true"))
            if row[0] not in waiting
        ]
        yield from _compared(tables.daily_latency, made, connection, but=waiting)


def _sums(words: sums.Words, after: int, upto: int) -> dict[sa.Table, str]:
    """Return the SELECTs of what adds up or is marked, over the checkpoints after *after*, up to *upto*."""
    source = sums.between(words, str(after), str(upto))
    lates = sums.lates_between(words, str(after), str(upto))
    return {
        tables.daily_decisions: sums.decisions(words, source),
        tables.daily_categories: sums.categories(words, source),
        tables.daily_rollout: rollout(words, source),
        tables.hourly_checks: sums.hours(words, source, f"c.number > {after} AND c.number <= {upto}"),
        tables.review_reasons: rare.reasons(words, source, lates),
        tables.failures: rare.failures(source, lates),
        tables.waiting_reviews: rare.waiting(source, lates),
    }


def _compared(
    table: sa.Table,
    made: Sequence[tuple[Any, ...]],
    connection: sa.Connection,
    *,
    but: Collection[str] = (),
    where: str = "true",
) -> Iterator[str]:
    names = ", ".join(column.name for column in table.columns)
    found = _all(connection, f"SELECT {names} FROM {table.name} x WHERE {where}")  # noqa: S608
    kept = {row for row in found if row[0] not in but}
    width = len(table.primary_key)
    for key in sorted({row[:width] for row in kept ^ set(made)}):
        yield f"{table.name}: {', '.join(map(str, key))}"


def _waiting(transaction: Transaction) -> int:
    """Return how many entries are under checkpoints and not summed up."""
    segments = tables.segments.c
    with transaction() as connection:
        query = sa.select(sa.func.sum(segments.entry_count)).where(
            segments.checkpoint_number > _upto(connection)
        )
        return int(connection.execute(query).scalar() or 0)


def _read(transaction: Transaction, step: int) -> _Step | None:
    """Return the sums of the next checkpoints with about *step* entries; ``None`` where there is none."""
    checkpoints, segments = tables.checkpoints.c, tables.segments.c
    with transaction() as connection:
        after = _upto(connection)
        last = connection.execute(sa.select(sa.func.max(checkpoints.number))).scalar() or 0
        if last <= after:
            return None
        sizes = (
            sa.select(segments.checkpoint_number, sa.func.sum(segments.entry_count))
            .where(segments.checkpoint_number > after)
            .group_by(segments.checkpoint_number)
            .order_by(segments.checkpoint_number)
        )
        upto, entries = int(last), 0
        for number, size in connection.execute(sizes):
            if entries and entries + size > step:
                upto = int(number) - 1
                break
            entries += int(size)
        words = sums.Words(connection.dialect.name)
        rows = {table: _all(connection, select) for table, select in _sums(words, after, upto).items()}
        void = {table: _void(connection, table, holds) for table, holds in _HOLDS.items()}
        days = sorted({row[0] for row in rows[tables.daily_decisions]})
        return _Step(after=after, upto=upto, entries=entries, rows=rows, void=void, days=days)


def _void(connection: sa.Connection, table: sa.Table, holds: str) -> list[tuple[Any, ...]]:
    """Return the keys in *table* that hold no more (rule 5)."""
    key = ", ".join(column.name for column in table.primary_key)
    return _all(connection, f"SELECT {key} FROM {table.name} x WHERE NOT {holds}")  # noqa: S608


def _latency(transaction: Transaction, day: str) -> list[tuple[Any, ...]]:
    """Return the percentiles of *day*, of all its records."""
    with transaction() as connection:
        words = sums.Words(connection.dialect.name)
        source = sums.of_day(words, f"(SELECT CAST('{day}' AS text) AS day) d")
        return _all(connection, sums.latency(words, source))


def _write(transaction: Transaction, step: _Step, latency: dict[str, list[tuple[Any, ...]]]) -> bool:
    """Add *step* to the sums; ``False`` where another has done so in the meantime (rule 2)."""
    with transaction(write=True) as connection:
        _take_turn(connection)
        if _upto(connection) != step.after:
            return False
        for table, keys in step.void.items():
            _delete(connection, table, keys)
        for table, rows in step.rows.items():
            _add(connection, table, rows)
        kept = tables.daily_latency
        for day, rows in latency.items():
            connection.execute(sa.delete(kept).where(kept.c.day == day))
            if rows:
                connection.execute(sa.insert(kept), [_named(kept, row) for row in rows])
        now = datetime.now(timezone.utc)
        connection.execute(
            sa.insert(tables.summarised), {"checkpoint_number": step.upto, "summarised_at": now}
        )
    return True


def _delete(connection: sa.Connection, table: sa.Table, keys: Sequence[tuple[Any, ...]]) -> None:
    if keys:
        columns = list(table.primary_key)
        statement = sa.delete(table).where(
            *(column == sa.bindparam(f"of_{column.name}") for column in columns)
        )
        connection.execute(
            statement,
            [
                {f"of_{column.name}": value for column, value in zip(columns, key, strict=True)}
                for key in keys
            ],
        )


def _add(connection: sa.Connection, table: sa.Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Add *rows* to the sums of *table*, and stretch their spans; of marks the one that lasts is kept."""
    if not rows:
        return
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    insert = dialect.insert(table)
    changed: dict[str, Any] = {}
    for column in table.columns:
        if column.primary_key or (table in _MARKED and column.name != "awaited"):
            continue
        new = insert.excluded[column.name]
        if column.name == "awaited":
            changed[column.name] = column * new
        elif column.name in sums.SPAN:
            further = new < column if column.name == sums.SPAN[0] else new > column
            changed[column.name] = sa.case((further, new), else_=column)
        else:
            changed[column.name] = column + new
    key = list(table.primary_key)
    statement = (
        insert.on_conflict_do_update(index_elements=key, set_=changed)
        if changed
        else insert.on_conflict_do_nothing(index_elements=key)
    )
    connection.execute(statement, [_named(table, row) for row in rows])


def _named(table: sa.Table, row: tuple[Any, ...]) -> dict[str, Any]:
    return dict(zip(table.columns.keys(), row, strict=True))


def _all(connection: sa.Connection, sql: str) -> list[tuple[Any, ...]]:
    """Return the rows of *sql*, times as times on both databases."""
    result = connection.execution_options(no_parameters=True).exec_driver_sql(sql)
    times = [place for place, name in enumerate(result.keys()) if name in (*sums.SPAN, "checked_at")]
    return [_timed(tuple(row), times) for row in result]


def _timed(row: tuple[Any, ...], places: Sequence[int]) -> tuple[Any, ...]:
    if not places or isinstance(row[places[0]], datetime):
        return row
    return tuple(
        datetime.fromisoformat(f"{value}+00:00") if place in places else value
        for place, value in enumerate(row)
    )


def _column(connection: sa.Connection, sql: str) -> list[str]:
    return [row[0] for row in _all(connection, sql)]


def _upto(connection: sa.Connection) -> int:
    return int(
        connection.execute(sa.select(sa.func.max(tables.summarised.c.checkpoint_number))).scalar() or 0
    )


def _take_turn(connection: sa.Connection) -> None:
    if connection.dialect.name == "postgresql":  # SQLite has its one writer
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
