"""Writers give entries their places and seal them, also when they fail, die, are taken for dead, or are many."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from railscribe.audit import AuditStore, keys, leftovers, sealing
from railscribe.audit.anchors import Anchors
from railscribe.audit.chain.checkpoint import read
from railscribe.audit.database import open_engine, parse_url, writing
from railscribe.audit.sealing import Sealer
from railscribe.audit.verify import verify_database
from railscribe.errors import AuditError, ChainError, SettingsError, SigningKeyError
from railscribe.values import Decision, Outcome, Record, Side

RecordFactory = Callable[..., Record]
NOW = datetime(2026, 3, 14, 12, tzinfo=timezone.utc)


def checkpoints(store: AuditStore) -> list[dict[str, Any]]:
    """Return what the chain says."""
    return [read(body) for (body,) in store.select("SELECT body FROM checkpoints ORDER BY number")[1]]


def execute(url: str, *statements: str) -> None:
    engine = writing(open_engine(parse_url(url)))
    try:
        with engine.begin() as connection:
            for statement in statements:
                connection.execute(sa.text(statement))
    finally:
        engine.dispose()


def test_a_full_segment_makes_way(
    any_url: str, undecided: RecordFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A segment takes so many entries and no more; the next begins, and a checkpoint comes at once."""
    monkeypatch.setattr(sealing, "SEGMENT", 3)
    with AuditStore.open(any_url) as store:
        for number in range(7):
            store.append(undecided(number))
        said = checkpoints(store)
    report = verify_database(any_url)

    assert [one["reason"] for one in said[:2]] == ["opened", "scheduled"]
    with AuditStore.open(any_url) as store:
        counts = store.select("SELECT entry_count, number FROM segments ORDER BY number")[1]
        assert sum(count for count, _ in counts) == 7
        assert max(count for count, _ in counts) <= 3
        assert [number for _, number in counts] == list(range(len(counts)))
    assert (report.ok, report.records) == (True, 7)


def test_classes_and_months_lie_apart(any_url: str, undecided: RecordFactory) -> None:
    """A segment is of one retention class and one month, so that it can be pruned whole; a probe is of operations."""
    with AuditStore.open(any_url, retention_class="six-years") as store:
        store.append(undecided(0))
        store.append(undecided(1, checked_at=datetime(2026, 4, 1, tzinfo=timezone.utc)))
        store.append(undecided(2))
        store.seal()
        rows = store.select("SELECT retention_class, month, entry_count FROM segments ORDER BY number")[1]

    assert rows == [("six-years", "2026-03", 2), ("six-years", "2026-04", 1)]


def test_what_fails_leaves_its_place(any_store: AuditStore, blocked: RecordFactory) -> None:
    """An entry that the database refuses takes no place: the next one has it."""
    any_store.append(blocked(0))
    with pytest.raises(AuditError):
        any_store.append(blocked(1, decision=Decision(outcome=Outcome.UNDECIDED, sides=(Side.USER,))))
    any_store.append(blocked(2))

    places = any_store.select("SELECT position FROM entries ORDER BY position")[1]

    assert places == [(0,), (1,)]


def test_when_one_is_due() -> None:
    """A checkpoint is due when time is up, and when the clock was set back; not before there was an entry."""
    sealer = Sealer(keys.load_or_create(None, signs=None), seal_every_s=60)
    assert not sealer.due(NOW)

    sealer._state.is_open, sealer._state.sealed_at = True, NOW

    assert not sealer.due(NOW + timedelta(seconds=59))
    assert sealer.due(NOW + timedelta(seconds=60))
    assert sealer.due(NOW - timedelta(seconds=1))


_APPEND = """
import os, pickle, signal, sys
from dataclasses import replace
from railscribe.audit import AuditStore
store = AuditStore.open(sys.argv[1])
record = pickle.loads(bytes.fromhex(sys.argv[2]))
first, count = int(sys.argv[3]), int(sys.argv[4])
for number in range(first, first + count):
    store.append(replace(record, id=f"{record.id[:-12]}{number:012x}"))
if sys.argv[5] == "die":
    os.kill(os.getpid(), signal.SIGKILL)
store.close()
"""


