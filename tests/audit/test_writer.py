"""The writer: one thread that commits together, and never in the way of an event loop, a fork or an exit."""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from railscribe.audit import AuditStore, writer
from railscribe.audit.keeper import Batch, Keeper
from railscribe.audit.rows import Rows
from railscribe.audit.writer import Writer
from railscribe.errors import AuditError, NotRecordedError
from railscribe.values import Outcome, Record, Stage

RecordFactory = Callable[..., Record]


def numbers(store: AuditStore) -> list[int]:
    return sorted(int(row["id"][-12:], 16) for row in store.records(limit=10_000))


def commits(store: AuditStore) -> list[int]:
    """Return a list that grows with each commit of *store*."""
    seen: list[int] = []
    sa.event.listen(store._engine, "commit", lambda _: seen.append(1))
    return seen


async def test_what_comes_at_once_is_committed_together(
    any_store: AuditStore, undecided: RecordFactory
) -> None:
    """Two hundred checks that end together cost a few commits, and each has its record."""
    any_store.append(undecided(1000))
    seen = commits(any_store)

    await asyncio.gather(*(any_store.append_async(undecided(number)) for number in range(200)))

    assert numbers(any_store) == [*range(200), 1000]
    assert len(seen) < 20


async def test_one_that_is_refused_fails_alone(any_store: AuditStore, undecided: RecordFactory) -> None:
    """Who shares a commit with an impossible record does not share its fate."""
    broken = undecided(5, decision=undecided().decision.__class__(outcome=Outcome.UNDECIDED, sides=()))
    records = [undecided(number) for number in range(5)] + [broken, undecided(6), undecided(3)]

    results = await asyncio.gather(
        *(any_store.append_async(record) for record in records), return_exceptions=True
    )

    failed = [number for number, result in enumerate(results) if result is not None]
    assert failed == [5, 7]
    assert all(isinstance(results[number], AuditError) for number in failed)
    assert numbers(any_store) == [0, 1, 2, 3, 4, 6]


class _Gated(Keeper):
    """A database that answers when the test lets it."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.kept: list[Any] = []
        self.closed = False

    def keep(self, batches: Sequence[Batch], doing: str) -> list[AuditError | None]:
        assert self.gate.wait(10)
        for batch in batches:
            self.kept.extend(batch)
        return [None] * len(batches)

    def chores(self) -> float:
        return float("inf")

    def close(self, limit_s: float) -> None:
        self.closed = True


@pytest.fixture
def gated() -> _Gated:
    return _Gated()


def job(number: int) -> list[Any]:
    return [number]


async def test_a_full_queue_holds_up_callers_and_not_the_loop(gated: _Gated) -> None:
    """Who finds no room waits without blocking the loop; when there is room again all go in.

    In no promised order: whoever comes at the moment when there is room goes before those who are still being woken.
    """
    narrow = Writer(gated, queue=3)
    tasks = []
    for number in range(20):

        async def append(number: int = number) -> None:
            await (await narrow.submit_async(lambda: job(number), "Appending", Stage.DURABLE))

        tasks.append(asyncio.ensure_future(append()))
    ticks = 0
    for _ in range(20):
        began = time.monotonic()
        await asyncio.sleep(0.001)
        ticks += time.monotonic() - began < 0.1
    assert ticks > 15
    assert len(narrow._queue) <= 3

    gated.gate.set()
    await asyncio.gather(*tasks)

    assert sorted(gated.kept) == list(range(20))
    narrow.close()


def test_a_thread_waits_for_room_and_not_for_ever(gated: _Gated, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past its time-out a full queue is a named error, and nothing of the entry is kept."""
    monkeypatch.setattr(writer, "ROOM_S", 0.05)
    narrow = Writer(gated, queue=1)
    first = narrow.submit(lambda: job(1), "Appending", Stage.DURABLE)
    while narrow._queue:
        time.sleep(0.01)
    narrow.submit(lambda: job(2), "Appending", Stage.DURABLE)

    with pytest.raises(NotRecordedError, match="stayed full"):
        narrow.submit(lambda: job(3), "Appending", Stage.DURABLE)

    gated.gate.set()
    first.result(10)
    narrow.close()
    assert gated.kept == [1, 2]


async def test_what_was_begun_is_finished_whoever_stops_waiting(gated: _Gated) -> None:
    """A cancelled check's record is kept, also when it was still waiting for room."""
    narrow = Writer(gated, queue=1)

    async def append(number: int) -> None:
        await (await narrow.submit_async(lambda: job(number), "Appending", Stage.DURABLE))

    tasks = [asyncio.ensure_future(append(number)) for number in range(4)]
    await asyncio.sleep(0.05)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    gated.gate.set()
    narrow.close()

    assert sorted(gated.kept) == [0, 1, 2, 3]


