"""What being believed costs: durable appends with entries, leaves and checkpoints, against the same rows without.

    python benchmarks/audit_append.py                 # ratios, then a rail's wait under load
    python benchmarks/audit_append.py --only ratio --database sqlite --seconds 4

*Without* is the same writer, queue, batches and statements on a database whose triggers for the chain are taken off:
only entries, leaves, places and checkpoints are missing. The two take turns in slices of a few seconds, in one run
on the same machine, and the ratio is the median of those of neighbouring slices: what else the machine does hits both.
An append begins with a record, as a rail's does; with --prepared its rows are made beforehand, so that nothing but
keeping them is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from databases import DATABASES, NewDatabase
from made_records import made_record

from railscribe.audit import AuditStore
from railscribe.audit.attesting import Attestation
from railscribe.audit.database import open_engine, parse_url
from railscribe.audit.keeper import Keeper
from railscribe.audit.ledger import Ledger
from railscribe.audit.rows import Rows, rows_of
from railscribe.audit.writer import Make, Writer
from railscribe.values import Record, Stage

CLIENTS = ("batches of 1,000", "one thread", "eight threads", "eight processes")
RATE = 200.0  # checks a second, for the wait


class _Unattested(Attestation):
    """Nobody's place in no chain."""

    def begin(self, doing: str) -> None: ...

    def enter(self, connection: sa.Connection) -> None: ...

    def attest(self, connection: sa.Connection, batch: Sequence[Rows], stored: Sequence[Any]) -> None: ...


def makers(count: int, *, prepared: bool) -> Iterator[Make]:
    """Yield what makes the rows of *count* new records; with *prepared* they are made already."""
    for _ in range(count):
        record = made_record()
        make = partial(_rows, record)
        if prepared:
            rows = make()
            make = partial(list, rows)
        yield make


def _rows(record: Record) -> list[Rows]:
    return [rows_of(record, retention_class="default", keep_chars=100_000)]


@contextmanager
def writer_on(url: str, *, bare: bool) -> Iterator[Writer]:
    """Give a writer on the database at *url*."""
    if not bare:
        with AuditStore.open(url) as store:
            yield store._writer
        return
    parsed = parse_url(url)
    engine = open_engine(parsed)
    attestation = _Unattested(engine, parsed, signing_key=None)
    writer = Writer(Keeper(Ledger(engine, parsed, attestation), None, fail_open=False))
    yield writer
    writer.close()
    engine.dispose()


def take_off_triggers(url: str) -> None:
    """Let rows in without entries."""
    engine = open_engine(parse_url(url))
    with engine.begin() as connection:
        on = "" if connection.dialect.name == "sqlite" else " ON records"
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA query_only=OFF")
        connection.exec_driver_sql(f"DROP TRIGGER records_have_entry{on}")
    engine.dispose()


def submit(writer: Writer, make: Make) -> Future[None]:
    return writer.submit(make, "Appending", Stage.DURABLE)


def in_batches(writer: Writer, makes: list[Make], until: float) -> int:
    """Keep a thousand on their way."""
    waiting: deque[Future[None]] = deque()
    done = 0
    for each in makes:
        waiting.append(submit(writer, each))
        if len(waiting) == 2000:
            for _ in range(1000):
                waiting.popleft().result()
                done += 1
            if time.perf_counter() > until:
                break
    for left in waiting:
        left.result()
        done += 1
    return done


def one_by_one(writer: Writer, makes: list[Make], until: float, threads: int) -> int:
    """Let each of *threads* append, wait, and append the next."""
    left = iter(makes)
    lock = threading.Lock()
    counts = [0] * threads

    def run(number: int) -> None:
        while time.perf_counter() < until:
            with lock:
                each = next(left, None)
            if each is None:
                return
            submit(writer, each).result()
            counts[number] += 1

    running = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return sum(counts)


def slice_of(url: str, clients: str, seconds: float, *, bare: bool, prepared: bool) -> float:
    """Return how many entries a second *clients* made durable in one slice."""
    if clients == "eight processes":
        return _by_processes(url, seconds, bare=bare, prepared=prepared)
    makes = list(makers(int(seconds * (9000 if clients.startswith("batches") else 3000)), prepared=prepared))
    with writer_on(url, bare=bare) as writer:
        submit(writer, next(makers(1, prepared=True))).result()
        began = time.perf_counter()
        until = began + seconds
        if clients.startswith("batches"):
            done = in_batches(writer, makes, until)
        else:
            done = one_by_one(writer, makes, until, 8 if clients == "eight threads" else 1)
        return done / (time.perf_counter() - began)


def _by_processes(url: str, seconds: float, *, bare: bool, prepared: bool) -> float:
    command = [sys.executable, __file__, "--client", url, "--seconds", str(seconds)]
    command += ["--bare"] * bare + ["--prepared"] * prepared
    clients = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(8)
    ]
    for client in clients:
        assert client.stdout
        assert client.stdout.readline() == "ready\n"
    for client in clients:
        assert client.stdin
        client.stdin.write("go\n")
        client.stdin.flush()
    rates = [json.loads(client.communicate()[0]) for client in clients]
    return float(sum(rates))


