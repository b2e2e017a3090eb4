"""How long an auditor waits: every view and all thirty questions, over as many checks as you like.

    python -m benchmarks.audit_questions --database sqlite:////tmp/ten-million.db --checks 10000000
    python -m benchmarks.audit_questions --database postgresql://user@host/bench --checks 10000000
    python -m benchmarks.audit_questions --database sqlite:////tmp/ten-million.db --measure-only

Fills the database first, which must be of this benchmark alone: half a year of two dozen tenants from January 2026, a
checkpoint a minute, with ``COPY`` on PostgreSQL and ``executemany`` on SQLite. Killed, it goes on where it was.
Triggers are off while it fills, and leaves and signatures are made up: it measures questions, not the chain.

Then it sums up (``railscribe audit summarise``, timed), leaves the last hour to the records as a store in use does,
and asks each question as it stands, and each view with the filters that a program would put on it, *--rounds* times
with other tenants, people, days and ids. Prints the p95 of the wall's clock and of the processors' (this process and
the server's, as far as it runs here), which other work on the machine does not stretch, and the bytes on disk a check.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

from railscribe.audit import AuditStore, schema, tables
from railscribe.audit.database import open_engine, parse_url, writing
from railscribe.audit.rows import rows_of
from railscribe.errors import RailscribeError
from railscribe.policy import load_policy, render
from railscribe.values import (
    Category,
    Cause,
    Completion,
    Decision,
    Direction,
    Enforcement,
    EngineInfo,
    Exchange,
    Flags,
    Identity,
    Label,
    Outcome,
    Reasoning,
    Record,
    Side,
    SideVerdict,
    Verdict,
)

QUESTIONS = Path(__file__).parents[1] / "examples" / "audit_queries.sql"
FIRST = datetime(2026, 1, 1, tzinfo=timezone.utc)
MINUTES = 181 * 24 * 60
BATCH = 240  # minutes in one transaction
UNSUMMARISED = 60  # minutes that the views read from the records
WRITER = "benchmark"
TENANTS = ("acme", *(f"tenant-{number:02}" for number in range(1, 24)))
SUBJECTS = 50_000
ASKED_ID = "019ced4f-0000-7000-8000-000000000000"
"""The record of question 7."""
GOAL_MS = 200

_COLUMNS = {table.name: tuple(table.columns.keys()) for table in tables.metadata.sorted_tables}
_PLACE = {name: {column: place for place, column in enumerate(names)} for name, names in _COLUMNS.items()}


@dataclass(frozen=True, slots=True)
class Shape:
    """One way in which checks end, as rows that lack time, identity and what is random."""

    record: list[Any]
    children: dict[str, list[list[Any]]]
    late: bool


# --- what is put in


def shapes(engine: EngineInfo, policy: str) -> tuple[list[Shape], list[float]]:
    """Return the shapes of checks by *engine* under *policy*, and how often each comes."""
    rendering = render(load_policy(policy))
    found, weights = [], []
    for outcome, categories, direction, weight in _mix():
        for reasoning, late, share in ((Reasoning.OFF, False, 0.94), (Reasoning.DEFERRED, True, 0.06)):
            unsafe = outcome in (Outcome.BLOCK, Outcome.FLAG)
            record = Record(
                id=ASKED_ID,
                checked_at=FIRST,
                identity=Identity(tenant="acme", session="s", request="r", subject="u"),
                direction=direction,
                rail=f"railscribe check {direction.value}",
                host="nemoguardrails 0.24.1",
                exchange=Exchange(
                    user="x" * 160, response="y" * 300 if direction is Direction.OUTPUT else None
                ),
                rendering=rendering,
                engine=engine,
                flags=Flags(),
                neutralised=("user_marker",) if unsafe and len(categories) > 1 else (),
                completion=Completion(
                    text="User Safety: safe", finish_reason="stop", prompt_tokens=512, completion_tokens=12
                ),
                verdict=_verdict(outcome, categories, direction),
                decision=Decision(
                    outcome=outcome,
                    sides=(Side.USER if direction is Direction.INPUT else Side.RESPONSE,),
                    categories=categories if unsafe else (),
                    cause=Cause.TIMEOUT if outcome is Outcome.UNDECIDED else None,
                    rule=f"category '{categories[0]}' blocks" if categories else "nothing applies",
                ),
                enforcement=Enforcement.REFUSED
                if outcome in (Outcome.BLOCK, Outcome.UNDECIDED)
                else Enforcement.PASSED,
                image=None,
                latency_ms={"render": 0.4, "engine": 100.0, "decide": 0.1},
                reasoning=reasoning,
            )
            rows = rows_of(record, retention_class="default", keep_chars=0)
            children = {
                table.name: [_listed(table.name, row) for row in some]
                for table, some in rows.own.items()
                if some and table not in (tables.records, tables.contents)
            }
            found.append(Shape(_listed("records", rows.own[tables.records][0]), children, late=late))
            weights.append(weight * share)
    return found, weights


def _mix() -> Iterator[tuple[Outcome, tuple[str, ...], Direction, float]]:
    """Yield how checks end, with which categories, in which direction, and how often in a hundred."""
    for direction, share in ((Direction.INPUT, 0.6), (Direction.OUTPUT, 0.4)):
        yield Outcome.ALLOW, (), direction, 90 * share
        for category, weight in (
            ("Violence", 2.0),
            ("Malware", 1.2),
            ("PII/Privacy", 1.2),
            ("Harassment", 0.8),
        ):
            yield Outcome.BLOCK, (category,), direction, weight * share
        yield Outcome.BLOCK, ("Threat", "Violence"), direction, 0.4 * share
        yield Outcome.FLAG, ("Profanity",), direction, 2.0 * share
        yield Outcome.UNDECIDED, (), direction, 2.4 * share


def _verdict(outcome: Outcome, categories: tuple[str, ...], direction: Direction) -> Verdict:
    if outcome is Outcome.UNDECIDED:
        side = SideVerdict(label=Label.UNREADABLE, cause=Cause.TIMEOUT)
    else:
        unsafe = bool(categories)
        side = SideVerdict(label=Label.UNSAFE if unsafe else Label.SAFE, score=0.9 if unsafe else 0.02)
    return Verdict(
        user=side,
        response=side if direction is Direction.OUTPUT else None,
        categories=tuple(Category(name=name, said=name.lower(), known=True) for name in categories),
        reply="User Safety: safe",
    )


def _listed(table: str, row: dict[str, Any]) -> list[Any]:
    return [row.get(column) for column in _COLUMNS[table]]


ENGINES = [
    EngineInfo(name="openai_compatible", model="nvidia/Nemotron-3.5-Content-Safety", backend="vllm",
               backend_version=version, dtype="bfloat16", template_digest=letter * 64)
    for version, letter in (("0.24.0", "a"), ("0.25.0", "b"), ("0.25.1", "c"))
]  # fmt: skip
POLICIES = ("default", "dev-tools-assistant", "customer-support")


class Year:
    """The rows of each batch of minutes: the same for the same numbers, whenever they are asked for."""

    def __init__(self, checks: int) -> None:
        self.checks = checks
        self.shapes = {
            (engine, policy): shapes(ENGINES[engine], policy)
            for engine in range(len(ENGINES))
            for policy in POLICIES
        }
        chance = random.Random(9)
        self.tenants = [1 / (place + 1) for place in range(len(TENANTS))]
        self.policy_of = {tenant: chance.choice(POLICIES) for tenant in TENANTS}

    def shared(self) -> Iterator[tuple[sa.Table, dict[str, Any]]]:
        for engine in ENGINES:
            for policy in POLICIES:
                some = _plain_record(engine, policy)
                yield from rows_of(some, retention_class="default", keep_chars=0).shared.items()

    def batch(self, first: int, last: int) -> dict[str, list[list[Any]]]:
        """Return the rows of the minutes from *first* to before *last*, by table."""
        chance = random.Random(first)
        rows: dict[str, list[list[Any]]] = {
            name: [] for name in ("records", "record_categories", "record_notes", "late_traces", "entries")
        }
        rows |= {"checkpoints": [], "segments": []}
        for minute in range(first, last):
            count = self.checks * (minute + 1) // MINUTES - self.checks * minute // MINUTES
            self._minute(minute, count, chance, rows)
        return rows

    def _minute(
        self, minute: int, count: int, chance: random.Random, rows: dict[str, list[list[Any]]]
    ) -> None:
        begins = FIRST + timedelta(minutes=minute)
        segment, engine = f"{WRITER}.{minute}", min(2, minute * 3 // MINUTES)
        offsets = sorted(chance.randrange(60_000_000) for _ in range(count))
        for position, offset in enumerate(offsets):
            at = begins + timedelta(microseconds=offset)
            self._check(at, engine, chance, rows, segment, position)
        random_hex = f"{chance.getrandbits(256):064x}"
        rows["checkpoints"].append(
            [minute + 1, begins + timedelta(seconds=60), WRITER, "scheduled", None, WRITER, random_hex,
             "{}", random_hex * 2]
        )  # fmt: skip
        if count:
            rows["segments"].append(
                [segment, WRITER, minute, "default", f"{begins:%Y-%m}", count, random_hex, minute + 1]
            )

    def _check(
        self,
        at: datetime,
        engine: int,
        chance: random.Random,
        rows: dict[str, list[list[Any]]],
        segment: str,
        position: int,
    ) -> None:
        tenant = chance.choices(TENANTS, self.tenants)[0]
        found, weights = self.shapes[engine, self.policy_of[tenant]]
        shape = chance.choices(found, weights)[0]
        noise = chance.getrandbits(512)
        milliseconds = int(at.timestamp() * 1000)
        number = noise & 0xFFFFFFFFFFFF
        identity = (
            f"{milliseconds >> 16:08x}-{milliseconds & 0xFFFF:04x}-7{noise & 0xFFF:03x}-8000-{number:012x}"
        )
        if segment == f"{WRITER}.{_MINUTE_OF_ASKED}" and position == 0:
            identity = ASKED_ID
        place = _PLACE["records"]
        row = shape.record.copy()
        row[place["checked_at"]], row[place["id"]], row[place["tenant"]] = at, identity, tenant
        row[place["session"]] = f"session-{number % 3_000_000}"
        row[place["request"]] = f"{number:012x}"
        row[place["subject"]] = f"user-{number % SUBJECTS}"
        commitment = f"{noise:0128x}"
        row[place["user_commitment"]], row[place["reply_commitment"]] = commitment[:64], commitment[64:]
        if row[place["response_chars"]] is not None:
            row[place["response_commitment"]] = commitment[32:96]
        row[place["engine_ms"]] = engine_ms = round(chance.lognormvariate(5.3, 0.45), 3)
        row[place["total_ms"]] = engine_ms + 0.5
        rows["records"].append(row)
        rows["entries"].append([at, "record", identity, segment, position, commitment[16:80]])
        for table, some in shape.children.items():
            for child in some:
                rows[table].append([at, identity, *child[2:]])
        if shape.late and number % 20:  # the others are awaited
            rows["late_traces"].append(_late(at, identity, number))


_MINUTE_OF_ASKED = int((datetime(2026, 3, 14, 23, 59, tzinfo=timezone.utc) - FIRST).total_seconds() // 60)


def _late(at: datetime, identity: str, number: int) -> list[Any]:
    lost = number % 50 == 1
    told = {
        "checked_at": at,
        "record_id": identity,
        "requested_at": at,
        "ended_at": at + timedelta(seconds=4),
        "state": "lost" if lost else "received",
        "cause": "closed" if lost else None,
        "user_label": None if lost else ("unsafe" if number % 30 == 2 else "safe"),
        "disagrees": None if lost else number % 30 == 2,
        "contradicts": None if lost else number % 200 == 3,
        "engine_ms": None if lost else 3900.0,
        "trace_chars": None if lost else 600,
    }
    return [told.get(column) for column in _COLUMNS["late_traces"]]


def _plain_record(engine: EngineInfo, policy: str) -> Record:
    side = SideVerdict(label=Label.SAFE)
    return Record(
        id=ASKED_ID, checked_at=FIRST, identity=Identity(), direction=Direction.INPUT, rail="", host="",
        exchange=Exchange(user=""), rendering=render(load_policy(policy)), engine=engine, flags=Flags(),
        neutralised=(), completion=None, verdict=Verdict(user=side), image=None, latency_ms={},
        decision=Decision(outcome=Outcome.ALLOW, sides=(Side.USER,)), enforcement=Enforcement.PASSED,
    )  # fmt: skip


# --- putting it in


def fill(url: str, checks: int, upto: int) -> None:
    """Fill the database at *url* to the minute *upto*, from where an earlier run left it."""
    year, engine = Year(checks), writing(open_engine(parse_url(url)))
    with engine.begin() as connection:
        done = int(
            connection.execute(sa.text("SELECT coalesce(max(number), 0) FROM checkpoints")).scalar_one()
        )
        if not done:
            _begin(connection, year)
    columns = (
        "[progress.description]{task.description}", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as progress, _without_triggers(engine):
        bar = progress.add_task("minutes", total=upto, completed=done)
        for first in range(done, upto, BATCH):
            rows = year.batch(first, min(first + BATCH, upto))
            with engine.begin() as connection:
                if connection.dialect.name == "postgresql":
                    connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
                    connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
                for table, some in rows.items():
                    _insert(connection, table, some)
            progress.update(bar, completed=min(first + BATCH, upto))
    engine.dispose()


def _begin(connection: sa.Connection, year: Year) -> None:
    if connection.execute(sa.text("SELECT 1 FROM records LIMIT 1")).first():
        sys.exit("This database has records already, and is not this benchmark's.")
    known = set()
    for table, row in year.shared():
        if row["digest"] not in known:
            known.add(row["digest"])
            connection.execute(sa.insert(table), row)
    connection.execute(
        sa.insert(tables.signing_keys), {"id": WRITER, "public_key": "0" * 64, "known_at": FIRST}
    )
    connection.execute(
        sa.insert(tables.writers),
        {"id": WRITER, "opened_at": FIRST, "host": "benchmark", "pid": 1, "quiet_s": 60,
         "railscribe_version": "benchmark"},
    )  # fmt: skip


def _insert(connection: sa.Connection, table: str, rows: list[list[Any]]) -> None:
    if not rows:
        return
    names = ", ".join(f'"{name}"' for name in _COLUMNS[table])
    raw: Any = connection.connection
    if connection.dialect.name == "postgresql":
        with raw.cursor() as cursor, cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
            copy.write("".join(map(_line, rows)))
        return
    marks = ", ".join("?" * len(_COLUMNS[table]))
    times = [place for place, value in enumerate(rows[0]) if isinstance(value, datetime)]
    for row in rows:
        for place in times:
            row[place] = f"{row[place]:%Y-%m-%d %H:%M:%S.%f}"
    raw.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", rows)


def _line(row: list[Any]) -> str:
    """Return *row* as COPY takes it; nothing that is made up here needs escaping."""
    return "\t".join("\\N" if value is None else str(value) for value in row) + "\n"


class _without_triggers:  # noqa: N801 - a context manager
    """Takes SQLite's triggers away meanwhile: they ask for each row's entry, and whether it is there already."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._taken: list[tuple[str, str]] = []

    def __enter__(self) -> None:
        if self._engine.dialect.name == "sqlite":
            with self._engine.begin() as connection:
                found = connection.execute(
                    sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
                )
                self._taken = [(str(trigger), str(sql)) for trigger, sql in found]
                for name, _ in self._taken:
                    connection.exec_driver_sql(f"DROP TRIGGER {name}")

    def __exit__(self, *_: object) -> None:
        with self._engine.begin() as connection:
            for _name, statement in self._taken:
                connection.exec_driver_sql(statement)


