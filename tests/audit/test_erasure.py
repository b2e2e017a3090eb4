"""Erasing a subject: what goes, what stays provable, and that nothing else may be deleted."""

# ruff: noqa: S608 - names of tables and columns, all of them ours

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from railscribe.audit import AuditStore, Holds, Redaction, Scope, erase
from railscribe.audit.content_keys import LocalKeyFile, SubjectKeys
from railscribe.audit.database import open_engine, parse_url, writing
from railscribe.audit.erasure import subject_commitment
from railscribe.audit.keeping import Keeping
from railscribe.audit.remains import clear_away
from railscribe.audit.rows import rows_of
from railscribe.audit.verify import verify_database
from railscribe.errors import HeldError, UsageError
from railscribe.values import ContentMode, Exchange, Identity, LateTrace, Record

RecordFactory = Callable[..., Record]
LateFactory = Callable[..., LateTrace]


def keeping(mode: ContentMode) -> Keeping:
    """Return what *mode* needs, with keys of the test's own."""
    wrapper = LocalKeyFile(b"k" * 32)
    return Keeping(
        mode=mode,
        redactor=lambda text: Redaction(text=text.replace("Wie", "W"), counts={"W": 1}),
        digest_key=b"d" * 32,
        wrapper=wrapper,
        keys=SubjectKeys(wrapper),
    )


def refused(url: str, statement: str) -> bool:
    """Return whether the database refuses *statement* as append-only, to one who leaves its triggers alone."""
    engine = writing(open_engine(parse_url(url)))
    try:
        with engine.begin() as connection:
            connection.execute(sa.text(statement))
    except sa.exc.DBAPIError as error:
        return "railscribe: append-only" in str(error)
    finally:
        engine.dispose()
    return False


@pytest.mark.parametrize("mode", list(ContentMode))
def test_erasing_leaves_verdicts_and_proofs(
    any_url: str, blocked: RecordFactory, late: LateFactory, mode: ContentMode
) -> None:
    """In every mode: contents and keys are gone, everything else stays, the erasure is on record, all verifies."""
    other = blocked(1, identity=Identity(tenant="acme", subject="user-43"))
    with AuditStore.open(any_url, keep_images=True, keeping=keeping(mode)) as store:
        store.append(blocked())
        store.append(other)
        store.append_late_trace(late(blocked()))
        before = store.record(blocked().id)

        done = erase(store, subject="user-42", by="dpo", reason="Art. 17")

        found = store.record(blocked().id)
        assert store.select("SELECT DISTINCT record_id FROM contents")[1] == [(other.id,)]
        assert store.select("SELECT subject FROM subject_keys")[1] == (
            [("user-43",)] if mode is ContentMode.ENCRYPTED else []
        )
        assert store.select("SELECT content_state, user_text FROM v_checks ORDER BY id")[1][0] == (
            "erased",
            None,
        )
        assert store.select("SELECT tenant, erased_by, reason, records, subject FROM v_erasures")[1] == [
            ("acme", "dpo", "Art. 17", 1, "user-42")
        ]
        assert "user-42" not in str(
            [store.select(f"SELECT * FROM {name}")[1] for name in ("erasures", "erased_records")]
        )
    said = [*found["content"].values(), found["late_trace"]["trace"], found["images"][0]["text"]]
    assert {content["state"] for content in said} == {"erased"}
    assert {content["text"] or content["salt"] for content in said} == {None}
    assert found["verdict"] == before["verdict"]
    assert (done.records, done.keys) == (1, 1 if mode is ContentMode.ENCRYPTED else 0)
    assert done.salt is not None
    assert done.subject_commitment == subject_commitment("acme", "user-42", done.salt)
    report = verify_database(any_url)
    assert report.ok, report.failures
    assert report.contents["erased"] >= len(said)