def test_closing_keeps_what_is_queued_and_takes_no_more(gated: _Gated) -> None:
    """A clean shutdown drains: everything accepted is kept before close returns."""
    open_one = Writer(gated)
    for number in range(50):
        open_one.submit(partial(job, number), "Appending", Stage.ACCEPTED).result(0)
    threading.Timer(0.1, gated.gate.set).start()

    open_one.close()

    assert gated.kept == list(range(50))
    assert gated.closed
    with pytest.raises(NotRecordedError, match="is closed"):
        open_one.submit(lambda: job(51), "Appending", Stage.DURABLE)
    open_one.close()


def test_a_bug_in_making_rows_fails_its_caller_alone(gated: _Gated) -> None:
    """The writer outlives what it is handed."""
    gated.gate.set()
    one = Writer(gated)

    def broken() -> list[Rows]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        one.submit(broken, "Appending", Stage.DURABLE).result(10)
    one.submit(lambda: job(1), "Appending", Stage.DURABLE).result(10)

    assert gated.kept == [1]
    one.close()


def test_a_bug_in_the_keeper_is_told_and_survived(gated: _Gated) -> None:
    """Whoever waits hears of it, whatever it is, and the next is served."""
    one = Writer(gated)
    gated.keep, keep = lambda *_: 1 / 0, gated.keep  # type: ignore[method-assign, assignment]

    with pytest.raises(ZeroDivisionError):
        one.submit(lambda: job(1), "Appending", Stage.DURABLE).result(10)
    gated.keep = keep  # type: ignore[method-assign]
    gated.gate.set()
    one.submit(lambda: job(2), "Appending", Stage.DURABLE).result(10)

    one.close()


def test_the_end_of_the_process_keeps_what_is_queued(database_url: str, undecided: RecordFactory) -> None:
    """A program that ends without closing anything has recorded all that it was told is accepted."""
    program = """
import pickle, sys
from railscribe.audit import AuditStore
from railscribe.values import Stage
store = AuditStore.open(sys.argv[1])
for record in pickle.loads(bytes.fromhex(sys.argv[2])):
    store.append(record, wait=Stage.ACCEPTED)
"""
    records = pickle.dumps([undecided(number) for number in range(20)]).hex()
    ended = subprocess.run([sys.executable, "-c", program, database_url, records], timeout=60)

    assert ended.returncode == 0
    with AuditStore.open(database_url) as store:
        assert numbers(store) == list(range(20))


def test_a_store_that_is_forgotten_is_closed(database_url: str, undecided: RecordFactory) -> None:
    """Nothing but its thread would keep a store alive that nobody closed; so the thread does not."""
    store = AuditStore.open(database_url)
    store.append(undecided())
    thread = store._writer._thread
    assert thread is not None

    del store
    gc.collect()

    assert not thread.is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_parent_and_child_of_a_fork_both_go_on(
    any_url: str, undecided: RecordFactory, tmp_path: Path
) -> None:
    """After a fork each has its own thread, connections and queue, and what one appends the other does not undo."""
    program = """
import os, pickle, sys
from pathlib import Path
from railscribe.audit import AuditStore
store = AuditStore.open(sys.argv[1], spool_dir=Path(sys.argv[2]))
first, inherited, *more = pickle.loads(bytes.fromhex(sys.argv[3]))
store.append(first)
child = os.fork()
for number, record in enumerate(more):
    if (number % 2 == 0) == (child == 0):
        store.append(record)
if child == 0:
    store.close()
    os._exit(0)
_, status = os.waitpid(child, 0)
store.append(inherited)
store.close()
sys.exit(os.waitstatus_to_exitcode(status))
"""
    records = pickle.dumps([undecided(number) for number in range(20)]).hex()
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, any_url, tmp_path / "spool", records], timeout=60
    )

    assert ended.returncode == 0
    with AuditStore.open(any_url) as store:
        assert numbers(store) == list(range(20))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_of_a_busy_parent_is_told(database_url: str, undecided: RecordFactory) -> None:
    """Where a fork comes in the middle of reading SQLite, the child gets a named error and not another's locks."""
    program = """
import os, pickle, sys
from railscribe.audit import AuditStore
from railscribe.errors import AuditError
store = AuditStore.open(sys.argv[1])
first, second = pickle.loads(bytes.fromhex(sys.argv[2]))
with store.transaction("Reading") as connection:
    child = os.fork()
    if child == 0:
        try:
            store.append(first)
        except AuditError as error:
            os._exit(7 if "Open one in the child" in str(error) else 8)
        os._exit(9)
_, status = os.waitpid(child, 0)
store.append(second)
sys.exit(os.waitstatus_to_exitcode(status))
"""
    records = pickle.dumps([undecided(1), undecided(2)]).hex()
    ended = subprocess.run([sys.executable, "-W", "ignore", "-c", program, database_url, records], timeout=60)

    assert ended.returncode == 7
    with AuditStore.open(database_url) as store:
        assert numbers(store) == [2]
