"""From many callers on any loops to batches on one thread.

Rules

1. What waits when the thread is free goes together; a caller that finds it idle waits a few milliseconds for
   company, and no longer.
2. Work whose caller has gone away is dropped before it begins.
3. Each piece of work ends with its own result or its own error.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Told = TypeVar("Told")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Job(Generic[Asked, Told]):
    """One caller's work."""

    asked: Asked
    done: Future[Told] = field(default_factory=Future)
    abandoned: threading.Event = field(default_factory=threading.Event)
    """Set once nobody waits for the result."""

    def settle(self, work: Callable[[], Told]) -> None:
        """End the job with what *work* returns or raises (rule 3)."""
        try:
            told = work()
        except Exception as error:  # noqa: BLE001 - it is the caller's, whatever it is
            self.fail(error)
        else:
            if self.done.set_running_or_notify_cancel():
                self.done.set_result(told)

    def fail(self, error: Exception) -> None:
        """End the job with *error*."""
        if self.done.set_running_or_notify_cancel():
            self.done.set_exception(error)


class Batcher(Generic[Asked, Told]):
    """Runs *work* over batches of jobs, which it must all settle, on a thread of its own."""

    def __init__(
        self,
        work: Callable[[Sequence[Job[Asked, Told]]], None],
        *,
        name: str,
        most: int,
        wait_s: float,
    ) -> None:
        self._work = work
        self._most = most
        self._wait_s = wait_s
        self._waiting: deque[Job[Asked, Told]] = deque()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self.closed = threading.Event()

    async def submit(self, asked: Asked) -> Told:
        """Return what *work* told of *asked*; cancelling drops it."""
        job: Job[Asked, Told] = Job(asked)
        self._waiting.append(job)
        try:
            self._thread.submit(self._drain)
            return await asyncio.wrap_future(job.done)
        finally:
            job.abandoned.set()

    async def run(self, work: Callable[[], T]) -> T:
        """Return what *work* returns, run on the same thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def close(self) -> None:
        """Take no more work, and fail what has not begun."""
        self.closed.set()
        self._thread.shutdown(wait=False, cancel_futures=True)
        while self._waiting:
            self._waiting.popleft().done.cancel()

    def _drain(self) -> None:
        if not self._waiting:  # an earlier batch took it along
            return
        if len(self._waiting) < self._most:
            time.sleep(self._wait_s)
        jobs: list[Job[Asked, Told]] = []
        while self._waiting and len(jobs) < self._most:
            job = self._waiting.popleft()
            if job.abandoned.is_set():
                job.done.cancel()
            else:
                jobs.append(job)
        if jobs:
            try:
                self._work(jobs)
            except Exception as error:  # noqa: BLE001 - a bug in *work* must not leave callers waiting
                for job in jobs:
                    if not job.done.done():
                        job.fail(error)
