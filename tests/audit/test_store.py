"""The store: what goes in comes out, durably, whole or not at all, and stays as it was."""

# ruff: noqa: S608 - names of tables and columns, all of them ours
from __future__ import annotations

import json
import pickle
import signal
import sqlite3
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from railscribe.audit import AuditStore, database, erase, tables
from railscribe.audit.commitments import verify
from railscribe.audit.database import open_engine, parse_url, writing
from railscribe.errors import AuditError, UsageError
from railscribe.values import Completion, Exchange, Identity, Image, Outcome, Record

RecordFactory = Callable[..., Record]


def execute(url: str, *statements: str) -> int:
    """Run raw SQL, as somebody would who goes past the store; return the rows the last statement touched."""
    engine = writing(open_engine(parse_url(url)))
    try:
        with engine.begin() as connection:
            return [connection.execute(sa.text(statement)).rowcount for statement in statements][-1]
    finally:
        engine.dispose()


def everything(store: AuditStore) -> dict[str, tuple[list[str], list[tuple[object, ...]]]]:
    """Return all the evidence in *store*, by table."""
    return {table.name: store.select(f"SELECT * FROM {table.name}") for table in tables.EVIDENCE}


def test_round_trip_of_everything(any_store: AuditStore, blocked: RecordFactory) -> None:
    """A record with everything in it comes back with everything in it, as JSON can carry it."""
    record = blocked()
    any_store.append(record)

    found = json.loads(json.dumps(any_store.record(record.id)))

    assert found["id"] == record.id
    assert found["checked_at"] == "2026-03-14T23:59:58.123456Z"
    assert found["identity"] == {"tenant": "acme", "session": "s-1", "request": "r-1", "subject": "user-42"}
    assert (found["direction"], found["rail"], found["host"]) == ("output", record.rail, record.host)
    assert (found["content_mode"], found["retention_class"]) == ("full", "default")
    assert found["decision"] == {
        "outcome": "block",
        "cause": None,
        "rule": "category 'Violence' blocks (score 0.75 >= 0.7)",
        "sides": ["user", "response"],
    }
    assert found["enforcement"] == "refused"
    assert found["verdict"] == {
        "user": {"label": "unsafe", "score": 0.97, "cause": None},
        "response": {"label": "safe", "score": 0.125, "cause": None},
        "categories": [
            {
                "name": "Violence",
                "said": "violence",
                "known": True,
                "deciding": True,
                "score": 0.75,
                "mlcommons_hazard": "Violent Crimes",
            },
            {
                "name": "spite",
                "said": "spite",
                "known": False,
                "deciding": False,
                "score": None,
                "mlcommons_hazard": None,
            },
        ],
        "notes": ["unknown_category"],
    }
    assert found["policy"]["document"] == json.loads(record.rendering.document)
    assert found["policy"]["text"] == record.rendering.text
    assert found["policy"]["digest"] == record.rendering.policy_digest
    assert found["engine"]["adapter_digest"] == "a" * 64
    assert found["engine"]["served_model"] == "guard-7"
    assert found["requested"] == {"categories": True, "trace": True}
    assert found["trace_received"] is True
    assert found["neutralised"] == ["conversation_marker", "user_marker"]
    assert found["image"] == {
        "image_count": 1,
        "image_use": "seen_and_read",
        "image_reader": "rapidocr 3.10.0",
    }
    assert found["images"][0]["size_bytes"] == len(record.exchange.images[0].data or b"")
    assert found["images"][0]["content"]["text"] == record.exchange.images[0].digest
    assert found["completion"] == {"finish_reason": "stop", "prompt_tokens": 812, "completion_tokens": 31}
    assert found["latency_ms"] == {"render": 0.5, "engine": 250.25, "decide": 0.125, "total": 250.875}
    texts = {kind: content["text"] for kind, content in found["content"].items()}
    assert texts == {
        "user": record.exchange.user,
        "response": record.exchange.response,
        "image_text": "STAB HERE",
        "trace": record.verdict.trace,
        "reply": record.verdict.reply,
    }
    assert {content["state"] for content in found["content"].values()} == {"intact"}


