"""Pieces, late traces, probes and reasons for review: appended once, read back whole, never changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from railscribe.audit import AuditStore, erase, tables
from railscribe.errors import AuditError
from railscribe.values import (
    Cause,
    EngineInfo,
    LateState,
    LateTrace,
    Lost,
    Piece,
    Probe,
    ProbeName,
    ProbeResult,
    Reasoning,
    Record,
    Review,
)

RecordFactory = Callable[..., Record]
LateFactory = Callable[..., LateTrace]


def test_pieces_come_back_in_their_order(
    any_store: AuditStore, undecided: RecordFactory, pieces: tuple[Piece, ...]
) -> None:
    """Each engine call keeps what was sent, what came, and whether the record's verdict was taken from it."""
    any_store.append(undecided(pieces=pieces))

    first, second = json.loads(json.dumps(any_store.record(undecided().id)["pieces"]))

    assert (first["user_span"], first["response_span"], first["image_position"]) == ([0, 10], None, None)
    assert first["user"] == {"label": "safe", "score": 0.02, "cause": None}
    assert (first["response"], first["deciding"], first["trace_requested"]) == (None, False, False)
    assert (first["finish_reason"], first["prompt_tokens"], first["engine_ms"]) == ("stop", 9, 12.5)
    assert (first["reply"]["text"], first["reply"]["state"]) == ("User Safety: safe", "intact")
    assert (second["user_span"], second["response_span"], second["image_position"]) == ([8, 17], [0, 5], 1)
    assert (first["image_text_span"], second["image_text_span"]) == (None, [0, 9])
    assert second["response"] == {"label": "unreadable", "score": None, "cause": "timeout"}
    assert (second["deciding"], second["trace_requested"], second["reply"]) == (True, True, None)
    assert any_store.records()[0]["piece_count"] == 2


def test_a_late_trace_is_read_with_its_record(
    any_store: AuditStore, blocked: RecordFactory, late: LateFactory
) -> None:
    """What was thought afterwards stands beside the record, which stays as it was."""
    record = blocked(reasoning=Reasoning.DEFERRED)
    any_store.append(record)
    before = any_store.record(record.id)
    any_store.append_late_trace(late(record))

    found = json.loads(json.dumps(any_store.record(record.id)))

    trace = found.pop("late_trace")
    assert (trace["state"], trace["cause"], trace["disagrees"], trace["contradicts"]) == (
        *("received", None),
        *(True, False),
    )
    assert (trace["requested_at"][-10:], trace["ended_at"][-10:]) == ("59.123456Z", "01.123456Z")
    assert trace["user"] == {"label": "unsafe", "score": 0.75, "cause": None}
    assert (trace["response"], trace["engine_ms"], trace["completion_tokens"]) == (None, 1999.5, 20)
    assert (trace["trace"]["text"], trace["trace"]["state"]) == ("It asks for a knife.", "intact")
    assert trace["reply"]["state"] == "intact"
    assert (found["reasoning"], found["reviews"]) == ("deferred", ["think_disagrees"])
    assert (before["late_trace"], before["reviews"]) == (None, ["trace_awaited"])
    changed = ("reviews", "late_trace")
    assert {name: found[name] for name in found if name not in changed} == {
        name: before[name] for name in before if name not in changed
    }


def test_a_record_has_one_late_trace(
    any_store: AuditStore, blocked: RecordFactory, late: LateFactory
) -> None:
    """The second late trace of a record is refused, and so is one of a record that is not there."""
    any_store.append(blocked())
    any_store.append_late_trace(late(blocked()))

    for refused in (late(blocked(), disagrees=False), late(blocked(1))):
        with pytest.raises(AuditError):
            any_store.append_late_trace(refused)

    assert any_store.select("SELECT count(*), sum(CASE WHEN disagrees THEN 1 END) FROM late_traces")[1] == [
        (1, 1)
    ]
    assert any_store.select("SELECT count(*) FROM contents WHERE kind = 'late_trace'")[1] == [(1,)]