# --- asking
# ruff: noqa: S608 - names and values, all of them ours


def questions() -> dict[str, str]:
    text = QUESTIONS.read_text(encoding="utf-8")
    return dict(re.findall(r"^-- (\d+\. .*)\n([^;]+;)", text, re.MULTILINE))


class Asker:
    """Makes the questions that a program asks of each view, each time of somebody else."""

    def __init__(self, ids: list[str]) -> None:
        self._chance = random.Random(17)
        self._ids = ids

    def id(self) -> str:
        return f"id = '{self._chance.choice(self._ids)}'"

    def tenant(self) -> str:
        return f"tenant = '{self._chance.choice(TENANTS)}'"

    def subject(self) -> str:
        return f"tenant = 'acme' AND subject = 'user-{self._chance.randrange(SUBJECTS)}'"

    def day(self) -> str:
        return f"day = '{self._day():%Y-%m-%d}'"

    def at(self, hours: int = 24, column: str = "checked_at") -> str:
        first = self._day()
        last = first + timedelta(hours=hours)
        return f"{column} >= '{first:%Y-%m-%d %H}:00:00+00' AND {column} < '{last:%Y-%m-%d %H}:00:00+00'"

    def _day(self) -> datetime:
        return FIRST + timedelta(days=self._chance.randrange(MINUTES // 1440))

    def views(self) -> dict[str, Callable[[], str]]:
        """Return a maker of SELECTs for each view, some with several."""

        def rows(view: str, where: str = "true", order: str = "checked_at DESC") -> str:
            return f"SELECT * FROM {view} WHERE {where} ORDER BY {order} LIMIT 100"

        def groups(view: str, names: str, what: str = "sum(checks)", where: str = "true") -> str:
            return f"SELECT {names}, {what} FROM {view} WHERE {where} GROUP BY {names} ORDER BY {names}"

        def whole(view: str, where: str = "true") -> str:
            return f"SELECT * FROM {view} WHERE {where}"

        return {
            "v_checks by id": lambda: rows("v_checks", self.id()),
            "v_checks latest of a tenant": lambda: rows("v_checks", self.tenant()),
            "v_checks of a subject": lambda: rows("v_checks", self.subject()),
            "v_checks of an hour": lambda: rows("v_checks", self.at(1)),
            "v_daily_decisions, all by day and outcome": lambda: groups("v_daily_decisions", "day, outcome"),
            "v_daily_decisions, all by policy": lambda: groups("v_daily_decisions", "policy, outcome, cause"),
            "v_daily_decisions of a tenant": lambda: groups(
                "v_daily_decisions", "day, policy, outcome", where=self.tenant()
            ),
            "v_daily_categories, all": lambda: groups("v_daily_categories", "tenant, policy, category"),
            "v_blocked_by_category_day, all": lambda: whole("v_blocked_by_category_day"),
            "v_undecided latest": lambda: rows("v_undecided"),
            "v_undecided of a day": lambda: rows("v_undecided", self.at()),
            "v_failures of a day": lambda: rows("v_failures", self.at()),
            "v_reviews of a day": lambda: groups("v_reviews", "reason, found_by", "count(*)", self.at()),
            "v_disagreements of a day": lambda: rows("v_disagreements", self.at()),
            "v_late_traces of a day": lambda: groups("v_late_traces", "state", "count(*)", self.at()),
            "v_notes of a kind": lambda: rows("v_notes", "kind = 'neutralised'"),
            "v_images latest": lambda: rows("v_images"),
            "v_refusals of a day": lambda: rows("v_refusals", self.at()),
            "v_refusals latest of a tenant": lambda: rows("v_refusals", self.tenant()),
            "v_refusals of a subject": lambda: rows("v_refusals", self.subject()),
            "v_reasons by id": lambda: rows("v_reasons", self.id()),
            "v_statements_of_reasons of a day": lambda: rows(
                "v_statements_of_reasons", self.at(column="decided_at"), "decided_at"
            ),
            "v_policy_tags, all": lambda: whole("v_policy_tags"),
            "v_policy_timeline, all": lambda: whole("v_policy_timeline"),
            "v_engine_days, all": lambda: whole("v_engine_days"),
            "v_engine_timeline, all": lambda: whole("v_engine_timeline"),
            "v_latency, all": lambda: whole("v_latency"),
            "v_latency of a day": lambda: whole("v_latency", self.day()),
            "v_held of a subject": lambda: whole("v_held", self.subject()),
            "v_hours, all": lambda: whole("v_hours"),
            "v_hours of a day": lambda: whole("v_hours", self.day()),
            "v_gaps, all": lambda: whole("v_gaps"),
            "v_log_coverage, all": lambda: whole("v_log_coverage"),
            "v_unsummarised, how many": lambda: "SELECT count(*) FROM v_unsummarised",
            "v_interface, all": lambda: whole("v_interface"),
        }


def measure(store: AuditStore, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Return the milliseconds of each question and view, in the order asked: the wall's, and of processors."""
    _, found = store.select("SELECT id FROM records ORDER BY checked_at DESC LIMIT 1000")
    asker = Asker([ASKED_ID, *(row[0] for row in found)])
    asked: dict[str, Callable[[], str]] = {title: partial(str, sql) for title, sql in questions().items()}
    took: dict[str, list[tuple[float, float]]] = {}
    server = _server(store)
    for title, make in (asked | asker.views()).items():
        for _ in range(rounds):
            sql = make()
            began = time.perf_counter(), time.process_time() + server()
            store.select(sql)
            ended = time.perf_counter(), time.process_time() + server()
            wall, processors = (1000 * (to - at) for at, to in zip(began, ended, strict=True))
            took.setdefault(title, []).append((wall, processors))
            if sum(wall for wall, _ in took[title]) > 30_000:
                break
    return took


def _server(store: AuditStore) -> Callable[[], float]:
    """Return what tells the seconds of processor that the server's end of *store* has used, in ticks of 10 ms."""
    try:
        _, [(pid,)] = store.select("SELECT pg_backend_pid()")
        stat = Path(f"/proc/{pid}/stat")
        stat.read_text()
    except (RailscribeError, OSError):
        return lambda: 0.0

    def used() -> float:
        fields = stat.read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    return used


def bytes_on_disk(url: str) -> int:
    parsed = parse_url(url)
    engine = open_engine(parsed)
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            path = Path(str(parsed.database))
            size = sum(p.stat().st_size for p in (path, path.with_name(path.name + "-wal")) if p.exists())
        else:
            size = int(
                connection.execute(sa.text("SELECT pg_database_size(current_database())")).scalar_one()
            )
    engine.dispose()
    return size


def nearest_rank(values: list[float], percent: int = 95) -> float:
    return sorted(values)[-(-percent * len(values) // 100) - 1]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--database", required=True, help="a URL; a SQLite file is made")
    parser.add_argument("--checks", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--measure-only", action="store_true")
    parser.add_argument("--json", type=Path, help="write all figures there")
    options = parser.parse_args()

    if not options.measure_only:
        schema.upgrade(options.database)
        began = time.perf_counter()
        fill(options.database, options.checks, MINUTES - UNSUMMARISED)
        print(f"filled in {time.perf_counter() - began:.0f} s")
        with AuditStore.open(options.database) as store:
            began = time.perf_counter()
            taken = store.summarise()
            print(f"{taken.entries:,} entries summed up in {time.perf_counter() - began:.0f} s")
        fill(options.database, options.checks, MINUTES)
        _analyse(options.database)
    with AuditStore.open(options.database) as store:
        checks = store.select("SELECT count(*) FROM entries")[1][0][0]
        took = measure(store, options.rounds)
    size = bytes_on_disk(options.database)
    print(f"\n{checks:,} checks, {size / checks:,.0f} bytes a check on disk ({size / 1e9:.1f} GB)\n")
    print(f"{'p95 ms':>9} {'median':>9} {'first':>9} {'cpu p95':>9}")
    for title, times in took.items():
        walls, processors = ([pair[place] for pair in times] for place in (0, 1))
        p95 = nearest_rank(walls)
        mark = " " if p95 < GOAL_MS else "!"
        told = (
            f"{p95:>9.1f} {statistics.median(walls):>9.1f} {walls[0]:>9.1f} {nearest_rank(processors):>9.1f}"
        )
        print(f"{told} {mark} {title}")
    if options.json:
        options.json.write_text(json.dumps({"checks": checks, "bytes": size, "ms": took}, indent=1))


def _analyse(url: str) -> None:
    engine = writing(open_engine(parse_url(url)))
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
        connection.exec_driver_sql("ANALYZE")
    engine.dispose()


if __name__ == "__main__":
    main()