@pytest.mark.parametrize("mode", list(ContentMode))
def test_no_byte_is_left_in_the_file(
    database_url: str, blocked: RecordFactory, late: LateFactory, mode: ContentMode
) -> None:
    """After erasure neither the SQLite file nor its log holds a byte of the content, its ciphertext, or the key."""
    path = Path(database_url.removeprefix("sqlite:///"))
    with AuditStore.open(database_url, keep_images=True, keeping=keeping(mode)) as store:
        for number in range(300):  # enough for pages to be split and refilled
            whose = "user-42" if number % 3 == 0 else f"user-{number + 100}"
            record = blocked(
                number,
                identity=Identity(tenant="acme", subject=whose),
                exchange=Exchange(user=f"Wie {whose}-marker {number} " + "x" * (number * 7 % 900)),
                image=None,
                readings=(),
            )
            store.append_rows(
                [
                    rows_of(
                        record,
                        retention_class="default",
                        keep_chars=100_000,
                        treatment=store._keeping.treatment(
                            record.identity, "dev-tools-assistant", record.id, store._find_key
                        ),
                    )
                ],
                "Filling",
            )
        store.append_late_trace(late(blocked(0)))
        kept = store.select(
            "SELECT c.body FROM contents c JOIN records r ON r.id = c.record_id WHERE r.subject = 'user-42'"
            " AND c.kind = 'user'"
        )[1]
        keys = store.select("SELECT wrapped FROM subject_keys WHERE subject = 'user-42'")[1]
        secrets = [row[0].encode() for row in (*kept, *keys)]
        assert len(kept) == 100
        assert any(secret in read(path) for secret in secrets)

        erase(store, subject="user-42", by="dpo", reason="Art. 17")
        assert clear_away(store) is None

        left = read(path)
        assert not [secret for secret in secrets if secret in left]
        assert b"user-42-marker" not in left


def read(path: Path) -> bytes:
    """Return the bytes of a SQLite database and of its write-ahead log."""
    log = path.with_name(f"{path.name}-wal")
    return path.read_bytes() + (log.read_bytes() if log.exists() else b"")


def test_what_comes_late_is_erased_as_well(any_url: str, blocked: RecordFactory, late: LateFactory) -> None:
    """A trace that comes after the erasure is on record, and its content is not kept."""
    with AuditStore.open(any_url, keeping=keeping(ContentMode.ENCRYPTED)) as store:
        store.append(blocked())
        erase(store, subject="user-42", by="dpo", reason="Art. 17")
        store.append_late_trace(late(blocked()))
        store.append(blocked(1))
        trace = store.record(blocked().id)["late_trace"]["trace"]
        after = store.record(blocked(1).id)["content"]["user"]

    assert (trace["state"], trace["text"]) == ("erased", None)
    assert after["state"] in (
        "intact",
        "erased",
    )  # the key is forgotten within a second (rule 3 of content_keys)
    assert verify_database(any_url).ok


def test_a_key_that_was_destroyed_is_never_put_back(any_url: str, blocked: RecordFactory) -> None:
    """After the erasure the subject's next record has another key, and the old row is not let in again."""
    keys = keeping(ContentMode.ENCRYPTED)
    with AuditStore.open(any_url, keeping=keys) as store:
        store.append(blocked())
        row = store.select("SELECT digest, wrapped, wrapped_by FROM subject_keys")[1][0]
        erase(store, subject="user-42", by="dpo", reason="Art. 17")
    with AuditStore.open(any_url, keeping=keeping(ContentMode.ENCRYPTED)) as store:
        store.append(blocked(1))
        assert store.record(blocked(1).id)["content"]["user"]["state"] == "intact"
        put_back = (
            "INSERT INTO subject_keys (digest, tenant, subject, wrapped, wrapped_by, made_at) "
            f"VALUES ('{row[0]}', 'acme', 'user-42', '{row[1]}', '{row[2]}', '2026-01-01 00:00:00.000000')"
        )
        refused(any_url, put_back)
        assert [row[0]] not in [list(found) for found in store.select("SELECT digest FROM subject_keys")[1]]


