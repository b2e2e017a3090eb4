"""The one loop: a bridge to the asynchronous implementation for synchronous callers and for foreign loops.

All calls run on one loop in one daemon thread, so connection pools survive from call to call, whichever
thread or loop the caller runs on. The caller's context (its identity) travels along.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from functools import lru_cache
from typing import Any, TypeVar

from railscribe.errors import RailscribeError, UsageError

T = TypeVar("T")


@lru_cache(maxsize=1)
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="railscribe-sync", daemon=True).start()
    return loop


def run_sync(work: Coroutine[Any, Any, T]) -> T:
    """Run *work* to its end and return its result.

    Raises:
        UsageError: inside a running event loop, where the caller should await instead.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        work.close()
        raise UsageError(
            "This call would block the running event loop.", hint="Await the async form instead."
        )
    done, cancel = begin(work)
    try:
        return done.result()
    except KeyboardInterrupt:
        cancel()
        raise


def iterate_sync(items: AsyncIterator[T]) -> Iterator[T]:
    """Yield *items*, each made on the one loop.

    Raises:
        UsageError: inside a running event loop, where the caller should iterate asynchronously.
    """

    async def following() -> tuple[T] | None:
        try:
            return (await items.__anext__(),)
        except StopAsyncIteration:
            return None

    try:
        while (item := run_sync(following())) is not None:
            yield item[0]
    finally:
        close = getattr(items, "aclose", None)
        if close is not None:
            run_sync(close())


async def run_apart(work: Coroutine[Any, Any, T]) -> T:
    """Run *work* on the one loop and return its result, whichever loop the caller awaits on.

    When the caller is cancelled, so is *work*, and its end is awaited: what it has yet to write, it writes.

    Raises:
        RailscribeError: *work* was cancelled from within. Hosts take a bare ``CancelledError`` for their own
            doing and go on as if nothing had been asked.
    """
    done, cancel = begin(work)
    waiting = asyncio.wrap_future(done)
    try:
        await asyncio.wait({waiting})
    except asyncio.CancelledError:
        cancel()
        await asyncio.wait({waiting})
        waiting.exception()  # seen, so that nobody reports it as lost
        raise
    try:
        return waiting.result()
    except asyncio.CancelledError:
        raise RailscribeError("The work was cancelled from within.") from None


def begin(work: Coroutine[Any, Any, T]) -> tuple[Future[T], Callable[[], object]]:
    """Start *work* on the one loop; return its future result and a way to cancel it."""
    done: Future[T] = Future()

    async def carry() -> None:
        try:
            done.set_result(await work)
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits, whatever it is
            done.set_exception(error)

    loop = _loop()
    tasks: set[asyncio.Task[None]] = set()  # the loop itself holds tasks only weakly

    def start() -> None:
        task = loop.create_task(carry())
        tasks.add(task)

    def cancel() -> None:
        for task in tasks:
            task.cancel()

    loop.call_soon_threadsafe(start, context=contextvars.copy_context())
    return done, lambda: loop.call_soon_threadsafe(cancel)