def test_a_category_that_was_not_named_and_decided_is_listed(
    any_store: AuditStore, blocked: RecordFactory
) -> None:
    """Behind those that the model named, with its score, and without a word of the model's."""
    record = blocked()
    decision = replace(record.decision, categories=("Violence", "Threat"))
    any_store.append(replace(record, decision=decision))

    categories = any_store.record(record.id)["verdict"]["categories"]

    assert [(c["name"], c["said"], c["deciding"], c["score"]) for c in categories] == [
        ("Violence", "violence", True, 0.75),
        ("spite", "spite", False, None),
        ("Threat", "", True, 0.5),
    ]


def test_round_trip_of_next_to_nothing(any_store: AuditStore, undecided: RecordFactory) -> None:
    """A check that came to nothing is a record with its cause, and what never was is absent."""
    any_store.append(undecided())

    found = any_store.record(undecided().id)

    assert found["decision"] == {"outcome": "undecided", "cause": "timeout", "rule": None, "sides": ["user"]}
    assert found["verdict"]["user"] == {"label": "unreadable", "score": None, "cause": "timeout"}
    assert found["verdict"]["response"] is None
    assert found["trace_received"] is False
    assert found["images"] == []
    assert {kind for kind, content in found["content"].items() if content} == {"user"}
    assert found["latency_ms"] == {"render": None, "engine": None, "decide": None, "total": None}


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        pytest.param("a\x00b", "a␚0000b", id="nul"),
        pytest.param("a\ud83db", "a␚D83Db", id="lone surrogate"),
        pytest.param("a␚0000b", "a␚241A0000b", id="the escape itself"),
        pytest.param("مرحبا 👩‍👩‍👧 \u202e \x1b[31m '; DROP TABLE records; --", None, id="anything else"),
        pytest.param("", None, id="empty"),
    ],
)
def test_any_text_is_kept(
    any_store: AuditStore, undecided: RecordFactory, text: str, stored: str | None
) -> None:
    """No text is lost or changed beyond undoing, and its commitment holds for what was really said."""
    any_store.append(undecided(exchange=Exchange(user=text), identity=Identity(session=text), rail=text))

    content = any_store.record(undecided().id)["content"]["user"]

    assert content["text"] == (text if stored is None else stored)
    assert tables.restored(content["text"]) == text
    assert (content["state"], content["chars"]) == ("intact", len(text))
    assert any_store.records()[0]["session"] == content["text"]


def test_long_texts_keep_their_beginning(any_url: str, undecided: RecordFactory) -> None:
    """Of a longer text the beginning is kept, with a flag, its length, and a commitment over all of it."""
    text = "0123456789" * 3
    with AuditStore.open(any_url, keep_chars=10) as store:
        store.append(undecided(exchange=Exchange(user=text)))
        content = store.record(undecided().id)["content"]["user"]

    assert (content["text"], content["state"], content["chars"]) == ("0123456789", "truncated", 30)
    assert verify(content["commitment"], "user", content["salt"], text)


def test_the_models_words_for_categories_are_cut(any_store: AuditStore, blocked: RecordFactory) -> None:
    """A model cannot be talked into filling evidence with text by way of category names."""
    (category, _) = blocked().verdict.categories
    flood = replace(category, name="x" * 5000, said="x" * 5000, known=False)
    any_store.append(blocked(verdict=replace(blocked().verdict, categories=(flood,))))

    assert any_store.record(blocked().id)["verdict"]["categories"][0]["said"] == "x" * 200


def test_a_picture_given_by_address(any_store: AuditStore, undecided: RecordFactory) -> None:
    """A picture that was never held is evidence by its address, which is content."""
    url = "https://example.org/picture.png"
    picture = Image(data=None, url=url, digest=None, media_type=None, width=None, height=None)
    any_store.append(undecided(exchange=Exchange(user="", images=(picture, picture))))

    found = any_store.record(undecided().id)["images"]

    assert [(image["position"], image["kind"], image["content"]["text"]) for image in found] == [
        (0, "image_url", url),
        (1, "image_url", url),
    ]
    assert {image["content"]["state"] for image in found} == {"intact"}


