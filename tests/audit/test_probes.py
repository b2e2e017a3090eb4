"""What the doctor found, at hand for the checks."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from railscribe.audit import AuditStore, KnownProbes
from railscribe.values import EngineInfo, Probe, ProbeName, ProbeResult

ENGINE = EngineInfo(name="openai_compatible", model="m")
ADDRESS = "http://127.0.0.1:8000/v1"
NOON = datetime(2026, 11, 25, 12, tzinfo=timezone.utc)


def probe(result: ProbeResult, minutes: int = 0) -> Probe:
    return Probe(
        name=ProbeName.POLICY,
        result=result,
        detail="",
        engine=ENGINE,
        address=ADDRESS,
        probed_at=NOON + timedelta(minutes=minutes),
    )


async def ask(known: KnownProbes, *, address: str | None = ADDRESS) -> ProbeResult | None:
    return await known.result(ENGINE, address, ProbeName.POLICY)


async def test_the_newest_probe_counts_for_its_engine_and_address(store: AuditStore) -> None:
    """The latest result is told, and none for another address or where none was made."""
    store.append_probes([probe(ProbeResult.IGNORED), probe(ProbeResult.HONOURED, minutes=1)])
    known = KnownProbes(store)

    assert await ask(known) is ProbeResult.HONOURED
    assert await ask(known, address=None) is None


async def test_a_new_probe_is_heeded_once_the_old_answer_is_old(store: AuditStore) -> None:
    """What was learned is kept for a while, then asked for again."""
    patient, eager = KnownProbes(store), KnownProbes(store, keep_s=0)
    store.append_probes([probe(ProbeResult.IGNORED)])
    assert [await ask(patient), await ask(eager)] == [ProbeResult.IGNORED, ProbeResult.IGNORED]

    store.append_probes([probe(ProbeResult.HONOURED, minutes=1)])

    assert [await ask(patient), await ask(eager)] == [ProbeResult.IGNORED, ProbeResult.HONOURED]
