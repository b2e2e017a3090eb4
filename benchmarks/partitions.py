"""What partitions by month cost who appends or looks up one record on PostgreSQL: without, and with so many months.

    python benchmarks/partitions.py --records 20000

The databases are filled alike. *Without* is at head, but skipped revision 0008.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from databases import DATABASES
from made_records import made_record

from railscribe.audit import AuditStore, partitions, schema, tables
from railscribe.audit.database import open_engine, parse_url, writing
from railscribe.audit.rows import rows_of

_BATCH = 1000


def lay_out(url: str, months: int) -> None:
    """Bring the database at *url* to head with *months* made, or not partitioned."""
    schema.downgrade(url, "0007")
    engine = writing(open_engine(parse_url(url)))
    with engine.begin() as connection:
        if not months:
            connection.execute(sa.text(f"UPDATE {tables.VERSION_TABLE} SET version_num = '0008'"))  # noqa: S608
    schema.upgrade(url)
    with engine.begin() as connection:
        made = partitions.months(connection)
        for number in range(months - len(made)):
            partitions.make_month(connection, partitions.Month(made[0].number - 1 - number))
    engine.dispose()


def measure(url: str, records: int, tries: int) -> dict[str, float]:
    """Fill the database at *url*; return medians, in milliseconds."""
    ids = []
    with AuditStore.open(url) as store:
        began = time.perf_counter()
        for _ in range(0, records, _BATCH):
            some = [made_record() for _ in range(_BATCH)]
            ids += [record.id for record in some]
            store.append_rows(
                [rows_of(record, retention_class="default", keep_chars=100_000) for record in some], "Filling"
            )
        filled = time.perf_counter() - began
        sought = ids[:: max(1, len(ids) // tries)]
        return {
            "fill_records_a_second": round(records / filled),
            "append_ms": _median([made_record() for _ in range(tries)], store.append),
            "key_of_ms": _median(sought, store.key_of),
            "record_ms": _median(sought, store.record),
        }


def _median(things: list[Any], do: Callable[[Any], object]) -> float:
    took = []
    for thing in things:
        began = time.perf_counter()
        do(thing)
        took.append(time.perf_counter() - began)
    return round(1000 * statistics.median(took), 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--tries", type=int, default=500)
    parser.add_argument("--months", type=int, action="append", help="how many are made; 0 is without")
    chosen = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name,
        DATABASES["postgresql"](Path(name)) as new,
    ):
        for months in chosen.months or [0, 13, 73]:
            url = new()
            lay_out(url, months)
            print(json.dumps({"months": months, **measure(url, chosen.records, chosen.tries)}), flush=True)


if __name__ == "__main__":
    main()
