"""What ``railscribe doctor`` last found out about an engine, kept at hand for the checks.

Rules

1. The store is asked once for each engine, and again when what it said is older than ``KEEP_S``, so a running
   guard heeds a new probe within that time.
2. It is asked on a thread: no check that waits for it holds up the event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from railscribe.audit.store import AuditStore
from railscribe.values import EngineInfo, ProbeName, ProbeResult

KEEP_S = 10.0

_Results = Mapping[ProbeName, ProbeResult]


class KnownProbes:
    """The latest result of each probe by engine and address. For one event loop at a time."""

    def __init__(self, store: AuditStore, *, keep_s: float = KEEP_S) -> None:
        self._store = store
        self._keep_s = keep_s
        self._known: dict[tuple[EngineInfo, str | None], tuple[float, _Results]] = {}

    async def result(self, engine: EngineInfo, address: str | None, name: ProbeName) -> ProbeResult | None:
        """Return what the latest probe *name* of *engine* at *address* came to; ``None`` where none was made.

        Raises:
            AuditError: the database could not be read.
        """
        asked_at, results = self._known.get((engine, address), (float("-inf"), {}))
        if time.monotonic() - asked_at > self._keep_s:
            probes = await asyncio.to_thread(self._store.probes, engine, address)
            results = {probe.name: probe.result for probe in probes}
            self._known[engine, address] = (time.monotonic(), results)
        return results.get(name)
