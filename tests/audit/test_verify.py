"""Verifying finds whatever a database's owner could do to it, and says where.

The triggers are dropped first, as such an owner could.
"""

# ruff: noqa: S608 - names of tables and columns, all of them ours
from __future__ import annotations

import sqlite3
import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from railscribe.audit import AuditStore, erase, keys, tables
from railscribe.audit.anchors import Anchors
from railscribe.audit.chain.checkpoint import body_of, read
from railscribe.audit.content_keys import LocalKeyFile, new_key
from railscribe.audit.database import open_engine, parse_url, writing
from railscribe.audit.findings import Report
from railscribe.audit.forms import Encrypted
from railscribe.audit.rotating import rotate
from railscribe.audit.rows import rows_of
from railscribe.audit.verify import verify_database
from railscribe.values import Record

RecordFactory = Callable[..., Record]
Forge = Callable[[sqlite3.Connection], object]

_quick = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
_built: dict[str, bytes] = {}

OF_RECORD = ("record_categories", "record_notes", "record_images", "record_pieces", "late_traces", "contents")
NAMED = {"segments": "segment", "writers": "writer", "signing_keys": "key", "checkpoints": "checkpoint"}
ATTESTED = [table.name for table in tables.EVIDENCE]


@pytest.fixture
def sealed(
    database_url: str, fill: Callable[[AuditStore], None], blocked: RecordFactory, tmp_path: Path
) -> Path:
    """A database with something in every table, closed, its triggers dropped."""
    path = tmp_path / "sealed.db"
    if "sealed" not in _built:
        with AuditStore.open(database_url) as store:
            fill(store)
            for number in range(1, 4):
                store.append(blocked(number))
            store.seal()
            store.append(replace(blocked(4), id="019ced4f-0000-7000-8000-00000000ffff"))
        with AuditStore.open(database_url, keep_chars=9, keep_images=True) as store:
            store.append(blocked(5))
        with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as connection:
            names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
            for (name,) in names:
                connection.execute(f"DROP TRIGGER {name}")
            connection.commit()
            connection.execute("PRAGMA journal_mode=DELETE")
        _built["sealed"] = Path(database_url.removeprefix("sqlite:///")).read_bytes()
    path.write_bytes(_built["sealed"])
    return path


def forged(path: Path, forge: Forge) -> Report:
    """Return what verifying finds after *forge* was at the database, which is as it was before afterwards."""
    path.write_bytes(_built["sealed"])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA foreign_keys=OFF")
        connection.execute("PRAGMA ignore_check_constraints=ON")
        forge(connection)
        connection.commit()
    return verify_database(f"sqlite:///{path}")


def rows(connection: sqlite3.Connection, table: str) -> list[dict[str, Any]]:
    cursor = connection.execute(f"SELECT * FROM {table}")
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def is_named(connection: sqlite3.Connection, table: str, row: dict[str, Any]) -> bool:
    """Return whether evidence names *row*, where it is a shared one: what was pruned may have been the last to."""
    columns = {
        "policies": ("records", "policy_digest"),
        "policy_texts": ("records", "policy_text_digest"),
        "engines": ("records", "engine_digest"),
    }
    if table not in columns:
        return True
    where, column = columns[table]
    sql = f"SELECT 1 FROM {where} WHERE {column} = ?"
    return connection.execute(sql, (row["digest"],)).fetchone() is not None


def key_of(table: str, row: dict[str, Any]) -> tuple[str, list[Any]]:
    """Return the WHERE that finds *row*, and its parameters."""
    names = [column.name for column in tables.metadata.tables[table].primary_key]
    return " AND ".join(f'"{name}" = ?' for name in names), [row[name] for name in names]


def assert_named(report: Report, table: str, row: dict[str, Any]) -> None:
    """Check that a failure names what *row* belongs to."""
    assert not report.ok
    names: set[Any] = set()
    for failure in report.failures:
        names |= set(failure.place.values())
    if table in OF_RECORD:
        expected = {row["record_id"]}
    elif table == "records":
        expected = {row["id"]}
    elif table == "entries":
        expected = {row["id"], row["segment_id"]}
    elif table in ("policies", "policy_texts", "engines"):
        expected = {row["digest"]}
    elif table.startswith("policy_") and "registration_digest" in row:
        expected = {row["registration_digest"]}
    elif table in NAMED:
        expected = {row.get("id", row.get("number"))}
    else:
        expected = {value for value in row.values() if isinstance(value, str)}
        names |= {part for name in names if isinstance(name, str) for part in name.split('"')}
    assert names & expected, (table, expected, [failure.as_json() for failure in report.failures])


