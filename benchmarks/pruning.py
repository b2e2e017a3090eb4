"""What pruning costs: with the triggers that let go only what a prune names, and without; by drop and by delete.

    python benchmarks/pruning.py --records 100000
    python benchmarks/pruning.py --by-month --records 100000

*Without* is the same prune on a database whose triggers on DELETE are taken off. *By month* (PostgreSQL) compares a
month that is dropped whole with the same month of which a record of a longer term stays. All are filled alike.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

from databases import DATABASES, postgresql
from made_records import made_record

from railscribe.audit import AuditStore, partitions, prune
from railscribe.audit.database import open_engine, parse_url, writing
from railscribe.audit.rows import rows_of

_BATCH = 1000


def measure(url: str, records: int, *, guarded: bool, stays: bool = False) -> dict[str, float]:
    """Fill the database at *url* and prune it; return the seconds that each took."""
    at = datetime.now(tz=timezone.utc) - timedelta(days=400)
    _make_month(url, at)
    with AuditStore.open(url) as store:
        began = time.perf_counter()
        for _ in range(0, records, _BATCH):
            some = [
                rows_of(made_record(at=at), retention_class="default", keep_chars=100_000)
                for _ in range(_BATCH)
            ]
            store.append_rows(some, "Filling")
        if stays:
            store.append_rows(
                [rows_of(made_record(at=at), retention_class="six_years", keep_chars=0)], "Filling"
            )
        store.seal()
        filled = time.perf_counter() - began
        if not guarded:
            _take_off(url)
        began = time.perf_counter()
        (done,) = prune(store, terms={"default": 183}, by="benchmark", reason="to measure it")
        took = time.perf_counter() - began
    assert done.records == records
    assert bool(done.months) is (url.startswith("postgresql") and not stays)
    return {"fill_s": round(filled, 1), "prune_s": round(took, 2)}


def _make_month(url: str, at: datetime) -> None:
    """Make the month of *at*, as if it had been made ahead."""
    engine = writing(open_engine(parse_url(url)))
    with engine.begin() as connection:
        if partitions.months(connection):
            partitions.make_month(connection, partitions.Month.of(at))
    engine.dispose()


def _take_off(url: str) -> None:
    engine = writing(open_engine(parse_url(url)))
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            query = (
                "SELECT name, tbl_name FROM sqlite_master WHERE type = 'trigger' AND name LIKE '%_no_delete'"
            )
        else:
            query = """SELECT DISTINCT trigger_name, event_object_table FROM information_schema.triggers
                       WHERE trigger_name LIKE '%_no_delete' AND trigger_schema = current_schema()"""
        for name, table in connection.exec_driver_sql(
            query.replace("%", "%%") if "DISTINCT" in query else query
        ):
            on = "" if engine.dialect.name == "sqlite" else f" ON {table}"
            connection.exec_driver_sql(f"DROP TRIGGER {name}{on}")
    engine.dispose()


def _by_month(records: int) -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name, postgresql(Path(name)) as new:
        found = {
            words: measure(new(), records, guarded=True, stays=stays)
            for words, stays in (("drop", False), ("delete", True))
        }
    ratio = found["drop"]["prune_s"] / found["delete"]["prune_s"]
    print(json.dumps({"records": records, **found, "drop_over_delete": round(ratio, 3)}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--database", choices=sorted(DATABASES), action="append")
    parser.add_argument("--by-month", action="store_true")
    chosen = parser.parse_args()
    if chosen.by_month:
        _by_month(chosen.records)
        return
    for database in chosen.database or sorted(DATABASES):
        with (
            tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name,
            DATABASES[database](Path(name)) as new,
        ):
            found = {
                words: measure(new(), chosen.records, guarded=guarded, stays=True)
                for words, guarded in (("without", False), ("with", True))
            }
        ratio = found["with"]["prune_s"] / found["without"]["prune_s"]
        told = {
            "database": database,
            "records": chosen.records,
            **found,
            "with_over_without": round(ratio, 2),
        }
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