def test_what_is_shared_is_kept_once(any_url: str, blocked: RecordFactory, undecided: RecordFactory) -> None:
    """Policies, their texts and engines are rows of their own, however many records point at them."""
    for first in (0, 10):
        with AuditStore.open(any_url) as store:
            for number in range(first, first + 3):
                store.append(blocked(number))
                store.append(undecided(number + 100))

    with AuditStore.open(any_url) as store:
        for table in ("policies", "policy_texts", "engines"):
            assert store.select(f"SELECT count(*) FROM {table}")[1] == [(2,)]


def test_newest_first_and_filtered(
    any_store: AuditStore, blocked: RecordFactory, undecided: RecordFactory
) -> None:
    """The list is newest first and narrows by outcome, tenant, time and number; it holds no content."""
    for number in range(4):
        any_store.append((blocked if number % 2 else undecided)(number))

    def numbers(**narrow: object) -> list[int]:
        return [int(row["id"][-12:], 16) for row in any_store.records(**narrow)]  # type: ignore[arg-type]

    assert numbers() == [3, 2, 1, 0]
    assert numbers(limit=2) == [3, 2]
    assert numbers(outcome=Outcome.BLOCK) == [3, 1]
    assert numbers(tenant="acme") == [3, 1]
    assert numbers(tenant="a\x00") == []
    assert numbers(since=undecided().checked_at + timedelta(seconds=2)) == [3, 2]
    newest = any_store.records()[0]
    assert (newest["categories"], newest["deciding_categories"]) == (["Violence", "spite"], ["Violence"])
    assert newest["trace_received"] is True
    assert "STAB" not in json.dumps(newest)


def test_a_record_by_the_beginning_of_its_id(any_store: AuditStore, undecided: RecordFactory) -> None:
    """The beginning of an id is enough where it is of one record only; wildcards mean nothing."""
    any_store.append(undecided(0x10))
    any_store.append(undecided(0x11))
    one = undecided(0x10).id

    assert any_store.record(one)["id"] == any_store.record(one[:-1] + "0")["id"] == one
    with pytest.raises(UsageError, match="More than one record's id begins with"):
        any_store.record(one[:-1])
    for unknown in ("", "%", "ffff", one + "0"):
        with pytest.raises(UsageError, match="No record's id begins with"):
            any_store.record(unknown)


def test_eight_threads_at_once(any_store: AuditStore, blocked: RecordFactory) -> None:
    """Checks that end together are all recorded, the first of them with the policy and engine they share."""
    problems: list[Exception] = []
    gate = threading.Barrier(8)

    def run(thread: int) -> None:
        gate.wait()
        try:
            for number in range(5):
                any_store.append(blocked(thread * 100 + number))
        except Exception as error:  # noqa: BLE001 - carried out of the thread
            problems.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert problems == []
    assert any_store.select("SELECT count(*), count(DISTINCT id) FROM records")[1] == [(40, 40)]
    assert any_store.select("SELECT count(*) FROM record_categories")[1] == [(80,)]


def test_all_or_nothing(any_store: AuditStore, blocked: RecordFactory) -> None:
    """A record that the database refuses leaves nothing behind, and the store works on."""
    broken = blocked(decision=replace(blocked().decision, outcome=Outcome.UNDECIDED))

    with pytest.raises(AuditError, match=r"Appending a record: the audit database at .* failed") as caught:
        any_store.append(broken)

    assert "Wie baue ich" not in "".join(traceback.format_exception(caught.value))
    for table in tables.metadata.tables:
        assert any_store.select(f"SELECT count(*) FROM {table}")[1] == [(0,)]
    any_store.append(blocked())
    assert len(any_store.records()) == 1


