"""A guard for hosts that give no beginning, no end and no single event loop.

Rules

1. Opening reads the settings, the policy and the store's revision, so mistakes show where the host is built.
   The engine starts at the first check, once; a start that failed is tried again at the next one.
2. Every check runs on Railscribe's one loop, so it does not matter on which loop the host calls. The caller's
   identity travels along, and so does its cancelling.
3. Starting is not an engine call and has a limit of its own: loading weights takes longer than judging.
4. Guards of one process whose settings name the same engine share it: two rails, or two configurations behind
   one server, load the weights once.
5. A host that knows its end awaits ``aclose``, which waits for deferred reasoning. Without it, whatever is still
   open when the process ends is put on record as lost.
"""

from __future__ import annotations

import asyncio
import weakref
from typing import Any

from typing_extensions import Self

from railscribe.admission import refuse_unscored
from railscribe.audit import open_store
from railscribe.choosing import open_policy
from railscribe.engines import Engine, open_engine
from railscribe.errors import EngineTimeoutError
from railscribe.guard import Guard
from railscribe.settings import Settings
from railscribe.sync import begin, run_apart
from railscribe.values import Completion, EngineInfo, Exchange, Record, Request

START_LIMIT_S = 300.0
"""Seconds that a check waits for the engine to start, a first unpacking of weights included."""


class StandingGuard(Guard):
    """A :class:`Guard` that is open from its construction on and may be called from any loop or thread."""

    @classmethod
    def stand(cls, settings: Settings, *, engine: Engine | None = None) -> Self:
        """Open the store, load the policy and name the engine (*engine*, or the one of *settings*).

        Raises:
            RailscribeError: what is missing, with the command that mends it.
        """
        late = _shared_engine(settings) if engine is None else LateEngine(engine)
        refuse_unscored(open_policy(settings.policy, settings), late)  # before a store is left open
        store = open_store(settings)
        guard = cls(engine=late, store=store, policy=settings.policy, settings=settings)
        weakref.finalize(guard, store.close).atexit = False  # the process's end closes everything
        # Entries hold the guard, so only at the process's end can there be open ones.
        weakref.finalize(guard, guard._deferred.abandon)
        return guard

    async def check(self, exchange: Exchange, **how: Any) -> Record:
        """Check as :meth:`Guard.check` does, on the one loop."""
        return await run_apart(super().check(exchange, **how))

    async def aclose(self) -> None:
        """Wait for deferred reasoning as :meth:`Guard.aclose` does, on the one loop."""
        await run_apart(super().aclose())


class LateEngine(Engine):
    """Starts the engine it stands for when the first request comes, on the loop that brings it."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(timeout_s=engine.timeout_s)
        self._engine = engine
        self._starting: asyncio.Task[None] | None = None

    @property
    def info(self) -> EngineInfo:
        return self._engine.info

    def info_for(self, adapter: str | None) -> EngineInfo:
        return self._engine.info_for(adapter)

    @property
    def address(self) -> str | None:
        return self._engine.address

    @property
    def sees(self) -> bool:
        return self._engine.sees

    @property
    def scores_categories(self) -> bool:
        return self._engine.scores_categories

    async def complete(self, request: Request) -> Completion:
        # Overridden whole: the wait for the start must not count against the time-out of the call.
        await self._started()
        return await self._engine.complete(request)

    async def aclose(self) -> None:
        await self._engine.aclose()

    async def _complete(self, request: Request) -> Completion:
        return await self._engine.complete(request)

    async def _started(self) -> None:
        if self._starting is None or (self._starting.done() and _failed(self._starting)):
            if self._starting is None:
                weakref.finalize(self, _close, self._engine).atexit = False
            self._starting = asyncio.create_task(self._engine.start())
        # Waiting for the task, not awaiting it: a caller that gives up must not stop it for the others.
        await asyncio.wait({self._starting}, timeout=START_LIMIT_S)
        if not self._starting.done():
            raise EngineTimeoutError(
                f"The {self.info.name} engine has not started within {START_LIMIT_S:g} s."
            )
        self._starting.result()


def _failed(task: asyncio.Task[None]) -> bool:
    return task.cancelled() or task.exception() is not None


def _close(engine: Engine) -> None:
    # Called by the garbage collector, perhaps on the one loop itself, so it must not wait.
    begin(engine.aclose())


_ENGINE_SETTINGS = (
    *("engine", "model", "revision", "adapter", "adapters", "base_url", "api_key"),
    *("dtype", "device", "quantize", "timeout_s", "max_retries", "cache_dir", "context_tokens"),
    *("max_batch", "batch_tokens", "batch_wait_ms", "prefix_cache_mb"),
)
# Weak: an engine that no guard holds any more is closed and forgotten.
_engines: weakref.WeakValueDictionary[tuple[Any, ...], LateEngine] = weakref.WeakValueDictionary()


def _shared_engine(settings: Settings) -> LateEngine:
    """Return the engine of *settings*, the one that another guard holds already where there is one (rule 4)."""
    key = tuple(_hashable(getattr(settings, name)) for name in _ENGINE_SETTINGS)
    engine = _engines.get(key)
    if engine is None:
        engine = _engines[key] = LateEngine(open_engine(settings))
    return engine


def _hashable(value: Any) -> Any:
    return tuple(sorted(value.items())) if isinstance(value, dict) else value
