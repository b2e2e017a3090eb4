"""The bridge from synchronous callers to the asynchronous implementation."""

from __future__ import annotations

import asyncio
import threading

import pytest

from railscribe.errors import UsageError
from railscribe.identity import current_identity, use_identity
from railscribe.sync import run_sync
from railscribe.values import Identity


def test_the_result_comes_back() -> None:
    """A coroutine's result is the call's."""

    async def work() -> int:
        await asyncio.sleep(0)
        return 42

    assert run_sync(work()) == 42


def test_the_identity_travels() -> None:
    """The caller's identity is the one that the work, and what it starts, runs under; and only there."""

    async def work() -> tuple[Identity, Identity]:
        return current_identity(), await asyncio.create_task(nested())

    async def nested() -> Identity:
        return current_identity()

    acme = Identity(tenant="acme", session="s-1")

    with use_identity(acme):
        inside = run_sync(work())
    outside = run_sync(work())

    assert inside == (acme, acme)
    assert outside == (Identity(), Identity())


def test_threads_keep_their_own_identities() -> None:
    """Calls from two threads at once do not mix up whom they are for."""
    both = threading.Barrier(2)
    seen: dict[str, str] = {}

    async def work() -> str:
        before = current_identity().tenant
        await asyncio.sleep(0.02)
        assert current_identity().tenant == before
        return before

    def caller(tenant: str) -> None:
        with use_identity(Identity(tenant=tenant)):
            both.wait(timeout=5)
            seen[tenant] = run_sync(work())

    threads = [threading.Thread(target=caller, args=(tenant,)) for tenant in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=5)

    assert seen == {"a": "a", "b": "b"}


def test_exceptions_travel() -> None:
    """What the work raises is raised to the caller, itself and not a copy."""
    error = LookupError("not here")

    async def work() -> None:
        raise error

    with pytest.raises(LookupError) as caught:
        run_sync(work())

    assert caught.value is error


def test_a_cancelled_work_does_not_hang() -> None:
    """Work that cancels itself ends the call instead of leaving the caller waiting."""

    async def work() -> None:
        raise asyncio.CancelledError

    with pytest.raises(BaseException) as caught:
        run_sync(work())

    assert "Cancelled" in type(caught.value).__name__


async def test_a_running_loop_is_refused() -> None:
    """Inside a loop the call would block it, so it is refused, and the work is not left unawaited."""
    began = False

    async def work() -> None:
        nonlocal began
        began = True

    with pytest.raises(UsageError, match="Await the async form"):
        run_sync(work())

    await asyncio.sleep(0)
    assert not began


def test_all_calls_share_one_loop() -> None:
    """A connection pool opened in one call is usable in the next, from whichever thread."""

    async def loop() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    first = run_sync(loop())
    others: list[asyncio.AbstractEventLoop] = []
    thread = threading.Thread(target=lambda: others.append(run_sync(loop())))
    thread.start()
    thread.join(timeout=5)

    assert others == [first]
    assert run_sync(loop()) is first