def changed(value: Any, place: int, bit: int) -> Any:
    """Return *value* with one bit of one byte changed, or something where there was nothing."""
    if value is None:
        return "x"
    if isinstance(value, int):
        return value ^ (1 << bit % 8)
    if isinstance(value, float):
        data = bytearray(struct.pack("<d", value))
        data[place % 8] ^= 1 << bit % 8
        (other,) = struct.unpack("<d", data)
        return other if other == other and other != value else value + 1
    data = bytearray(value.encode()) or bytearray(b"\0")
    data[place % len(data)] ^= 1 << bit % 8
    return bytes(data)


def test_an_untouched_database_is_ok(sealed: Path) -> None:
    """Nothing is found where nothing was done, and all that lies there was looked at."""
    report = forged(sealed, lambda connection: None)

    assert (report.ok, report.failures, report.records) == (True, [], 7)
    assert set(report.contents) == {"intact", "truncated", "erased"}
    assert set(report.entries) == {
        *("record", "late_trace", "probe", "policy_registration", "policy_move", "gap"),
        *("review", "erasure", "hold", "hold_release", "prune"),
    }
    assert report.as_json()["completeness"]["unsealed"] == 0


@_quick
@given(data=st.data())
def test_any_changed_byte_is_found(sealed: Path, data: st.DataObject) -> None:
    """One bit of any column of any row of evidence, changed past the store, is found and its place named."""
    table = data.draw(st.sampled_from(ATTESTED))
    column = data.draw(st.sampled_from([column.name for column in tables.metadata.tables[table].columns]))
    which, place, bit = data.draw(st.tuples(*[st.integers(0, 10_000)] * 2, st.integers(0, 7)))
    hit: list[dict[str, Any]] = []

    def forge(connection: sqlite3.Connection) -> None:
        found = [row for row in rows(connection, table) if is_named(connection, table, row)]
        row = found[which % len(found)]
        hit.append(row)
        where, key = key_of(table, row)
        new = changed(row[column], place, bit)
        cast = "CAST(? AS TEXT)" if isinstance(new, bytes) else "?"
        try:
            connection.execute(f'UPDATE {table} SET "{column}" = {cast} WHERE {where}', [new, *key])
        except sqlite3.IntegrityError:  # what it would become is there already
            reject()

    assert_named(forged(sealed, forge), table, hit[0])


@_quick
@given(data=st.data())
def test_any_row_taken_out_is_found(sealed: Path, data: st.DataObject) -> None:
    """A row of evidence that is not there any more is missed by name."""
    table = data.draw(st.sampled_from(ATTESTED))
    which = data.draw(st.integers(0, 10_000))
    hit: list[dict[str, Any]] = []

    def forge(connection: sqlite3.Connection) -> None:
        found = [row for row in rows(connection, table) if is_named(connection, table, row)]
        hit.append(found[which % len(found)])
        where, key = key_of(table, hit[0])
        connection.execute(f"DELETE FROM {table} WHERE {where}", key)

    report = forged(sealed, forge)
    if table == "signing_keys":
        assert "key_missing" in report.failed
    else:
        assert_named(report, table, hit[0])


@pytest.mark.parametrize("table", [*ATTESTED, "contents"])
def test_any_row_put_in_is_found(sealed: Path, table: str) -> None:
    """A row that resembles one which is there, under a key of its own, is found to be attested by nothing."""
    hit: list[dict[str, Any]] = []

    def forge(connection: sqlite3.Connection) -> None:
        (*_, last) = tables.metadata.tables[table].primary_key
        row = rows(connection, table)[0]
        new = {**row, last.name: row[last.name] + 90 if isinstance(row[last.name], int) else "f" * 16}
        hit.append(new)
        marks = ", ".join("?" * len(new))
        connection.execute(f"INSERT INTO {table} VALUES ({marks})", list(new.values()))

    report = forged(sealed, forge)

    if table == "writers":
        assert "writer_beside" in report.failed
    else:
        assert_named(report, table, hit[0])


