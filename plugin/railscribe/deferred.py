"""Thinking after the decision: a bounded queue in the background, each of whose entries is accounted for.

Rules

1. What is submitted ends in exactly one :class:`~railscribe.values.LateTrace`: received, failed or lost. Only a
   process that is killed, or a store that cannot be written to, leaves none, and the record itself says that one
   was due.
2. A few are thought about at a time, the rest wait in their order, and past the queue's length they are lost at
   once: a background must not grow into the traffic it serves.
3. Each has a time limit. Draining has one for all, after which whatever is left is lost.
4. When the event loop ends underneath, or the process does, everything that is still open is lost, and said so.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from railscribe.reasoning import contradicts, disagree
from railscribe.values import Cause, Completion, LateState, LateTrace, Lost, Record, Verdict

logger = logging.getLogger(__name__)

Ask = Callable[[], Awaitable[tuple[Completion | None, Verdict]]]
"""Asks the engine again, with thinking. Ends with what came, also when it is cancelled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """A record that is to be thought about."""

    record: Record
    ask: Ask
    requested_at: datetime


class DeferredReasoning:
    """Thinks about records in the background, on whichever event loop submits them."""

    def __init__(
        self, append: Callable[[LateTrace], None], *, queue: int, in_flight: int, timeout_s: float
    ) -> None:
        self._append = append
        self._queue = queue
        self._in_flight = in_flight
        self._timeout_s = timeout_s
        self._waiting: dict[str, _Entry] = {}
        self._open: dict[str, _Entry] = {}
        """All that are not accounted for yet. Whoever takes one out appends its row (rule 1)."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    async def submit(self, record: Record, ask: Ask) -> None:
        """Think about *record*, which is durable, when its turn comes (rule 2). Returns without waiting for that."""
        entry = _Entry(record=record, ask=ask, requested_at=_now())
        self._open[record.id] = entry
        if self._closed or len(self._waiting) >= self._queue:
            await self._account(entry, _lost(entry, Lost.CLOSED if self._closed else Lost.QUEUE_FULL))
            return
        self._waiting[record.id] = entry
        self._begin()

    async def drain(self, limit_s: float) -> None:
        """Take no more, wait up to *limit_s* for what is open, and account for the rest as lost."""
        self._closed = True
        deadline = time.monotonic() + limit_s
        while self._tasks and (left := deadline - time.monotonic()) > 0:
            await asyncio.wait(self._tasks, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for entry in list(self._open.values()):
            await self._account(entry, _lost(entry, Lost.CLOSED))

    def abandon(self) -> None:
        """Account for everything open as lost, here and now: for the end of a process (rule 4)."""
        self._closed = True
        self._waiting.clear()
        for entry in list(self._open.values()):
            if self._claim(entry):
                self._write(_lost(entry, Lost.CLOSED))

    def _begin(self) -> None:
        while self._waiting and len(self._tasks) < self._in_flight:
            entry = self._waiting.pop(next(iter(self._waiting)))
            task = asyncio.get_running_loop().create_task(self._think(entry))
            self._tasks.add(task)

    async def _think(self, entry: _Entry) -> None:
        try:
            await self._account(entry, await self._asked(entry))
        except asyncio.CancelledError:
            # The loop ends, or draining does: nobody will come back for those that wait (rule 4).
            waiting = [entry, *self._waiting.values()]
            self._waiting.clear()
            for lost in waiting:
                await self._account(lost, _lost(lost, Lost.CLOSED))
            raise
        finally:
            task: Any = asyncio.current_task()
            self._tasks.discard(task)
        self._begin()

    async def _asked(self, entry: _Entry) -> LateTrace:
        """Return what came of asking, within the time limit (rule 3)."""
        began = time.perf_counter()
        asking = asyncio.ensure_future(entry.ask())
        try:
            done, _ = await asyncio.wait({asking}, timeout=self._timeout_s)
        except asyncio.CancelledError:
            await _stop(asking)
            raise
        if not done:
            await _stop(asking)
        return _ended(entry, asking, in_time=bool(done), ms=(time.perf_counter() - began) * 1000)

    def _claim(self, entry: _Entry) -> bool:
        return self._open.pop(entry.record.id, None) is not None

    async def _account(self, entry: _Entry, late: LateTrace) -> None:
        if not self._claim(entry):
            return
        try:
            await asyncio.shield(asyncio.to_thread(self._write, late))
        except RuntimeError:  # the interpreter is ending and starts no more threads
            self._write(late)

    def _write(self, late: LateTrace) -> None:
        try:
            self._append(late)
        except Exception as error:  # noqa: BLE001 - nobody waits for it, and the next in the queue must have its turn
            logger.warning("a late trace was not recorded (%s)", type(error).__name__)


async def _stop(asking: asyncio.Future[Any]) -> None:
    asking.cancel()
    await asyncio.wait({asking})


def _ended(
    entry: _Entry, asking: asyncio.Future[tuple[Completion | None, Verdict]], *, in_time: bool, ms: float
) -> LateTrace:
    """Return what *asking* came to, as a row."""
    if asking.cancelled() or asking.exception() is not None:
        if in_time and not asking.cancelled():
            logger.warning("deferred reasoning failed (%s)", type(asking.exception()).__name__)
        return _late(
            entry, LateState.FAILED, cause=Cause.ENGINE_FAILED if in_time else Cause.TIMEOUT, engine_ms=ms
        )
    completion, verdict = asking.result()
    causes = [side.cause for side in (verdict.user, verdict.response) if side is not None and side.cause]
    if completion is None:
        cause = (causes or [Cause.ENGINE_FAILED])[0] if in_time else Cause.TIMEOUT
        return _late(entry, LateState.FAILED, cause=cause, engine_ms=ms)
    return _late(
        entry,
        LateState.RECEIVED,
        cause=causes[0] if causes else None,
        completion=completion,
        verdict=verdict,
        disagrees=disagree(entry.record.verdict, verdict),
        contradicts=contradicts(verdict),
        engine_ms=ms,
    )


def _lost(entry: _Entry, why: Lost) -> LateTrace:
    return _late(entry, LateState.LOST, cause=why)


def _late(entry: _Entry, state: LateState, **what: Any) -> LateTrace:
    return LateTrace(
        record_id=entry.record.id,
        checked_at=entry.record.checked_at,
        requested_at=entry.requested_at,
        ended_at=_now(),
        state=state,
        identity=entry.record.identity,
        policy=entry.record.rendering.policy_name,
        **what,
    )


def _now() -> datetime:
    return datetime.now(tz=timezone.utc)