def test_reasons_for_review_from_check_and_late_trace(
    any_store: AuditStore, blocked: RecordFactory, late: LateFactory
) -> None:
    """One view names every reason, whichever came first, and the list of records carries them."""
    asked = blocked(0, reviews=(Review.SCORE_IN_BAND, Review.TRACE_MISSING), reasoning=Reasoning.VERDICT)
    told, lost, awaited = (blocked(number, reasoning=Reasoning.DEFERRED) for number in (1, 2, 3))
    for record in (asked, told, lost, awaited, blocked(4)):
        any_store.append(record)
    any_store.append_late_trace(late(told, contradicts=True))
    gone = {"completion": None, "verdict": None, "disagrees": None, "contradicts": None, "engine_ms": None}
    any_store.append_late_trace(late(lost, state=LateState.LOST, cause=Lost.CLOSED, **gone))

    _, rows = any_store.select("SELECT checked_at, reason, found_by FROM v_reviews ORDER BY 1, 2")
    assert [row[1:] for row in rows] == [
        ("score_in_band", "check"),
        ("trace_missing", "check"),
        ("think_disagrees", "late_trace"),
        ("trace_contradicts", "late_trace"),
        ("trace_missing", "late_trace"),
        ("trace_awaited", "check"),
    ]
    assert [row["reviews"] for row in any_store.records()] == [
        [],
        ["trace_awaited"],
        ["trace_missing"],
        ["think_disagrees", "trace_contradicts"],
        ["score_in_band", "trace_missing"],
    ]
    assert [row["reviews"] for row in any_store.records(limit=2)] == [[], ["trace_awaited"]]
    states = any_store.select("SELECT state, cause, late_trace FROM v_late_traces ORDER BY checked_at")[1]
    assert states == [
        ("received", None, "It asks for a knife."),
        ("lost", "closed", None),
        ("awaited", None, None),
    ]


def test_a_failed_late_trace_names_its_cause(
    any_store: AuditStore, blocked: RecordFactory, late: LateFactory
) -> None:
    """Only a trace that was received may be without a cause: the database holds to it."""
    any_store.append(blocked())
    bare = {"completion": None, "verdict": None, "disagrees": None, "contradicts": None}

    with pytest.raises(AuditError):
        any_store.append_late_trace(late(blocked(), state=LateState.FAILED, **bare))
    any_store.append_late_trace(late(blocked(), state=LateState.FAILED, cause=Cause.TIMEOUT, **bare))

    found = any_store.record(blocked().id)["late_trace"]
    assert (found["state"], found["cause"], found["trace"]) == ("failed", "timeout", None)


def test_the_latest_probe_of_each_name(any_store: AuditStore, probe: Callable[..., Probe]) -> None:
    """What is known of an engine at an address is the last finding of each name; other engines have their own."""
    first = [probe(name=ProbeName.THINKING, result=ProbeResult.REFUSED), probe(result=ProbeResult.IGNORED)]
    engine, address = first[0].engine, first[0].address
    later = {"probed_at": first[0].probed_at + timedelta(hours=1)}
    any_store.append_probes(first)
    any_store.append_probes([probe(result=ProbeResult.HONOURED, **later)])
    another = {"address": "http://127.0.0.1:8001/v1", "probed_at": first[0].probed_at + timedelta(hours=2)}
    any_store.append_probes([probe(result=ProbeResult.FAILED, **another)])
    any_store.append_probes([probe(name=ProbeName.IMAGE, address=None)])
    any_store.append_probes([probe(engine=replace(engine, adapter="acme"), **later)])

    def results(engine: EngineInfo, address: str | None) -> dict[str, str]:
        return {found.name.value: found.result.value for found in any_store.probes(engine, address)}

    assert results(engine, address) == {"policy": "honoured", "thinking": "refused"}
    assert results(engine, "http://127.0.0.1:8001/v1") == {"policy": "failed"}
    assert results(engine, None) == {"image": "ignored"}
    assert results(replace(engine, adapter="acme"), address) == {"policy": "ignored"}
    assert results(replace(engine, model="other"), address) == {}
    assert any_store.probes(engine, address)[1] == first[0]


def test_what_was_said_is_content_and_can_be_erased(
    any_url: str, fill: Callable[[AuditStore], None], blocked: RecordFactory
) -> None:
    """Replies of pieces and late traces lie in ``contents`` alone; evidence keeps lengths and commitments."""
    with AuditStore.open(any_url) as store:
        fill(store)
        evidence = [store.select(f"SELECT * FROM {table.name}")[1] for table in tables.EVIDENCE]  # noqa: S608
        assert "knife" not in str(evidence)
        erase(store, subject="user-42", by="dpo", reason="asked to")

        found = store.record(blocked().id)

    assert found["late_trace"]["trace"]["state"] == found["late_trace"]["reply"]["state"] == "erased"
    assert found["late_trace"]["trace"]["chars"] == len("It asks for a knife.")
    assert found["pieces"][0]["reply"]["state"] == "erased"
    assert found["late_trace"]["user"]["label"] == "unsafe"