@pytest.mark.parametrize("table", ["records", "entries", "checkpoints", "segments", "record_images"])
def test_two_swapped_rows_are_found(sealed: Path, table: str) -> None:
    """Two rows that change places, each whole but for its key, are both found."""
    hit: list[dict[str, Any]] = []

    def forge(connection: sqlite3.Connection) -> None:
        found = [row for row in rows(connection, table) if row.get("kind") in (None, "record", "image")]
        one, other = hit[:] = found[0], found[-1]
        keys_ = {column.name for column in tables.metadata.tables[table].primary_key}
        names = [name for name in one if name not in keys_]
        sets = ", ".join(f'"{name}" = ?' for name in names)
        for row, values in ((one, other), (other, one)):
            where, key = key_of(table, row)
            connection.execute(
                f"UPDATE {table} SET {sets} WHERE {where}", [values[name] for name in names] + key
            )

    report = forged(sealed, forge)

    for row in hit:
        assert_named(report, table, row)


def cut_records(connection: sqlite3.Connection, entries: bool) -> None:
    """Take the last record out, whole."""
    ((at, name),) = connection.execute(
        "SELECT checked_at, id FROM records ORDER BY checked_at DESC LIMIT 1"
    ).fetchall()
    for table in OF_RECORD:
        connection.execute(f"DELETE FROM {table} WHERE checked_at = ? AND record_id = ?", (at, name))
    connection.execute("DELETE FROM records WHERE checked_at = ? AND id = ?", (at, name))
    if entries:
        connection.execute("DELETE FROM entries WHERE at = ? AND id = ?", (at, name))


@pytest.mark.parametrize(
    ("deeper", "code"),
    [(0, "evidence_missing"), (1, "entry_missing"), (2, "segment_missing"), (3, "checkpoint_missing")],
)
def test_a_cut_tail_is_found(sealed: Path, deeper: int, code: str) -> None:
    """Who cuts off the end misses something, until he cuts off all that speaks of it."""

    def forge(connection: sqlite3.Connection) -> None:
        cut_records(connection, entries=deeper > 0)
        ((segment,),) = connection.execute(
            "SELECT id FROM segments ORDER BY checkpoint_number DESC LIMIT 1"
        ).fetchall()
        if deeper > 1:
            connection.execute("DELETE FROM segments WHERE id = ?", (segment,))
        if deeper > 2:
            last = connection.execute("SELECT max(number) FROM checkpoints").fetchone()[0]
            connection.execute("UPDATE checkpoints SET number = ? WHERE number = ?", (last + 1, last))

    assert code in forged(sealed, forge).failed


def test_a_chain_cut_back_whole_is_found_by_its_anchor(
    database_url: str, tmp_path: Path, undecided: RecordFactory
) -> None:
    """An earlier state of the database, put in its place, is a good database, and not the anchored one."""
    anchor, path = tmp_path / "anchor", Path(database_url.removeprefix("sqlite:///"))
    with AuditStore.open(database_url, anchors=Anchors(file=anchor)) as store:
        store.append(undecided(0))
    earlier = path.read_bytes()
    with AuditStore.open(database_url, anchors=Anchors(file=anchor)) as store:
        store.append(undecided(1))
    assert verify_database(database_url, anchors=[anchor]).checked["anchored"] == 4

    path.write_bytes(earlier)

    assert verify_database(database_url).ok
    report = verify_database(database_url, anchors=[anchor])
    assert report.failed == {"anchored_missing": 2}
    assert [failure.place["checkpoint"] for failure in report.failures] == [3, 4]


@pytest.fixture
def my_key() -> keys.SigningKey:
    """The key that the tests' chains are signed with, stolen."""
    return keys.load(keys.default_path())


def resign(connection: sqlite3.Connection, number: int, key: keys.SigningKey, **changes: Any) -> None:
    """Put another checkpoint in the place of *number*, in good form."""
    ((body,),) = connection.execute("SELECT body FROM checkpoints WHERE number = ?", (number,)).fetchall()
    said = {**read(body), **changes, "key": key.id}
    made = key.sign(body_of(said))
    connection.execute(
        "UPDATE checkpoints SET body = ?, hash = ?, signature = ?, key_id = ?, at = ? WHERE number = ?",
        (made.body, made.hash, made.signature, key.id, said["at"][:-1].replace("T", " "), number),
    )