def appending(url: str, record: Record, first: int, count: int, then: str) -> subprocess.Popen[bytes]:
    arguments = [url, pickle.dumps(record).hex(), str(first), str(count), then]
    return subprocess.Popen([sys.executable, "-c", _APPEND, *arguments])


def test_a_killed_writer_is_brought_to_its_end(any_url: str, undecided: RecordFactory) -> None:
    """What a writer that was killed left unsealed is sealed by the next, in its name."""
    assert appending(any_url, undecided(), 1, 3, "die").wait(60) == -signal.SIGKILL
    before = verify_database(any_url).as_json()["completeness"]

    with AuditStore.open(any_url) as store:
        store.append(undecided(9))
        said = checkpoints(store)

    assert (before["unsealed"], len(before["open_writers"])) == (3, 1)
    assert [one["reason"] for one in said] == ["opened", "recovered", "opened"]
    assert said[1]["ends"] == said[0]["writer"] == before["open_writers"][0]
    assert said[1]["writer"] == said[2]["writer"] != said[0]["writer"]
    assert [segment["count"] for segment in said[1]["segments"]] == [3]
    after = verify_database(any_url)
    assert (after.failures, after.records) == ([], 4)
    assert after.as_json()["completeness"]["open_writers"] == []


def test_several_processes_at_once(any_url: str, undecided: RecordFactory) -> None:
    """Each writer has its own segments, and all have one chain without a fork or a hole."""
    writers = [appending(any_url, undecided(), 100 * number, 15, "close") for number in range(4)]
    assert [writer.wait(120) for writer in writers] == [0] * 4

    report = verify_database(any_url)

    assert (report.failures, report.records) == ([], 60)
    with AuditStore.open(any_url) as store:
        said = checkpoints(store)
    assert [one["number"] for one in said] == list(range(1, len(said) + 1))
    assert len({one["writer"] for one in said}) == 4
    assert [one["reason"] for one in said].count("closed") == 4


def test_a_writer_that_lives_is_left_alone(any_url: str, undecided: RecordFactory) -> None:
    """Another that begins does not end it."""
    with AuditStore.open(any_url) as one, AuditStore.open(any_url) as other:
        one.append(undecided(1))
        other.append(undecided(2))
        one.append(undecided(3))

        assert [said["reason"] for said in checkpoints(one)] == ["opened", "opened"]