def test_nothing_else_may_be_deleted(any_url: str, blocked: RecordFactory) -> None:
    """Somebody with every right but to drop triggers deletes no content, no key and no record that no entry names."""
    with AuditStore.open(any_url, keeping=keeping(ContentMode.ENCRYPTED)) as store:
        store.append(blocked())
        store.append(blocked(1, identity=Identity(tenant="acme", subject="user-43")))
        erase(store, subject="user-43", by="dpo", reason="Art. 17")
        tables_with_rows = (
            "contents",
            "subject_keys",
            "records",
            "record_kept",
            "entries",
            "erasures",
            "erased_keys",
        )

        assert [name for name in tables_with_rows if not refused(any_url, f"DELETE FROM {name}")] == []
        assert refused(any_url, "UPDATE subject_keys SET wrapped = 'x'")
        assert refused(any_url, "UPDATE contents SET body = 'x'")
        if any_url.startswith("postgresql"):
            assert refused(any_url, "TRUNCATE contents")
            assert refused(any_url, "TRUNCATE subject_keys")
        else:
            assert refused(any_url, "INSERT OR REPLACE INTO contents SELECT * FROM contents")
        assert store.record(blocked().id)["content"]["user"]["state"] == "intact"


def test_deleting_under_a_forged_erasure_is_found(any_url: str, blocked: RecordFactory) -> None:
    """The triggers let go what an erasure names; one that was put there by hand is found by verifying."""
    with AuditStore.open(any_url) as store:
        store.append(blocked())
    at = "'2026-05-01 00:00:00.000000'"
    key = f"(SELECT checked_at FROM records), '{blocked().id}'"
    forged = [
        f"INSERT INTO erasures VALUES ('f', {at}, 'acme', 'c', 'me', 'r', 1, 1, 0, '0')",
        f"INSERT INTO erased_records VALUES ('f', {key})",
        "DELETE FROM contents",
    ]

    assert [refused(any_url, statement) for statement in forged] == [False] * 3
    assert {failure.code for failure in verify_database(any_url).failures} == {"entry_none"}


def test_a_dry_run_erases_nothing(any_url: str, blocked: RecordFactory) -> None:
    """It counts as the erasure itself does, and nothing has changed."""
    with AuditStore.open(any_url, keeping=keeping(ContentMode.ENCRYPTED)) as store:
        store.append(blocked())
        would = erase(store, subject="user-42", by="dpo", reason="Art. 17", dry_run=True)
        assert store.record(blocked().id)["content"]["user"]["state"] == "intact"
        done = erase(store, subject="user-42", by="dpo", reason="Art. 17")

    assert (would.records, would.contents, would.keys) == (done.records, done.contents, done.keys)
    assert would.erasures == ()


def test_whose_subject_must_be_clear(any_url: str, blocked: RecordFactory) -> None:
    """An unknown subject, or one that several tenants have, is nobody's to erase by mistake."""
    with AuditStore.open(any_url) as store:
        store.append(blocked())
        store.append(blocked(1, identity=Identity(tenant="globex", subject="user-42")))
        for subject, tenant, said in (
            ("user-9", None, "no record of this subject"),
            ("user-42", "initech", "no record of this subject"),
            ("user-42", None, "2 tenants .* acme, globex"),
        ):
            with pytest.raises(UsageError, match=said):
                erase(store, subject=subject, tenant=tenant, by="dpo", reason="Art. 17")

        assert erase(store, subject="user-42", tenant="acme", by="dpo", reason="Art. 17").records == 1
        assert store.record(blocked(1).id)["content"]["user"]["state"] == "intact"