def client(url: str, seconds: float, *, bare: bool, prepared: bool) -> None:
    """Be one of eight processes."""
    makes = list(makers(int(seconds * 400), prepared=prepared))
    with writer_on(url, bare=bare) as writer:
        submit(writer, next(makers(1, prepared=True))).result()
        print("ready", flush=True)
        sys.stdin.readline()
        began = time.perf_counter()
        done = one_by_one(writer, makes, began + seconds, 1)
        print(done / (time.perf_counter() - began), flush=True)


def ratios(
    database: str, new: NewDatabase, clients: str, seconds: float, pairs: int, *, prepared: bool
) -> dict[str, Any]:
    """Measure *clients* on *database*: with the chain and without, in turns."""
    chained, bare = new(), new()
    take_off_triggers(bare)
    rates: dict[bool, list[float]] = {True: [], False: []}

    def one(is_bare: bool) -> float:  # noqa: FBT001
        return slice_of(bare if is_bare else chained, clients, seconds, bare=is_bare, prepared=prepared)

    for number in range(pairs):
        for is_bare in (True, False) if number % 2 else (False, True):
            rates[is_bare].append(one(is_bare))
    each = [one / other for one, other in zip(rates[False], rates[True], strict=True)]
    return {
        "database": database,
        "clients": clients,
        "begins_with": "rows" if prepared else "records",
        "with_chain_per_s": round(statistics.median(rates[False])),
        "without_per_s": round(statistics.median(rates[True])),
        "ratio": round(statistics.median(each), 3),
        "ratios": [round(ratio, 3) for ratio in each],
    }


def waits(database: str, new: NewDatabase, seconds: float) -> dict[str, Any]:
    """Measure how long a rail waits for durable while checks end at random moments, ``RATE`` a second."""

    async def run(store: AuditStore) -> list[float]:
        times: list[float] = []

        async def one() -> None:
            record = made_record()
            began = time.perf_counter()
            await store.append_async(record)
            times.append(time.perf_counter() - began)

        tasks = []
        at, end = time.perf_counter(), time.perf_counter() + seconds
        while at < end:
            at += random.expovariate(RATE)
            await asyncio.sleep(max(0.0, at - time.perf_counter()))
            tasks.append(asyncio.create_task(one()))
        await asyncio.gather(*tasks)
        return times

    with AuditStore.open(new()) as store:
        store.append(made_record())
        times = sorted(asyncio.run(run(store)))

    def percentile(share: float) -> float:
        return round(times[min(len(times) - 1, int(share * len(times)))] * 1000, 2)

    return {
        "database": database,
        "checks": len(times),
        "per_s": round(len(times) / seconds),
        **{f"p{share}_ms": percentile(share / 100) for share in (50, 95, 99)},
        "longest_ms": round(times[-1] * 1000, 2),
    }


def flush_ms(folder: Path) -> float:
    """Return what one small write and its flush take on this disk now: no commit is faster."""
    times = []
    with (folder / "flushed").open("wb", buffering=0) as file:
        for _ in range(50):
            file.write(bytes(4096))
            began = time.perf_counter()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - began)
    return round(statistics.median(times) * 1000, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=["ratio", "wait"])
    parser.add_argument("--database", choices=list(DATABASES))
    parser.add_argument("--clients", choices=CLIENTS)
    parser.add_argument("--seconds", type=float, default=4.0, help="of one slice")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="on the disk to be measured")
    parser.add_argument("--prepared", action="store_true", help="begin with rows, and not with records")
    parser.add_argument("--client", metavar="URL", help=argparse.SUPPRESS)
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.client:
        client(asked.client, asked.seconds, bare=asked.bare, prepared=asked.prepared)
        return
    print(
        f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC, slices of {asked.seconds:g} s, {asked.pairs} pairs"
    )
    for database in [asked.database] if asked.database else DATABASES:
        with (
            tempfile.TemporaryDirectory(dir=asked.folder, ignore_cleanup_errors=True) as name,
            DATABASES[database](Path(name)) as new,
        ):
            print(json.dumps({"database": database, "flush_ms": flush_ms(Path(name))}), flush=True)
            _measure(asked, database, new)


def _measure(asked: argparse.Namespace, database: str, new: NewDatabase) -> None:
    measured: list[Callable[[], dict[str, Any]]] = []
    if asked.only != "wait":
        for clients in [asked.clients] if asked.clients else CLIENTS:
            measured.append(
                partial(ratios, database, new, clients, asked.seconds, asked.pairs, prepared=asked.prepared)
            )
    if asked.only != "ratio":
        measured.append(partial(waits, database, new, asked.seconds * 5))
    for measure in measured:
        print(json.dumps(measure()), flush=True)


if __name__ == "__main__":
    main()