def test_twice_is_refused(any_store: AuditStore, blocked: RecordFactory) -> None:
    """A record is history: the same one again is an error, and the first stays."""
    any_store.append(blocked())

    with pytest.raises(AuditError):
        any_store.append(blocked(rail="another"))

    assert any_store.record(blocked().id)["rail"] == "railscribe check output"


def test_an_acknowledged_record_outlives_its_process(any_url: str, undecided: RecordFactory) -> None:
    """When append has returned, the process may be killed at once and the record is there."""
    program = """
import os, pickle, signal, sys
from railscribe.audit import AuditStore
store = AuditStore.open(sys.argv[1])
store.append(pickle.loads(bytes.fromhex(sys.argv[2])))
os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program, any_url, pickle.dumps(undecided()).hex()], timeout=30
    )

    assert ended.returncode == -signal.SIGKILL
    with AuditStore.open(any_url) as store:
        assert store.record(undecided().id)["content"]["user"]["state"] == "intact"


def test_commits_wait_for_the_disk(any_url: str) -> None:
    """Connections ask for durable commits, also where the server's default is not to."""
    if any_url.startswith("postgresql"):
        any_url += "%20-csynchronous_commit%3Doff"
    with AuditStore.open(any_url) as store, writing(store._engine).begin() as connection:
        if any_url.startswith("postgresql"):
            assert connection.execute(sa.text("SHOW synchronous_commit")).scalar() == "on"
        else:
            assert connection.execute(sa.text("PRAGMA synchronous")).scalar() == 2  # FULL
            assert connection.execute(sa.text("PRAGMA journal_mode")).scalar() == "wal"


def test_a_locked_database(database_url: str, undecided: RecordFactory) -> None:
    """Another's lock is waited for, then named; when it is gone, all is well."""
    with AuditStore.open(f"{database_url}?timeout=0.1") as store:
        other = sqlite3.connect(database_url.removeprefix("sqlite:///"))
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(AuditError, match="locked by another process"):
            store.append(undecided())
        assert store.records() == []  # reading goes on
        other.close()

        store.append(undecided())
        assert len(store.records()) == 1


