"""Many callers, one thread: what goes together, what is dropped, and whose error is whose."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence

import pytest

from railscribe.engines.batching import Batcher, Job


def doubling(seen: list[int], *, busy_s: float = 0.0) -> Batcher[int, int]:
    """Doubles numbers, refuses 13, and notes the size of each batch."""

    def work(jobs: Sequence[Job[int, int]]) -> None:
        seen.append(len(jobs))
        time.sleep(busy_s)
        for job in jobs:
            if job.asked == 13:
                job.fail(ValueError("13"))
            else:
                job.settle(lambda job=job: job.asked * 2)  # type: ignore[misc]

    return Batcher(work, name="test", most=8, wait_s=0.005)


async def test_what_waits_goes_together() -> None:
    """Twenty callers at once take three batches of at most eight, and each gets its own result."""
    sizes: list[int] = []
    batcher = doubling(sizes)

    results = await asyncio.gather(*(batcher.submit(number) for number in range(13)), batcher.submit(20))

    assert results == [*range(0, 26, 2), 40]
    assert max(sizes) <= 8
    assert len(sizes) <= 3
    batcher.close()


async def test_one_error_is_one_caller_s() -> None:
    """The neighbours of a failed job in the same batch are answered."""
    batcher = doubling([])

    one, bad, other = await asyncio.gather(
        batcher.submit(1), batcher.submit(13), batcher.submit(2), return_exceptions=True
    )

    assert (one, other) == (2, 4)
    assert isinstance(bad, ValueError)
    batcher.close()


async def test_a_bug_in_the_work_leaves_nobody_waiting() -> None:
    """Whoever was in the batch gets the error."""

    def work(_: Sequence[Job[int, int]]) -> None:
        raise RuntimeError("bug")

    batcher: Batcher[int, int] = Batcher(work, name="test", most=8, wait_s=0)

    with pytest.raises(RuntimeError, match="bug"):
        await asyncio.wait_for(batcher.submit(1), 5)
    batcher.close()


async def test_the_abandoned_are_dropped_before_they_begin() -> None:
    """A caller that has gone away while it queued costs nothing."""
    sizes: list[int] = []
    batcher = doubling(sizes, busy_s=0.2)
    first = asyncio.create_task(batcher.submit(1))
    await asyncio.sleep(0.05)
    gone = asyncio.create_task(batcher.submit(2))
    await asyncio.sleep(0.01)
    gone.cancel()

    assert await first == 2
    await asyncio.sleep(0.05)
    assert await batcher.submit(3) == 6
    assert sum(sizes) == 2
    batcher.close()


def test_callers_of_two_loops_share_a_batch() -> None:
    """The thread belongs to no loop."""
    sizes: list[int] = []
    batcher = doubling(sizes, busy_s=0.1)
    results: list[int] = []

    def call(number: int) -> None:
        results.append(asyncio.run(batcher.submit(number)))

    threads = [threading.Thread(target=call, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(results) == [0, 2, 4, 6]
    assert len(sizes) < 4
    batcher.close()


async def test_closing_ends_the_waiting() -> None:
    """What has not begun is cancelled."""
    batcher = doubling([], busy_s=0.2)
    running = asyncio.create_task(batcher.submit(1))
    await asyncio.sleep(0.05)
    waiting = asyncio.create_task(batcher.submit(2))
    await asyncio.sleep(0.01)

    batcher.close()

    assert await running == 2
    with pytest.raises(asyncio.CancelledError):
        await waiting
