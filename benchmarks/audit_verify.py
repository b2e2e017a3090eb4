"""What does verifying cost beside reading? And does its memory grow?

    python benchmarks/audit_verify.py                             # 10,000 and 100,000 records, SQLite and PostgreSQL
    python benchmarks/audit_verify.py --records 20000 --only sqlite

For each database: the records are appended through the store (a thousand a transaction); then, in turns and as often
as ``--repeat`` says, a bare loop reads the same rows with the driver's own cursor, serialises each as JSON and hashes
it, and ``verify_database`` verifies. The ratio is of the medians: 1.0 is as fast as the bare loop; ``cpu`` is the same
of this process's CPU time, which others on the machine disturb less. Peak memory is that of a process of its own that
does nothing but verify.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path

from databases import DATABASES
from made_records import made_record

from railscribe.audit import AuditStore, tables
from railscribe.audit.database import open_engine, parse_url, reading
from railscribe.audit.rows import rows_of
from railscribe.audit.verify import verify_database

MS = timedelta(milliseconds=1)
START = datetime(2026, 3, 1, tzinfo=timezone.utc)
TABLES = (
    *("entries", "records", "record_categories", "record_notes", "record_images", "record_pieces"),
    *("late_traces", "contents"),
)


def fill(url: str, start: int, stop: int) -> None:
    """Append records *start* to before *stop*."""
    with AuditStore.open(url) as store:
        for first in range(start, stop, 1000):
            some = (
                made_record(at=START + 17 * number * MS) for number in range(first, min(first + 1000, stop))
            )
            batch = [rows_of(one, retention_class="default", keep_chars=100_000) for one in some]
            store.append_rows(batch, "Filling")


def bare(url: str) -> int:
    """Read every row that verifying reads, serialise and hash it; return how many rows that were."""
    parsed = parse_url(url)
    engine = open_engine(parsed)
    count = 0
    with reading(engine).begin() as connection:
        raw = connection.connection
        for name in TABLES:
            cursor = raw.cursor() if parsed.drivername == "sqlite" else raw.cursor(name=f"bare_{name}")
            cursor.execute(f"SELECT * FROM {name}")  # noqa: S608
            columns = [column.name for column in tables.metadata.tables[name].columns]
            while rows := cursor.fetchmany(1000):
                for row in rows:
                    text = json.dumps(dict(zip(columns, row, strict=True)), default=str, ensure_ascii=False)
                    hashlib.sha256(text.encode()).digest()
                    count += 1
            cursor.close()
    engine.dispose()
    return count


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds that *work* took on the wall, and of this process's CPU."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def peak_mb(url: str) -> float:
    """Return the peak memory of a process that verifies *url*."""
    ran = subprocess.run(
        [sys.executable, __file__, "--peak", url],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(ran.stdout.split()[-1])


def measure(kind: str, sizes: list[int], repeat: int) -> None:
    """Print the figures of one database."""
    with tempfile.TemporaryDirectory() as folder, DATABASES[kind](Path(folder)) as new:
        url, done = new(), 0
        for size in sizes:
            fill(url, done, size)
            done = size
            walls: dict[str, list[tuple[float, float]]] = {"bare": [], "verify": []}
            for _ in range(repeat):
                walls["bare"].append(timed(partial(bare, url)))
                walls["verify"].append(timed(partial(verified, url, size)))
            (loop, loop_cpu), (verify, verify_cpu) = (
                tuple(map(statistics.median, zip(*walls[name], strict=True))) for name in ("bare", "verify")
            )
            print(
                f"{kind:<10} {size:>7} records: bare loop {loop:6.2f} s, verify {verify:6.2f} s "
                f"({size / verify:,.0f} records/s), ratio {loop / verify:.2f}, cpu {loop_cpu / verify_cpu:.2f}, "
                f"peak {peak_mb(url):.0f} MB",
                flush=True,
            )


def verified(url: str, size: int) -> None:
    """Verify *url*, which holds *size* records."""
    report = verify_database(url)
    assert report.ok
    assert report.records == size


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--only", choices=["sqlite", "postgresql"])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.peak:
        verify_database(given.peak)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    with tempfile.TemporaryDirectory() as data:
        os.environ["XDG_DATA_HOME"] = data  # the key that the first entry makes
        for kind in [given.only] if given.only else ["sqlite", "postgresql"]:
            measure(kind, sorted(given.records), given.repeat)


if __name__ == "__main__":
    main()
