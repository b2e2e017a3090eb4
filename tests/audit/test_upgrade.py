"""A database of an earlier revision, with records in it, goes on living at the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest
import sqlalchemy as sa

from railscribe.audit import AuditStore, keys, schema, tables
from railscribe.audit.attesting import adopt
from railscribe.audit.database import open_engine, parse_url, reading, writing
from railscribe.audit.receipts import check_receipt, receipt_of
from railscribe.audit.rows import fingerprint, late_rows, rows_of
from railscribe.audit.verify import verify_database
from railscribe.errors import AuditError
from railscribe.values import EngineInfo, LateTrace, Piece, Record

RecordFactory = Callable[..., Record]


def before_0004(record: Record) -> Record:
    """*record* without what only 0004 has a place for: the rule that won, and scores of categories."""
    return replace(
        record,
        decision=replace(record.decision, rule=""),
        verdict=replace(record.verdict, category_scores={}),
    )


def append_as_before(url: str, *values: Record | LateTrace) -> None:
    """Insert *values* as the version of the database's revision did, which knew none of what came later."""
    engine = writing(open_engine(parse_url(url)))
    try:
        with engine.begin() as connection:
            for value in values:
                _append_as_before(connection, value)
    finally:
        engine.dispose()


def _append_as_before(connection: sa.Connection, value: Record | LateTrace) -> None:
    how: dict[str, Any] = {"retention_class": "default", "keep_chars": 1000}
    rows = rows_of(value, **how) if isinstance(value, Record) else late_rows(value, **how)
    for table, row in rows.shared.items():
        there = sa.select(table.c.digest).where(table.c.digest == row["digest"])
        if connection.execute(there).first() is None:
            connection.execute(_plain_insert(table, connection), _known(row, connection, table))
    had_pictures = "perceptual_commitment" in _known_columns(connection, tables.record_images)
    for table, own in rows.own.items():
        if own and sa.inspect(connection).has_table(table.name):
            known = [
                _known(row, connection, table)
                for row in own
                if had_pictures or row.get("kind") != "image_perceptual"
            ]
            connection.execute(_plain_insert(table, connection), known)


def _known_columns(connection: sa.Connection, table: sa.Table) -> set[str]:
    return {column["name"] for column in sa.inspect(connection).get_columns(table.name)}


def _plain_insert(table: sa.Table, connection: sa.Connection) -> Any:
    columns = [column["name"] for column in sa.inspect(connection).get_columns(table.name)]
    old = sa.table(table.name, *(sa.column(name, table.c[name].type) for name in columns))
    return sa.insert(old)


def _known(row: dict[str, Any], connection: sa.Connection, table: sa.Table) -> dict[str, Any]:
    columns = _known_columns(connection, table)
    return {name: value for name, value in row.items() if name in columns}


def test_records_of_0001_outlive_the_upgrade(url_at_0001: str, blocked: RecordFactory) -> None:
    """After the upgrade an old record is whole, says nothing of what was unknown then, and new ones join it."""
    append_as_before(url_at_0001, blocked(0))

    schema.upgrade(url_at_0001)

    assert schema.check(url_at_0001) == []
    with AuditStore.open(url_at_0001) as store:
        store.append(before_0004(blocked(1)))
        old, new = (store.record(blocked(number).id) for number in (0, 1))
        assert store.select("SELECT count(*) FROM engines")[1] == [(1,)]
        listed = store.records()
    assert {content["state"] for content in old["content"].values()} == {"intact"}
    assert (old["pieces"], old["reviews"], old["reasoning"], old["late_trace"]) == ([], [], "off", None)
    assert {name: value for name, value in old.items() if name not in ("id", "checked_at", "content")} == {
        name: value for name, value in new.items() if name not in ("id", "checked_at", "content")
    } | {"images": old["images"]}
    assert [(row["reviews"], row["piece_count"], row["reasoning"]) for row in listed] == [([], 0, "off")] * 2


def test_pictures_of_0002_outlive_the_upgrade(url_at_0002: str, blocked: RecordFactory) -> None:
    """After the upgrade an old picture says nothing of what was unknown then, and what was read in it is there."""
    append_as_before(url_at_0002, blocked(0))

    schema.upgrade(url_at_0002)

    assert schema.check(url_at_0002) == []
    with AuditStore.open(url_at_0002) as store:
        (image,) = store.record(blocked(0).id)["images"]
        assert (image["frame"], image["use"], image["text"], image["bytes"]) == (None, None, None, None)
        assert (image["width"], image["content"]["state"]) == (8, "intact")
        assert store.record(blocked(0).id)["content"]["image_text"]["text"] == "STAB HERE"
        assert store.select("SELECT image_text FROM v_checks")[1] == [("STAB HERE",)]


@pytest.mark.parametrize("what", ["record_images", "record_pieces"])
def test_going_back_never_drops_what_0002_cannot_hold(
    url_at_0004: str, what: str, blocked: RecordFactory, undecided: RecordFactory, pieces: tuple[Piece, ...]
) -> None:
    """A downgrade past 0003 is refused while there is evidence that only 0003 has a place for."""
    append_as_before(
        url_at_0004, before_0004(blocked()) if what == "record_images" else undecided(pieces=pieces)
    )

    with pytest.raises(AuditError, match=f"would drop what . rows of {what} say"):
        schema.downgrade(url_at_0004, "0002")

    assert schema.current(url_at_0004) == "0004"


