"""How long an auditor waits: every view and all thirty questions, over as many checks as you like.

    python benchmarks/audit_questions.py --database sqlite:////tmp/ten-million.db --checks 10000000
    python benchmarks/audit_questions.py --database postgresql://user@host/bench --checks 10000000
    python benchmarks/audit_questions.py --database sqlite:////tmp/ten-million.db --measure-only

Fills the database first (``filling.py``), which must be of this benchmark alone, with a made-up half year of two dozen
tenants (``made_year.py``): it measures questions, not the chain.

Then it sums up (``railscribe audit summarise``, timed), leaves the last hour to the records as a store in use does,
and asks each question as it stands, and each view what a person or a program would: sums of all there is, the newest
hundred rows, a day, a tenant, a person, an id. *--rounds* times each, with other tenants, people, days and ids. Prints
the p95 of the wall's clock and of the processors' (this process and the server's, as far as it runs here), which other
work on the machine does not stretch, and the bytes on disk a check.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import statistics
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import sqlalchemy as sa
from filling import analyse, fill
from made_year import ASKED_ID, FIRST, MINUTES, SUBJECTS, TENANTS

from railscribe.audit import AuditStore, schema
from railscribe.audit.database import open_engine, parse_url
from railscribe.errors import RailscribeError

QUESTIONS = Path(__file__).parents[1] / "examples" / "audit_queries.sql"
UNSUMMARISED = 60  # minutes that the views read from the records
GOAL_MS = 200
_SIZE = """SELECT sum(pg_total_relation_size(oid)) FROM pg_class
    WHERE relkind = 'r' AND relnamespace = CAST(current_schema() AS regnamespace)"""
"""Of the tables of this schema with their indexes, partitions included: others may share the database."""

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
            "v_checks latest": lambda: rows("v_checks"),
            "v_checks latest of a tenant": lambda: rows("v_checks", self.tenant()),
            "v_checks of a subject": lambda: rows("v_checks", self.subject()),
            "v_checks of an hour": lambda: rows("v_checks", self.at(1)),
            "v_contents of a record": lambda: whole("v_contents", f"record_{self.id()}"),
            "v_daily_decisions, all by day and outcome": lambda: groups("v_daily_decisions", "day, outcome"),
            "v_daily_decisions, all by policy": lambda: groups("v_daily_decisions", "policy, outcome, cause"),
            "v_daily_decisions of a tenant": lambda: groups(
                "v_daily_decisions", "day, policy, outcome", where=self.tenant()
            ),
            "v_daily_categories, all": lambda: groups("v_daily_categories", "tenant, policy, category"),
            "v_blocked_by_category_day, all": lambda: groups(
                "v_blocked_by_category_day", "day, category", "sum(blocked)"
            ),
            "v_rollout, all": lambda: groups("v_rollout", "tenant, rollout", "sum(would_have_been_refused)"),
            "v_rollout of a tenant": lambda: whole("v_rollout", self.tenant()),
            "v_undecided latest": lambda: rows("v_undecided"),
            "v_undecided of a day": lambda: rows("v_undecided", self.at()),
            "v_failures latest": lambda: rows("v_failures"),
            "v_failures of a day": lambda: rows("v_failures", self.at()),
            "v_reviews latest": lambda: rows("v_reviews"),
            "v_reviews of a day": lambda: groups("v_reviews", "reason, found_by", "count(*)", self.at()),
            "v_review_queue oldest": lambda: rows("v_review_queue", order="checked_at, id"),
            "v_review_queue oldest of a tenant": lambda: rows(
                "v_review_queue", self.tenant(), "checked_at, id"
            ),
            "v_review_queue, how many": lambda: groups("v_review_queue", "tenant, state", "count(*)"),
            "v_review_decisions latest": lambda: rows("v_review_decisions", order="reviewed_at DESC"),
            "v_review_decisions of a record": lambda: whole("v_review_decisions", self.id()),
            "v_review_decisions of a week": lambda: groups(
                "v_review_decisions", "reviewed_by, decision", "count(*)", self.at(168, "reviewed_at")
            ),
            "v_disagreements latest": lambda: rows("v_disagreements"),
            "v_disagreements of a day": lambda: rows("v_disagreements", self.at()),
            "v_late_traces latest": lambda: rows("v_late_traces"),
            "v_late_traces of a day": lambda: groups("v_late_traces", "state", "count(*)", self.at()),
            "v_notes latest": lambda: rows("v_notes"),
            "v_notes of a kind": lambda: rows("v_notes", "kind = 'neutralised'"),
            "v_images latest": lambda: rows("v_images"),
            "v_images of a day": lambda: rows("v_images", self.at()),
            "v_streams latest": lambda: rows("v_streams", order="began_at DESC"),
            "v_streams of a tenant": lambda: rows("v_streams", self.tenant(), "began_at DESC"),
            "v_streams of a day": lambda: rows("v_streams", self.at(column="began_at"), "began_at"),
            "v_refusals latest": lambda: rows("v_refusals"),
            "v_refusals of a day": lambda: rows("v_refusals", self.at()),
            "v_refusals latest of a tenant": lambda: rows("v_refusals", self.tenant()),
            "v_refusals of a subject": lambda: rows("v_refusals", self.subject()),
            "v_reasons by id": lambda: rows("v_reasons", self.id()),
            "v_statements_of_reasons latest": lambda: rows(
                "v_statements_of_reasons", order="decided_at DESC"
            ),
            "v_statements_of_reasons of a day": lambda: rows(
                "v_statements_of_reasons", self.at(column="decided_at"), "decided_at"
            ),
            "v_held of a subject": lambda: whole("v_held", self.subject()),
            "v_engine_days, all": lambda: whole("v_engine_days"),
            "v_engine_timeline, all": lambda: whole("v_engine_timeline"),
            "v_latency, all": lambda: whole("v_latency"),
            "v_latency of a day": lambda: whole("v_latency", self.day()),
            "v_hours, all": lambda: whole("v_hours"),
            "v_hours of a day": lambda: whole("v_hours", self.day()),
            "v_log_coverage, all": lambda: whole("v_log_coverage"),
            "v_unsummarised, how many": lambda: "SELECT count(*) FROM v_unsummarised",
            **{
                f"{view}, all": partial(whole, view)
                for view in (
                    "v_policy_tags",
                    "v_policy_timeline",
                    "v_gaps",
                    "v_erasures",
                    "v_holds",
                    "v_prunes",
                    "v_interface",
                )
            },
        }


def measure(store: AuditStore, rounds: int, only: str = "") -> dict[str, list[tuple[float, float]]]:
    """Return the milliseconds of each question and view, in the order asked: the wall's, and of processors."""
    _, found = store.select("SELECT id FROM records ORDER BY checked_at DESC LIMIT 1000")
    asker = Asker([ASKED_ID, *(row[0] for row in found)])
    _, views = store.select("SELECT name FROM v_interface")
    unasked = {name for (name,) in views} - {re.split(r"[ ,]", title)[0] for title in asker.views()}
    assert not unasked, f"nothing is asked of {', '.join(sorted(unasked))}"
    asked: dict[str, Callable[[], str]] = {title: partial(str, sql) for title, sql in questions().items()}
    took: dict[str, list[tuple[float, float]]] = {}
    server = _server(store)
    for title, make in (asked | asker.views()).items():
        if not title.startswith(only):
            continue
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
            size = int(connection.execute(sa.text(_SIZE)).scalar_one())
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
    parser.add_argument("--only", default="", help="ask only of views whose name begins so")
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
        fill(options.database, options.checks, MINUTES, bare=False)
        analyse(options.database)
    with AuditStore.open(options.database) as store:
        checks = store.select("SELECT count(*) FROM records")[1][0][0]
        took = measure(store, options.rounds, options.only)
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


if __name__ == "__main__":
    main()
