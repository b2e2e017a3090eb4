"""The one bridge from synchronous callers to the asynchronous implementation.

All calls run on one loop in one daemon thread, so connection pools survive from call to call. The caller's
context (its identity) travels along. Inside a running loop the bridge refuses: it would block that loop.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from functools import lru_cache
from typing import Any, TypeVar

from railscribe.errors import UsageError

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
        raise UsageError("This call would block the running event loop.", hint="Await the async form instead.")
    done: Future[T] = Future()

    async def carry() -> None:
        try:
            done.set_result(await work)
        except BaseException as error:  # noqa: BLE001 - handed to the waiting thread, whatever it is
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
    try:
        return done.result()
    except KeyboardInterrupt:
        loop.call_soon_threadsafe(cancel)
        raise
