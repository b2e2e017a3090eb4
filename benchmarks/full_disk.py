"""Fills the disk under PostgreSQL's tables and says what became of every record.

    python benchmarks/full_disk.py            # as root: it mounts a small tmpfs, and takes it away again

The tables lie in a tablespace on a tmpfs of a few megabytes, the spool and the server's log elsewhere. Records are
appended until some have gone to the spool, and then some more; the disk is made larger; the spool is replayed; every
acknowledged record is looked for, and all is verified. No test, because only root may mount.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from databases import postgresql
from made_records import made_record

from railscribe.audit import AuditStore
from railscribe.audit.verify import verify_database

_NOBODY = 65534
_PATIENCE_S = 120


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--megabytes", type=int, default=12)
    parser.add_argument(
        "--more", type=int, default=200, help="records after the first that waits in the spool"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, small_disk(given.megabytes) as disk:
        folder = Path(name)
        with postgresql(folder) as new:
            url = new("before")
            _on_disk(url, disk)
            url = new("on_it")
            print(json.dumps(_fill(url, folder / "spool", disk, given.more), indent=1))


@contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    """Give a folder with so much space, PostgreSQL's own."""
    path = Path(tempfile.mkdtemp())
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(path)], check=True)  # noqa: S607
    try:
        os.chown(path, _NOBODY, _NOBODY)
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)  # noqa: S607
        path.rmdir()


def _run(url: str, *statements: str) -> None:
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def _on_disk(url: str, disk: Path) -> None:
    location = f"CREATE TABLESPACE small LOCATION '{disk}'"
    _run(url, location, "ALTER DATABASE postgres SET default_tablespace = 'small'")


def _fill(url: str, spool: Path, disk: Path, more: int) -> dict[str, object]:
    acknowledged: list[str] = []
    with AuditStore.open(url, spool_dir=spool, keep_chars=4000) as store:
        first = None
        while first is None or len(acknowledged) < first + more:
            record = made_record()
            store.append(record)
            acknowledged.append(record.id)
            if first is None and _waiting(spool):
                first = len(acknowledged)
        told: dict[str, object] = {
            "first_in_spool": first,
            "acknowledged": len(acknowledged),
            "bytes_in_spool": _waiting(spool),
        }
        subprocess.run(["mount", "-o", "remount,size=1g", str(disk)], check=True)  # noqa: S607
        began = time.monotonic()
        while _waiting(spool) and time.monotonic() < began + _PATIENCE_S:
            time.sleep(0.1)
        told["replayed_after_s"] = round(time.monotonic() - began, 1)
    with AuditStore.open(url) as store:
        there = [record for (record,) in store.select("SELECT id FROM records")[1]]
    report = verify_database(url)
    return told | {
        "lost": len(set(acknowledged) - set(there)),
        "doubled": len(there) - len(set(there)),
        "verified": report.ok,
        "gaps": report.told["gaps"],
        "failed": dict(report.failed),
    }


def _waiting(spool: Path) -> int:
    return sum(path.stat().st_size for path in spool.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