@pytest.mark.postgres
def test_a_locked_table(postgres_url: str, undecided: RecordFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """On PostgreSQL a lock has its time-out, too."""
    monkeypatch.setattr(
        database, "_POSTGRESQL_SETTINGS", database._POSTGRESQL_SETTINGS.replace("5s", "100ms")
    )
    other = sa.create_engine(postgres_url)
    with AuditStore.open(postgres_url) as store, other.begin() as connection:
        connection.execute(sa.text("LOCK TABLE records"))
        with pytest.raises(AuditError, match="locked by another process"):
            store.append(undecided())
    other.dispose()


def test_a_read_only_database(database_url: str, undecided: RecordFactory) -> None:
    """What may only be read can be read; appending says why it cannot."""
    with AuditStore.open(database_url) as store:
        store.append(undecided())
    path = database_url.removeprefix("sqlite:///")
    with AuditStore.open(f"sqlite:///file:{path}?mode=ro&uri=true") as store:
        assert len(store.records()) == 1
        with pytest.raises(AuditError, match="is read-only"):
            store.append(undecided(1))


def test_a_full_disk(store: AuditStore, undecided: RecordFactory) -> None:
    """A disk that is full is named as that, and what was there stays."""
    store.append(undecided())
    store._engine.dispose()
    event.listen(
        store._engine, "connect", lambda connection, _: connection.execute("PRAGMA max_page_count=1")
    )

    with pytest.raises(AuditError, match=r"the disk under the audit database at .* is full"):
        store.append(undecided(1, exchange=Exchange(user="x" * 100_000)))

    assert len(store.records()) == 1


def test_a_database_that_vanishes(database_url: str, undecided: RecordFactory) -> None:
    """A file that is taken away is not silently made anew by the next connection."""
    path = Path(database_url.removeprefix("sqlite:///"))
    with AuditStore.open(database_url) as store:
        store._engine.dispose()
        path.unlink()
        with pytest.raises(AuditError, match="cannot open"):
            store.append(undecided())

    assert not path.exists()


def test_erasing_content_leaves_the_evidence_opaque(any_url: str, blocked: RecordFactory) -> None:
    """Content may be erased: verdict and commitments stay, and nothing is left to test a guess with."""
    with AuditStore.open(any_url) as store:
        store.append(blocked())
        before = store.record(blocked().id)

        assert erase(store, subject="user-42", by="dpo", reason="asked to").contents == 7

        found = store.record(blocked().id)
        assert {content["state"] for content in found["content"].values()} == {"erased"}
        assert {content["text"] or content["salt"] for content in found["content"].values()} == {None}
        assert found["content"]["user"]["commitment"] == before["content"]["user"]["commitment"]
        assert found["images"][0]["content"]["state"] == "erased"
        assert found["verdict"] == before["verdict"]
        evidence = json.dumps(everything(store))
        for secret in (
            "Wie baue",
            "with that",
            "Names a weapon",
            "STAB",
            str(blocked().exchange.images[0].digest),
        ):
            assert secret not in evidence


def test_content_cannot_be_swapped(
    any_url: str, blocked: RecordFactory, past_triggers: Callable[..., None]
) -> None:
    """Content can be neither updated nor deleted; put back differently past the triggers, it fails its commitment."""
    with AuditStore.open(any_url) as store:
        store.append(blocked())
        for attempt in ("UPDATE contents SET body = 'forged'", "DELETE FROM contents"):
            with pytest.raises(sa.exc.DBAPIError, match="railscribe: append-only"):
                execute(any_url, attempt)
        past_triggers(
            any_url,
            "CREATE TEMP TABLE kept AS SELECT * FROM contents WHERE kind = 'user'",
            "DELETE FROM contents WHERE kind = 'user'",
            "UPDATE kept SET body = 'forged'",
            "INSERT INTO contents SELECT * FROM kept",
        )

        found = store.record(blocked().id)["content"]

    assert found["user"]["state"] == "altered"
    assert found["response"]["state"] == "intact"


def test_a_selection_cannot_write(any_store: AuditStore, undecided: RecordFactory) -> None:
    """The operator's SELECT runs where nothing can be written; percent signs and colons are just text."""
    any_store.append(undecided())

    assert any_store.select("SELECT id LIKE '019%' AS hit, ':id' AS colon FROM records") == (
        ["hit", "colon"],
        [(True, ":id")],
    )
    with pytest.raises(AuditError, match="read-only"):
        any_store.select("DELETE FROM contents RETURNING kind")
    with pytest.raises(UsageError, match="returns no rows"):
        any_store.select("SAVEPOINT here")
    any_store.append(undecided(1))  # the same connection writes again


def test_a_foreign_error_keeps_content_out(store: AuditStore, blocked: RecordFactory) -> None:
    """What the driver says may end in a log, so neither statement nor traceback carries content."""
    store.append(blocked())
    with pytest.raises(AuditError) as caught:
        store.append(blocked(completion=Completion(text="x", finish_reason=None)))

    words = "".join(traceback.format_exception(caught.value))
    assert "append-only" in words
    for secret in ("Wie baue", "with that", "STAB HERE"):
        assert secret not in words


def test_an_error_tells_no_content(
    any_url: str, undecided: RecordFactory, caplog: pytest.LogCaptureFixture
) -> None:
    """A record that the database refuses, here because its key is taken, leaves none of its words in what is raised,
    in any cause of it, or in a log."""
    words = "plain secret " + "words"  # not whole in any line that a traceback quotes
    with AuditStore.open(any_url) as store:
        store.append(undecided())
        with pytest.raises(AuditError) as caught:
            store.append(undecided(exchange=Exchange(user=words)))

    told = "".join(traceback.format_exception(caught.value)) + caplog.text
    assert "IntegrityError" in told
    assert words not in told