@pytest.mark.parametrize(
    "scope",
    [
        Scope(tenant="acme"),
        Scope(subject="user-42"),
        Scope(retention_class="default"),
        Scope(record_id="019ced4f-0000-7000-8000-000000000000"),
        Scope(tenant="acme", subject="user-42"),
    ],
)
def test_a_hold_stops_an_erasure(any_url: str, blocked: RecordFactory, scope: Scope) -> None:
    """While it is in force, whatever it names; once released, the erasure goes through. Both stay on record."""
    with AuditStore.open(any_url) as store:
        holds = Holds(store)
        store.append(blocked())
        holds.add(Scope(tenant="globex", subject="user-42"), by="legal", reason="another's")
        held = holds.add(scope, by="legal", reason="a suit")

        with pytest.raises(HeldError, match=held):
            erase(store, subject="user-42", by="dpo", reason="Art. 17")
        assert store.record(blocked().id)["content"]["user"]["state"] == "intact"

        holds.release(held[:8], by="legal", reason="settled")
        assert erase(store, subject="user-42", by="dpo", reason="Art. 17").records == 1
        listed = holds.list()
    assert [(hold["reason"], hold["release_reason"]) for hold in listed] == [
        ("another's", None),
        ("a suit", "settled"),
    ]
    assert verify_database(any_url).ok


def test_a_hold_that_makes_no_sense(any_store: AuditStore) -> None:
    """One that names nothing, and a release of none or for a second time, is refused."""
    holds = Holds(any_store)
    held = holds.add(Scope(tenant="acme"), by="legal", reason="a suit")
    holds.release(held, by="legal", reason="settled")

    attempts: tuple[Callable[[], object], ...] = (
        lambda: holds.add(Scope(), by="legal", reason="all"),
        lambda: holds.release(held, by="legal", reason="again"),
        lambda: holds.release("nothing-like-it", by="legal", reason="none"),
        lambda: holds.release("", by="legal", reason="none"),
    )
    for attempt in attempts:
        with pytest.raises(UsageError):
            attempt()


@pytest.mark.postgres
def test_postgresql_is_told_of_dead_rows(postgres_url: str, blocked: RecordFactory) -> None:
    """Without --vacuum it is said that dead rows lie there; with it they are gone."""
    with AuditStore.open(postgres_url) as store:
        store.append(blocked())
        erase(store, subject="user-42", by="dpo", reason="Art. 17")
        assert "until VACUUM" in str(clear_away(store))
        assert "until it is recycled" in str(clear_away(store, vacuum=True))
        assert "until it is recycled" in str(clear_away(store, thorough=True))
        assert store.records(limit=1)[0]["id"] == blocked().id


@pytest.mark.parametrize("mode", [ContentMode.FULL, ContentMode.ENCRYPTED])
def test_what_a_backup_still_holds(
    database_url: str, tmp_path: Path, blocked: RecordFactory, mode: ContentMode
) -> None:
    """A backup from before opens as ever, encrypted content with the wrapping key alone, until it is erased there as
    well: as docs/privacy.md says."""
    with AuditStore.open(database_url, keeping=keeping(mode)) as store:
        store.append(blocked())
    backup = f"sqlite:///{tmp_path / 'backup.db'}"
    shutil.copyfile(database_url.removeprefix("sqlite:///"), tmp_path / "backup.db")
    with AuditStore.open(database_url) as store:
        erase(store, subject="user-42", by="dpo", reason="asked to")

    with AuditStore.open(backup, keeping=keeping(mode)) as store:
        assert store.record(blocked().id)["content"]["user"]["text"] == blocked().exchange.user
    with AuditStore.open(backup) as store:
        without = store.record(blocked().id)["content"]["user"]["state"]
        assert without == ("intact" if mode is ContentMode.FULL else "encrypted")
        erase(store, subject="user-42", by="dpo", reason="restored")
    with AuditStore.open(backup, keeping=keeping(mode)) as store:
        assert store.record(blocked().id)["content"]["user"]["state"] == "erased"
