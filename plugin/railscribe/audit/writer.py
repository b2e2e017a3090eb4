"""The writer: one thread a store, which takes what is queued and keeps it together (group commit).

    done = writer.submit(lambda: [rows], "Appending a record", Stage.DURABLE)
    done.result()

Rules

1. Entries are kept in the order in which they were submitted. What was submitted as one is kept whole or not at all.
2. A future is done when its entries have reached the stage that was asked for (docs/audit-store.md), or failed.
   *Accepted* is reached by being queued. Nobody can cancel what was submitted.
3. The queue is bounded. A caller who finds it full waits until there is room: a thread by blocking, a coroutine by
   awaiting, so that no event loop is ever blocked; past ``ROOM_S`` the entry is not recorded.
4. The thread starts with the first entry. Closing takes no more, keeps what is queued, and ends the thread; so does
   the end of the process.
5. Those who wait for *sealed* get a checkpoint of their own, at most one every ``SEAL_PAUSE_S``.
6. After a fork the child's store starts a writer of its own. What was queued before is the parent's.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field

from railscribe.audit.keeper import BATCH, Keeper
from railscribe.audit.rows import Rows
from railscribe.errors import AuditError, NotRecordedError
from railscribe.values import Stage

logger = logging.getLogger(__name__)

QUEUE = 10_000
"""Entries that may be queued."""
ROOM_S = 30.0
SEAL_PAUSE_S = 0.1
"""Between two checkpoints that callers wait for."""
CLOSE_S = 20.0
"""Seconds that closing waits for the spool to be replayed."""

Make = Callable[[], Sequence[Rows]]
"""Makes the rows of what is appended; called on the writer's thread."""


@dataclass(slots=True, eq=False, kw_only=True)
class _Job:
    make: Make
    doing: str
    wait: Stage
    done: Future[None] = field(default_factory=Future)
    entries: Sequence[Rows] = ()

    def settle(self, error: Exception | None) -> None:
        if self.done.done():  # accepted, and so its caller has gone on
            if error is not None:
                logger.error("what was accepted is not recorded (%s): %s", self.doing, type(error).__name__)
        elif error is not None:
            self.done.set_exception(error)
        else:
            self.done.set_result(None)


class Writer:
    """Queues entries and keeps them, on a thread of its own."""

    def __init__(self, keeper: Keeper, *, queue: int = QUEUE) -> None:
        self._keeper = keeper
        self._limit = queue
        self._process = os.getpid()
        self._awake = threading.Condition()
        self._queue: deque[_Job] = deque()
        self._waiting_for_room: deque[Future[None]] = deque()
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self._unsealed: list[_Job] = []
        self._sealed_at = float("-inf")

    def submit(self, make: Make, doing: str, wait: Stage) -> Future[None]:
        """Queue what *make* makes, waiting for room where there is none; return what is done at *wait*.

        Raises:
            NotRecordedError: the writer is closed, or the queue stayed full.
        """
        job = _Job(make=make, doing=doing, wait=wait)
        while (room := self._offer(job)) is not None:
            try:
                room.result(ROOM_S)
            except FutureTimeoutError:
                raise _no_room(doing) from None
        return job.done

    async def submit_async(self, make: Make, doing: str, wait: Stage) -> asyncio.Future[None]:
        """Queue as :meth:`submit` does, on an event loop: it awaits room, and returns what may be awaited.

        Raises:
            NotRecordedError: the writer is closed, or the queue stayed full.
        """
        job = _Job(make=make, doing=doing, wait=wait)
        while (room := self._offer(job)) is not None:
            try:
                done, _ = await asyncio.wait({asyncio.wrap_future(room)}, timeout=ROOM_S)
            except asyncio.CancelledError:
                self._offer(job, has_room=True)  # what was begun is finished
                raise
            if not done:
                raise _no_room(doing)
        return asyncio.wrap_future(job.done)

    def _offer(self, job: _Job, *, has_room: bool = False) -> Future[None] | None:
        """Queue *job*; or return what is done when it may be tried again."""
        with self._awake:
            if self._is_closed:
                raise NotRecordedError(f"{job.doing}: the audit store is closed.")
            if len(self._queue) >= self._limit and not has_room:
                room: Future[None] = Future()
                self._waiting_for_room.append(room)
                return room
            job.done.set_running_or_notify_cancel()  # rule 2
            if job.wait is Stage.ACCEPTED:
                job.done.set_result(None)
            self._queue.append(job)
            if self._thread is None:
                self._start()
            self._awake.notify()
        return None

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="railscribe-writer", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the interpreter is ending and starts no more threads: this one does the work
            self._keep([self._queue.popleft()])
        else:
            self._thread = thread

    def close(self) -> None:
        """Keep what is queued and end the thread (rule 4). Calling it twice, or after a fork, does nothing."""
        if os.getpid() != self._process:
            return
        with self._awake:
            first, self._is_closed = not self._is_closed, True
            self._awake.notify()
        if self._thread is not None:
            self._thread.join()
        elif first:
            self._close()

    def _run(self) -> None:
        pause_s = 0.0
        while True:
            jobs = self._take(pause_s)
            try:
                self._keep(jobs)
                self._seal()
                if self._is_closed and not self._queue:
                    break
                pause_s = min(self._keeper.chores(), SEAL_PAUSE_S if self._unsealed else float("inf"))
            except Exception as error:
                # A bug, and the thread is the only one: whoever waits must hear of it, and the next be served.
                logger.exception("the audit writer failed")
                for job in jobs:
                    job.settle(error)
                pause_s = 1.0
        self._close()

    def _close(self) -> None:
        self._keeper.close(CLOSE_S)
        error = AuditError("The audit store was closed before this was sealed; it is durable.")
        for job in self._unsealed:
            job.settle(error)

    def _take(self, pause_s: float) -> list[_Job]:
        """Return what is queued, after *pause_s* or less."""
        with self._awake:
            if not self._queue and not self._is_closed and pause_s > 0:
                self._awake.wait(min(pause_s, threading.TIMEOUT_MAX))
            jobs = [self._queue.popleft() for _ in range(min(len(self._queue), BATCH))]
            rooms, self._waiting_for_room = self._waiting_for_room, deque()
        for room in rooms:
            if room.set_running_or_notify_cancel():
                room.set_result(None)
        return jobs

    def _keep(self, jobs: Sequence[_Job]) -> None:
        ready = [job for job in jobs if _make(job)]
        if ready:
            results = self._keeper.keep([job.entries for job in ready], ready[0].doing)
            for job, result in zip(ready, results, strict=True):
                if result is None and job.wait is Stage.SEALED:
                    self._unsealed.append(job)
                else:
                    job.settle(result)

    def _seal(self) -> None:
        """Make the checkpoint that callers wait for: together, as they are kept together (rule 5)."""
        now = time.monotonic()
        if not self._unsealed or (now < self._sealed_at + SEAL_PAUSE_S and not self._is_closed):
            return
        try:
            is_sealed, error = self._keeper.seal(), None
        except AuditError as failed:
            is_sealed, error = True, failed
        if is_sealed:
            self._sealed_at = now
            waiting, self._unsealed = self._unsealed, []
            for job in waiting:
                job.settle(error)


def _make(job: _Job) -> bool:
    """Make the rows of *job*; where that fails, it alone has failed."""
    try:
        job.entries = job.make()
    except Exception as error:  # noqa: BLE001 - carried to whoever waits
        job.settle(error)
        return False
    return True


def _no_room(doing: str) -> AuditError:
    return NotRecordedError(
        f"{doing}: the queue of the audit store stayed full.", hint="The database is too slow for the load."
    )