def test_a_fork_in_the_middle_is_found(sealed: Path, my_key: keys.SigningKey) -> None:
    """With a stolen key a checkpoint in the middle can be made anew; the next one does not name it (immudb's flaw)."""
    at = "2026-01-01T00:00:00.000000Z"

    report = forged(sealed, lambda connection: resign(connection, 2, my_key, at=at))

    assert report.failed == {"checkpoint_link": 1}
    assert report.failures[0].place == {"checkpoint": 3}


def test_another_key_is_found(sealed: Path, tmp_path: Path) -> None:
    """A whole chain signed anew with a key of the forger's own stands only until the real key is given."""
    mine, theirs = keys.load(keys.default_path()), keys.create(tmp_path / "theirs.pem")

    def forge(connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE signing_keys SET id = ?, public_key = ?", (theirs.id, theirs.public.hex()))
        previous = None
        for (number,) in connection.execute("SELECT number FROM checkpoints ORDER BY number").fetchall():
            resign(connection, number, theirs, previous=previous)
            ((previous,),) = connection.execute(
                "SELECT hash FROM checkpoints WHERE number = ?", (number,)
            ).fetchall()

    report = forged(sealed, forge)

    assert (report.ok, report.trust) == (True, "database")
    given = verify_database(f"sqlite:///{sealed}", trusted=[mine.public])
    assert (given.failed, given.trust) == ({"key_unused": 1}, "given")


def test_a_replaced_signature_is_found(sealed: Path) -> None:
    """A signature that is another checkpoint's is not this one's."""

    def forge(connection: sqlite3.Connection) -> None:
        connection.execute(
            "UPDATE checkpoints SET signature = (SELECT signature FROM checkpoints WHERE number = 1) WHERE number = 2"
        )

    report = forged(sealed, forge)

    assert report.failed == {"checkpoint_signature": 1}
    assert report.failures[0].place == {"checkpoint": 2}


def test_a_key_that_was_given_up_signs_no_more(
    database_url: str, tmp_path: Path, undecided: RecordFactory
) -> None:
    """After a rotation both keys verify the chain, and a checkpoint made with the old one is found."""
    path = tmp_path / "key.pem"
    old = keys.create(path)
    with AuditStore.open(database_url, signing_key=path) as store:
        store.append(undecided(0))
    new, kept = rotate(database_url, path)
    with AuditStore.open(database_url, signing_key=path) as store:
        store.append(undecided(1))
    assert kept is not None
    for trusted in ([old.public], [new.public], [old.public, new.public]):
        assert verify_database(database_url, trusted=trusted).ok

    with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as connection:
        connection.execute("DROP TRIGGER checkpoints_no_update")
        last = connection.execute("SELECT max(number) FROM checkpoints").fetchone()[0]
        resign(connection, last, keys.load(kept))
        connection.commit()

    report = verify_database(database_url, trusted=[old.public, new.public])
    assert report.failed == {"checkpoint_key": 1}
    assert report.failures[0].place == {"checkpoint": last}


def test_a_lost_key_is_believed_by_whoever_trusts_the_new_one(
    database_url: str, tmp_path: Path, undecided: RecordFactory
) -> None:
    """A key that came without the old one's signature is named, until the caller says that it is his."""
    path = tmp_path / "key.pem"
    old = keys.create(path)
    with AuditStore.open(database_url, signing_key=path) as store:
        store.append(undecided(0))
    path.unlink()

    new, _ = rotate(database_url, path, lost=True)
    with AuditStore.open(database_url, signing_key=path) as store:
        store.append(undecided(1))

    assert verify_database(database_url).failed == {"key_unvouched": 1}
    assert verify_database(database_url, trusted=[old.public, new.public]).ok


@pytest.mark.parametrize(
    ("forgery", "code"),
    [
        pytest.param(
            "UPDATE contents SET body = body || '.' WHERE kind = 'user'", "content_altered", id="altered"
        ),
        pytest.param("UPDATE contents SET salt = substr(salt, 3)", "content_altered", id="salt"),
        pytest.param("UPDATE contents SET truncated = 3 WHERE truncated", "content_altered", id="no flag"),
        pytest.param(
            "UPDATE contents SET body = 'x' || body, truncated = 1 WHERE kind = 'user'",
            "content_altered",
            id="cut",
        ),
    ],
)
def test_content_that_is_another_s_is_found(sealed: Path, forgery: str, code: str) -> None:
    """Content is what its record commits to, or is named with its record."""
    report = forged(sealed, lambda connection: connection.execute(forgery))

    assert set(report.failed) == {code}
    assert {failure.place["kind"] for failure in report.failures} <= {"record", "late_trace"}
    assert all(failure.place["record"] for failure in report.failures)


def test_content_that_was_moved_is_found_on_both_sides(sealed: Path) -> None:
    """Content of a kind that nothing commits to is named, and so is what is missing in its old place."""
    report = forged(
        sealed, lambda connection: connection.execute("UPDATE contents SET kind = 'note' WHERE kind = 'user'")
    )

    assert set(report.failed) == {"content_beside", "content_missing"}


@_quick
@given(which=st.integers(0, 10_000))
def test_any_content_taken_out_is_found(sealed: Path, which: int) -> None:
    """Content that no erasure tells of is missed by its record, its kind and the column that commits to it."""
    hit: list[dict[str, Any]] = []

    def forge(connection: sqlite3.Connection) -> None:
        found = rows(connection, "contents")
        hit.append(found[which % len(found)])
        where, key = key_of("contents", hit[0])
        connection.execute(f"DELETE FROM contents WHERE {where}", key)

    report = forged(sealed, forge)

    assert report.failed == {"content_missing": 1}
    assert not report.as_json()["integrity"]["ok"]
    place = report.failures[0].place
    assert (place["record"], place["content"], place["position"]) == (
        *(hit[0][name] for name in ("record_id", "kind", "position")),
    )
    assert place["column"].endswith("commitment")


@_quick
@given(data=st.data())
def test_any_changed_content_is_found(sealed: Path, data: st.DataObject) -> None:
    """One bit of any column of any content, whole, cut, or a picture's bytes, is found and its record named."""
    column = data.draw(st.sampled_from(tables.contents.columns.keys()))
    which, place, bit = data.draw(st.tuples(*[st.integers(0, 10_000)] * 2, st.integers(0, 7)))
    hit: list[dict[str, Any]] = []

    def forge(connection: sqlite3.Connection) -> None:
        found = rows(connection, "contents")
        hit.append(found[which % len(found)])
        where, key = key_of("contents", hit[0])
        new = changed(hit[0][column], place, bit)
        cast = "CAST(? AS TEXT)" if isinstance(new, bytes) else "?"
        try:
            connection.execute(f'UPDATE contents SET "{column}" = {cast} WHERE {where}', [new, *key])
        except sqlite3.IntegrityError:
            reject()

    report = forged(sealed, forge)

    assert not report.ok
    assert hit[0]["record_id"] in {failure.place.get("record") for failure in report.failures}


def test_who_names_what_he_deletes_is_found(sealed: Path) -> None:
    """A row of erased_records that no entry attests excuses nothing."""

    def forge(connection: sqlite3.Connection) -> None:
        row = rows(connection, "contents")[0]
        (erasure,) = rows(connection, "erasures")
        connection.execute(
            "INSERT INTO erased_records (erasure_id, checked_at, record_id) VALUES (?, ?, ?)",
            (erasure["id"], row["checked_at"], row["record_id"]),
        )
        connection.execute("DELETE FROM contents WHERE record_id = ?", (row["record_id"],))

    report = forged(sealed, forge)

    assert set(report.failed) == {"evidence_altered"}
    assert {failure.place["kind"] for failure in report.failures} == {"erasure"}


def test_a_whole_text_cannot_pass_for_a_beginning(sealed: Path) -> None:
    """A forged text that says it is but the beginning of a longer one is found: nothing commits to it."""
    forgery = "UPDATE contents SET body = 'x', truncated = 1 WHERE kind = 'user' AND NOT truncated"

    report = forged(sealed, lambda connection: connection.execute(forgery))

    assert set(report.failed) == {"content_unproven"}


def test_content_under_a_key_that_is_gone_is_found(any_url: str, past_triggers: Any, undecided: Any) -> None:
    """A key that was destroyed or altered past an erasure is missed where content lies under it."""
    key = new_key(LocalKeyFile(bytes(32)), tenant="acme", subject="user-8", record_id=None)
    treatment = Encrypted(key.secret, key.digest, key.row)
    with AuditStore.open(any_url) as store:
        rows = rows_of(undecided(), retention_class="default", keep_chars=9, treatment=treatment)
        store.append_rows([rows], "Filling")
    assert verify_database(any_url).contents == {"encrypted": 1}

    for forgery in ("UPDATE subject_keys SET wrapped = 'AAAA'", "DELETE FROM subject_keys"):
        past_triggers(any_url, forgery)
        report = verify_database(any_url)
        assert report.failed == {"content_key_missing": 1}
        assert report.failures[0].place["record"] == undecided().id
    with AuditStore.open(any_url) as store:
        assert store.record(undecided().id)["content"]["user"]["state"] == "key_missing"


def test_what_is_missing_is_not_called_erased(any_url: str, past_triggers: Any, blocked: Any) -> None:
    """Reading and views say ``missing`` where no erasure tells of it, on a live database as in its backup."""
    with AuditStore.open(any_url) as store:
        store.append(blocked(0))
        past_triggers(any_url, "DELETE FROM contents")
        said = store.record(blocked(0).id)
        assert store.select("SELECT content_state FROM v_checks")[1] == [("missing",)]
        erase(store, subject="user-42", by="dpo", reason="asked to")
        assert store.select("SELECT content_state FROM v_checks")[1] == [("erased",)]

    assert {content["state"] for content in said["content"].values()} == {"missing"}
    assert verify_database(any_url).ok  # since it is on record that it is gone, whoever took it


def test_evidence_replaced_with_its_leaf_is_found(sealed: Path) -> None:
    """Who changes a record and its leaf together is found by the segment's root."""

    def forge(connection: sqlite3.Connection) -> None:
        row = rows(connection, "entries")[0]
        connection.execute(
            "UPDATE entries SET leaf = ? WHERE at = ? AND kind = ? AND id = ?",
            ("0" * 64, row["at"], row["kind"], row["id"]),
        )

    assert {"evidence_altered", "segment_root"} == set(forged(sealed, forge).failed)


@pytest.fixture
def owner(own_url: str) -> Iterator[Callable[[str], None]]:
    """Runs SQL as the owner of the database would, with no trigger in the way."""
    engine = writing(open_engine(parse_url(own_url)))

    def run(statement: str) -> None:
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
            else:
                names = connection.execute(
                    sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger'")
                ).scalars()
                for name in names.all():
                    connection.execute(sa.text(f"DROP TRIGGER {name}"))
            connection.execute(sa.text(statement))

    yield run
    engine.dispose()


@pytest.mark.parametrize(
    ("forgery", "code"),
    [
        ("UPDATE records SET user_score = 0.98", "evidence_altered"),
        ("UPDATE records SET categories_requested = NOT categories_requested", "evidence_altered"),
        ("UPDATE record_images SET width = width + 1", "evidence_altered"),
        ("UPDATE policies SET document = document || ' '", "shared_altered"),
        ("UPDATE engines SET model = 'another'", "shared_altered"),
        ("DELETE FROM record_notes", "evidence_altered"),
        ("DELETE FROM late_traces", "evidence_missing"),
        ("DELETE FROM entries WHERE kind = 'probe'", "entry_none"),
        ("UPDATE segments SET entry_count = entry_count - 1", "segment_altered"),
        ("DELETE FROM gaps", "gap_missing"),
        ("DELETE FROM contents WHERE kind = 'trace'", "content_missing"),
        ("UPDATE contents SET truncated = true WHERE kind = 'late_trace'", "content_altered"),
        ("UPDATE record_kept SET commitment = 'x' WHERE commitment IS NOT NULL", "evidence_altered"),
    ],
)
def test_both_databases_are_searched(
    own_url: str,
    owner: Callable[[str], None],
    fill: Callable[[AuditStore], None],
    forgery: str,
    code: str,
) -> None:
    """What an owner does is found on either database."""
    with AuditStore.open(own_url) as store:
        fill(store)
    assert verify_database(own_url).ok

    owner(forgery)

    assert code in verify_database(own_url).failed


def test_a_live_database(any_url: str, blocked: RecordFactory) -> None:
    """A database is verified while it is written to: what is not sealed yet is told, and checked all the same."""
    with AuditStore.open(any_url) as store:
        store.append(blocked(0))
        store.seal()
        store.append(blocked(1))

        report = verify_database(any_url)

        assert (report.ok, report.records) == (True, 2)
        assert report.as_json()["completeness"]["unsealed"] == 1
        assert len(report.as_json()["completeness"]["open_writers"]) == 1