@pytest.mark.parametrize("revision", ["0001", "0002", "0003", "0004"])
def test_older_evidence_is_taken_into_the_chain(
    empty_url: str, revision: str, blocked: RecordFactory, late: Callable[..., LateTrace]
) -> None:
    """A database of any earlier revision upgrades, serves, and then verifies with all that was in it."""
    schema.upgrade(empty_url, revision)
    old = [before_0004(blocked(number)) for number in range(3)]
    append_as_before(empty_url, *old)
    if revision > "0001":
        append_as_before(empty_url, late(old[0]))
    schema.upgrade(empty_url)
    unattested = verify_database(empty_url)

    with AuditStore.open(empty_url) as store:
        store.append(blocked(9))
        assert store.record(old[2].id)["content"]["user"]["state"] == "intact"
        reasons = store.select("SELECT reason FROM checkpoints ORDER BY number")[1]
        with store.transaction("Making a receipt") as connection:
            receipt = receipt_of(connection, old[1].id)

    assert set(unattested.failed) >= {"entry_none"}
    report = verify_database(empty_url)
    assert (report.failures, report.records) == ([], 4)
    assert reasons == [("adopted",), ("opened",)]
    assert check_receipt(receipt, keys.load(keys.default_path()).public) == []


def test_an_upgrade_may_take_it_in_at_once(url_at_0004: str, blocked: RecordFactory) -> None:
    """What is taken in after an upgrade is not taken in again; where there is nothing, nothing happens."""
    append_as_before(url_at_0004, blocked(0))
    schema.upgrade(url_at_0004)

    assert [adopt(url_at_0004, None), adopt(url_at_0004, None)] == [True, False]

    report = verify_database(url_at_0004)
    assert (report.ok, report.records) == (True, 1)


def test_a_client_from_before_the_chain_is_refused(url_at_0004: str, blocked: RecordFactory) -> None:
    """A process that was open when 0005 came cannot write past the chain: the database refuses its records."""
    schema.upgrade(url_at_0004)

    with pytest.raises(sa.exc.DBAPIError, match="railscribe: no entry"):
        append_as_before(url_at_0004, blocked(0))


def test_no_engine_changes_its_digest() -> None:
    """What was added to engines counts in the digest only where it is set, so old digests still hold."""
    engine = EngineInfo(name="embedded", model="gemma-3-270m", dtype="float32")

    assert fingerprint(engine) == "558639aec493b03bad738ffcdd218d91f425cd3913d9380f6f3bfe130ab6bd4b"
    named = [replace(engine, adapter="acme"), replace(engine, decoding="forced")]
    assert len({fingerprint(engine), *map(fingerprint, named)}) == 3
    assert set(asdict(engine)) | {"digest"} == set(tables.engines.columns.keys())


def test_the_views_keep_their_columns(url_at_0001: str) -> None:
    """v_checks keeps its columns where they were and gets new ones at its end."""
    before = columns(url_at_0001)
    schema.upgrade(url_at_0001)

    after = columns(url_at_0001)

    assert schema.current(url_at_0001) == tables.HEAD
    assert after[: len(before)] == before
    assert after[len(before) :] == [
        "adapter",
        "decoding",
        "piece_count",
        "reasoning",
        "rule",
        "content_state",
    ]


def columns(url: str) -> list[str]:
    """Return the columns of v_checks."""
    engine = reading(open_engine(parse_url(url)))
    with engine.begin() as connection:
        found = list(connection.execute(sa.text("SELECT * FROM v_checks")).keys())
    engine.dispose()
    return found


@pytest.mark.parametrize("what", ["record_pieces", "late_traces", "engines"])
def test_going_back_never_drops_what_0001_cannot_hold(
    url_at_0004: str,
    what: str,
    undecided: RecordFactory,
    pieces: tuple[Piece, ...],
    late: Callable[..., LateTrace],
) -> None:
    """A downgrade past 0002 is refused while there is evidence that only 0002 has a place for."""
    record = undecided()
    if what == "record_pieces":
        whole = tuple(replace(piece, image_text_span=None) for piece in pieces)
        append_as_before(url_at_0004, replace(record, pieces=whole))
    elif what == "engines":
        append_as_before(url_at_0004, replace(record, engine=replace(record.engine, adapter="acme")))
    else:
        append_as_before(url_at_0004, record, late(record))

    with pytest.raises(AuditError, match=f"would drop what . rows of {what} say"):
        schema.downgrade(url_at_0004, "0001")

    assert schema.current(url_at_0004) == "0004"


def test_going_back_keeps_what_0001_can_hold(url_at_0004: str, undecided: RecordFactory) -> None:
    """A database that never used what is new goes back and up again with its records."""
    append_as_before(url_at_0004, undecided())

    schema.downgrade(url_at_0004, "0001")
    schema.upgrade(url_at_0004)

    assert schema.check(url_at_0004) == []
    with AuditStore.open(url_at_0004) as store:
        assert store.record(undecided().id)["decision"]["outcome"] == "undecided"


@pytest.mark.parametrize("what", ["records", "record_categories"])
def test_going_back_never_drops_what_0003_cannot_hold(
    url_at_0004: str, what: str, blocked: RecordFactory, undecided: RecordFactory
) -> None:
    """A downgrade past 0004 is refused while there is evidence that only 0004 has a place for."""
    record = undecided() if what == "records" else blocked()
    rule = "no verdict: timeout" if what == "records" else ""
    append_as_before(url_at_0004, replace(record, decision=replace(record.decision, rule=rule)))

    with pytest.raises(AuditError, match=f"would drop what . rows of {what} say"):
        schema.downgrade(url_at_0004, "0003")

    assert schema.current(url_at_0004) == "0004"


def test_a_chain_is_never_dropped(own_url: str, undecided: RecordFactory) -> None:
    """A downgrade past 0005 is refused once an entry was made."""
    with AuditStore.open(own_url) as store:
        store.append(undecided())

    with pytest.raises(AuditError, match="would drop what 1 rows of entries say"):
        schema.downgrade(own_url, "0004")

    assert schema.check(own_url) == []