def test_a_writer_that_was_taken_for_dead_begins_anew(
    any_url: str, undecided: RecordFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost of one that was only silent: it goes on under another name."""
    monkeypatch.setattr(leftovers, "SILENT", 0)
    monkeypatch.setattr(leftovers, "_LEAST_SILENCE_S", 0)
    with AuditStore.open(any_url) as silent:
        silent.append(undecided(1))
        with AuditStore.open(any_url) as other:
            other.append(undecided(2))
        silent.append(undecided(3))
        said = checkpoints(silent)

    assert [one["reason"] for one in said] == ["opened", "recovered", "opened", "closed", "opened"]
    assert len({one["writer"] for one in said}) == 3
    report = verify_database(any_url)
    assert (report.failures, report.records) == ([], 3)


def test_a_sealed_segment_takes_no_more(any_url: str, undecided: RecordFactory) -> None:
    """The database itself refuses an entry into a segment that is under a checkpoint."""
    with AuditStore.open(any_url) as store:
        store.append(undecided())

    with pytest.raises(sa.exc.DBAPIError, match="railscribe: sealed"):
        execute(
            any_url,
            "INSERT INTO entries SELECT at, 'record', 'another', segment_id, 1, leaf FROM entries",
        )


def test_a_chain_that_lost_its_end_is_noticed_by_its_writer(own_url: str, undecided: RecordFactory) -> None:
    """A writer goes on from what it saw: a checkpoint that was taken out meanwhile is missed at once."""
    store = AuditStore.open(own_url)
    store.append(undecided())
    on = "" if own_url.startswith("sqlite") else " ON {}"
    names = ("checkpoints", "segments")
    execute(own_url, *(f"DROP TRIGGER {name}_no_delete{on.format(name)}" for name in names))
    store.seal()
    execute(
        own_url,
        "DELETE FROM segments",
        "DELETE FROM checkpoints WHERE number = 2",
    )

    with pytest.raises(ChainError, match="Checkpoint 2, which this writer saw, is not in the chain any more"):
        store.seal()
    store.close()


def test_another_key_is_refused(any_url: str, tmp_path: Path, undecided: RecordFactory) -> None:
    """A chain has one key at a time: a writer with another is told which it should be."""
    with AuditStore.open(any_url) as store:
        store.append(undecided(0))
    mine = keys.load(keys.default_path())
    other = keys.create(tmp_path / "other.pem")

    with AuditStore.open(any_url, signing_key=other.path) as store:
        with pytest.raises(
            SigningKeyError, match=f"is signed with the key {mine.id}, and the one at .* is {other.id}"
        ):
            store.append(undecided(1))
        assert len(store.records()) == 1


def test_a_lost_key_is_named(any_url: str, tmp_path: Path, undecided: RecordFactory) -> None:
    """Without the chain's key nothing is appended, and the error says what to do; no other key is made."""
    path = tmp_path / "key.pem"
    made = keys.create(path)
    with AuditStore.open(any_url, signing_key=path) as store:
        store.append(undecided(0))
    path.unlink()

    with AuditStore.open(any_url, signing_key=path) as store:
        with pytest.raises(
            SigningKeyError, match=f"signed with the key {made.id}, and there is no key at .*--lost"
        ):
            store.append(undecided(1))
        assert len(store.records()) == 1  # reading takes no key
    assert not path.exists()


def test_what_is_no_number_is_refused(any_store: AuditStore, blocked: RecordFactory) -> None:
    """A value that the two databases would keep differently is not kept at all."""
    record = blocked()
    broken = replace(record, latency_ms={**record.latency_ms, "engine": float("nan")})

    with pytest.raises(AuditError, match="not a number"):
        any_store.append(broken)

    any_store.append(record)


def test_checkpoints_are_carried_outside(database_url: str, tmp_path: Path, undecided: RecordFactory) -> None:
    """Each checkpoint's number, hash and signature reach a file and a command, in order."""
    file, other = tmp_path / "anchor", tmp_path / "other"
    with AuditStore.open(database_url, anchors=Anchors(file=file, command=f"tee -a {other}")) as store:
        store.append(undecided(0))
        store.seal()
        rows = store.select("SELECT number, hash, signature FROM checkpoints ORDER BY number")[1]

    lines = [line.split() for line in file.read_text().splitlines()]

    assert [[str(cell) for cell in row] for row in rows] == lines[:2]
    assert len(lines) == 3
    assert other.read_text() == file.read_text()
    assert verify_database(database_url, anchors=[file, other]).checked["anchored"] == 6


def test_an_anchor_that_fails_holds_up_nothing_and_is_on_record(
    database_url: str, tmp_path: Path, undecided: RecordFactory
) -> None:
    """Appending goes on while anchors fail, and the next checkpoint says which did."""
    missing = tmp_path / "none" / "anchor"
    with AuditStore.open(database_url, anchors=Anchors(file=missing, command="false")) as store:
        store.append(undecided(0))
        for _ in range(200):
            store.seal()
            told = [one["anchor_failures"] for one in checkpoints(store) if "anchor_failures" in one]
            if told:
                break
            time.sleep(0.05)

    assert {(failure["by"], failure["cause"]) for failure in told[0]} <= {
        ("file", "FileNotFoundError"),
        ("command", "CalledProcessError"),
    }
    assert told[0][0]["number"] == 1
    assert verify_database(database_url).ok


@pytest.mark.parametrize("anchor", [{"url": "http://example.org/"}, {"command": "'"}, {"command": " "}])
def test_anchors_that_make_no_sense(anchor: dict[str, str]) -> None:
    """A mistake in the settings is said when the store is opened."""
    with pytest.raises(SettingsError):
        Anchors(**anchor)  # type: ignore[arg-type]
