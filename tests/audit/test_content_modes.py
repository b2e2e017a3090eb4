"""Content modes: what is kept, what can be read back, and what is found when somebody tampers with it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from railscribe.audit import AuditStore, Redaction, tables
from railscribe.audit.content_keys import LocalKeyFile, SubjectKeys, read_key_file, write_key_file
from railscribe.audit.forms import digest_of
from railscribe.audit.keeping import Keeping
from railscribe.audit.verify import verify_database
from railscribe.errors import ContentKeyError, SettingsError
from railscribe.settings import Settings
from railscribe.values import ContentMode, Identity, LateTrace, Record

RecordFactory = Callable[..., Record]
LateFactory = Callable[..., LateTrace]
SECRETS = ("Wie baue", "with that", "weapon", "STAB", "knife", "not decoded here")
DIGEST_KEY = b"d" * 32


def redact(text: str) -> Redaction:
    """Take out what the tests hold to be names."""
    found = [word for word in ("knife", "weapon", "STAB HERE", "Wie baue") if word in text]
    for word in found:
        text = text.replace(word, "<TOOL>")
    return Redaction(text=text, counts={"TOOL": len(found)})


def keeping(mode: ContentMode, wrapper: Any = None) -> Keeping:
    """Return what *mode* needs, with keys of the test's own."""
    wrapper = wrapper or LocalKeyFile(b"k" * 32)
    return Keeping(
        mode=mode, redactor=redact, digest_key=DIGEST_KEY, wrapper=wrapper, keys=SubjectKeys(wrapper)
    )


def contents_of(store: AuditStore) -> str:
    """Return all that lies in the tables of content, as one text."""
    return str([store.select(f"SELECT * FROM {table}")[1] for table in ("contents", "subject_keys")])  # noqa: S608


def states(record: dict[str, Any]) -> set[str]:
    """Return the states of everything that was said in *record*."""
    found = {content["state"] for content in record["content"].values()}
    found |= {record["late_trace"][what]["state"] for what in ("trace", "reply")}
    image = record["images"][0]
    return found | {image[what]["state"] for what in ("content", "text")}


@pytest.fixture
def pictured(blocked: RecordFactory) -> Record:
    """A record with everything in it, its picture's digest that of its bytes."""
    return blocked()


@pytest.mark.parametrize("mode", [ContentMode.DIGEST, ContentMode.ENCRYPTED])
def test_nothing_that_was_said_lies_in_the_database(
    any_url: str, pictured: Record, late: LateFactory, mode: ContentMode
) -> None:
    """Text, response, trace, reply, words and bytes of pictures, and what comes late: none is there to be read."""
    with AuditStore.open(any_url, keep_images=True, keeping=keeping(mode)) as store:
        store.append(pictured)
        store.append_late_trace(late(pictured))
        everything = contents_of(store) + str(
            [store.select(f"SELECT * FROM {table.name}")[1] for table in tables.EVIDENCE]  # noqa: S608
        )
        everything += str([store.select(f"SELECT * FROM {view}")[1] for view in tables.VIEWS])  # noqa: S608
        (row,) = store.select("SELECT content_mode, content_state, user_text, trace FROM v_checks")[1]

    assert not [
        secret for secret in (*SECRETS, str(pictured.exchange.images[0].digest)) if secret in everything
    ]
    assert row == (mode.value, mode.value, None, None)


def test_encrypted_content_is_read_with_its_key_alone(
    any_url: str, pictured: Record, late: LateFactory
) -> None:
    """With the key everything is there and intact; without it, or with another, it says that it is encrypted."""
    with AuditStore.open(any_url, keep_images=True, keeping=keeping(ContentMode.ENCRYPTED)) as store:
        store.append(pictured)
        store.append_late_trace(late(pictured))
        with_key = store.record(pictured.id)
        assert store.select("SELECT count(*) FROM subject_keys")[1] == [(1,)]
    with AuditStore.open(any_url) as store:
        without = store.record(pictured.id)
    other = keeping(ContentMode.ENCRYPTED, LocalKeyFile(b"x" * 32))
    with AuditStore.open(any_url, keeping=other) as store:
        wrong = store.record(pictured.id)

    assert states(with_key) == {"intact"}
    assert with_key["content"]["user"]["text"] == pictured.exchange.user
    assert with_key["late_trace"]["trace"]["text"] == "It asks for a knife."
    assert with_key["images"][0]["bytes"] == "intact"
    for found in (without, wrong):
        assert states(found) == {"encrypted"}
        assert found["content"]["user"]["text"] is found["content"]["user"]["salt"] is None
        assert found["images"][0]["bytes"] == "encrypted"


def test_evidence_is_the_same_in_every_mode(any_url: str, undecided: RecordFactory) -> None:
    """The attested row says how content is kept, and is otherwise no other."""
    rows = []
    for number, mode in enumerate(ContentMode):
        with AuditStore.open(any_url, keeping=keeping(mode)) as store:
            store.append(replace(undecided(number), checked_at=undecided().checked_at))
            (row,) = (
                dict(zip(*found, strict=True))
                for found in [
                    (columns, values[0])
                    for columns, values in [
                        store.select(f"SELECT * FROM records WHERE id = '{undecided(number).id}'")  # noqa: S608
                    ]
                ]
            )
            rows.append(row)

    assert [row.pop("content_mode") for row in rows] == [mode.value for mode in ContentMode]
    for row in rows:
        assert len(row.pop("user_commitment")) == 64
        row.pop("id")
    assert all(row == rows[0] for row in rows)


def test_redacted_content_says_what_was_taken_out(any_url: str, pictured: Record, late: LateFactory) -> None:
    """Kinds and counts are on record; the original's salt is not, so that what was taken out cannot be tried."""
    with AuditStore.open(any_url, keep_images=True, keeping=keeping(ContentMode.REDACTED)) as store:
        store.append(pictured)
        store.append_late_trace(late(pictured))
        found = store.record(pictured.id)
        kept = contents_of(store)
        assert store.select("SELECT user_text FROM v_checks")[1] == [(found["content"]["user"]["text"],)]

    user = found["content"]["user"]
    assert (user["state"], user["redactions"], user["salt"]) == ("redacted", {"TOOL": 1}, None)
    assert user["text"].startswith("<TOOL> ich")
    assert found["content"]["response"]["state"] == "intact"  # nothing was found in it
    assert found["late_trace"]["trace"]["text"] == "It asks for a <TOOL>."
    assert found["images"][0]["bytes"] is None
    assert not [secret for secret in ("Wie baue", "weapon", "STAB", "knife") if secret in kept]


def test_a_redactor_that_fails_costs_the_content_and_not_the_record(
    any_url: str, undecided: RecordFactory
) -> None:
    """The record stands, says that its content was withheld, and verifies."""

    def fails(text: str) -> Redaction:
        raise RuntimeError(text)

    chosen = Keeping(mode=ContentMode.REDACTED, redactor=fails)
    with AuditStore.open(any_url, keeping=chosen) as store:
        store.append(undecided())
        content = store.record(undecided().id)["content"]["user"]
        assert store.select("SELECT content_state FROM v_checks")[1] == [("withheld",)]

    assert (content["state"], content["text"]) == ("withheld", None)
    assert verify_database(any_url).ok


def test_equal_content_has_equal_digests_for_those_with_the_key(
    any_url: str, undecided: RecordFactory
) -> None:
    """Within a tenant the same text is found again with the key; across tenants it cannot be told."""
    tenants = ["acme", "acme", "globex"]
    with AuditStore.open(any_url, keeping=keeping(ContentMode.DIGEST)) as store:
        for number, tenant in enumerate(tenants):
            store.append(undecided(number, identity=Identity(tenant=tenant)))
        found = [store.record(undecided(number).id)["content"]["user"] for number in range(3)]

    assert {content["state"] for content in found} == {"digest"}
    assert found[0]["digest"] == found[1]["digest"] != found[2]["digest"]
    assert found[0]["digest"] == digest_of(DIGEST_KEY, "acme", "user", "Hello?")
    assert hashlib.sha256(b"Hello?").hexdigest() not in str(found)


def test_a_policys_mode_goes_before_its_tenants(any_url: str, undecided: RecordFactory) -> None:
    """A policy's own choice, by its name, then the tenant's, then the one for all; late traces follow."""
    base = keeping(ContentMode.FULL)
    chosen = replace(base, mode_by_tenant={"acme": ContentMode.DIGEST})
    with AuditStore.open(any_url, keeping=chosen) as store:
        store.append(undecided(0, identity=Identity(tenant="acme")))
        store.append(undecided(1))
    with AuditStore.open(
        any_url, keeping=replace(chosen, mode_by_policy={"default": ContentMode.ENCRYPTED})
    ) as store:
        store.append(undecided(2, identity=Identity(tenant="acme")))
        modes = [store.record(undecided(number).id)["content_mode"] for number in range(3)]

    assert modes == ["digest", "full", "encrypted"]


def test_content_without_a_subject_has_a_key_of_its_own(
    any_url: str, undecided: RecordFactory, late: LateFactory
) -> None:
    """Each such record has one key, which what comes late to it shares."""
    with AuditStore.open(any_url, keeping=keeping(ContentMode.ENCRYPTED)) as store:
        for number in range(2):
            store.append(undecided(number))
        store.append_late_trace(late(undecided(1)))
        keys = store.select("SELECT subject, record_id FROM subject_keys ORDER BY record_id")[1]
        found = store.record(undecided(1).id)

    assert keys == [(None, undecided(0).id), (None, undecided(1).id)]
    assert found["late_trace"]["trace"]["text"] == "It asks for a knife."


def test_long_text_is_cut_in_every_mode(any_url: str, undecided: RecordFactory) -> None:
    """Of a text so much is kept as the store keeps, also under a key."""
    with AuditStore.open(any_url, keep_chars=3, keeping=keeping(ContentMode.ENCRYPTED)) as store:
        store.append(undecided())
        content = store.record(undecided().id)["content"]["user"]

    assert (content["text"], content["state"], content["chars"]) == ("Hel", "truncated", 6)


@pytest.mark.parametrize("mode", [ContentMode.REDACTED, ContentMode.DIGEST, ContentMode.ENCRYPTED])
@pytest.mark.parametrize("how", ["flipped", "swapped", "salted"])
def test_tampering_is_found_without_a_key(
    any_url: str, blocked: RecordFactory, past_triggers: Callable[..., None], mode: ContentMode, how: str
) -> None:
    """What is kept has a commitment of its own: a byte changed or two records' contents swapped is found and named."""
    with AuditStore.open(any_url, keeping=keeping(mode)) as store:
        for number in range(2):
            store.append(blocked(number))
        rows = store.select(
            "SELECT record_id, salt, body FROM contents WHERE kind = 'user' ORDER BY record_id"
        )[1]
    first, second = rows
    body, salt = {
        "flipped": (first[2][:-3] + ("A" if first[2][-3] != "A" else "B") + first[2][-2:], first[1]),
        "swapped": (second[2], second[1]),
        "salted": (first[2], second[1]),
    }[how]
    contents = tables.contents.c
    where = [contents.record_id == first[0], contents.kind == "user"]
    past_triggers(any_url, sa.update(tables.contents).where(*where).values(body=body, salt=salt))

    report = verify_database(any_url)
    with AuditStore.open(any_url, keeping=keeping(mode)) as store:
        state = store.record(first[0])["content"]["user"]["state"]

    assert [(failure.code, failure.place["record"]) for failure in report.failures] == [
        ("content_altered", first[0])
    ]
    assert state == "altered"


def test_ciphertext_that_was_moved_with_its_evidence_does_not_open(
    any_url: str, blocked: RecordFactory, past_triggers: Callable[..., None]
) -> None:
    """Even where somebody moves commitments and ciphertext together, the key opens it in its own place alone."""
    with AuditStore.open(any_url, keeping=keeping(ContentMode.ENCRYPTED)) as store:
        for number in range(2):
            store.append(blocked(number))
    of = {number: f"record_id = '{blocked(number).id}' AND kind = 'user'" for number in range(2)}
    moved = [
        f"UPDATE {table} SET {column} = (SELECT {column} FROM {table} WHERE {of[1]}) WHERE {of[0]}"  # noqa: S608
        for table, column in (("contents", "body"), ("contents", "salt"), ("record_kept", "commitment"))
    ]
    past_triggers(any_url, *moved)

    with AuditStore.open(any_url, keeping=keeping(ContentMode.ENCRYPTED)) as store:
        assert store.record(blocked(0).id)["content"]["user"]["state"] == "altered"
        assert store.record(blocked(1).id)["content"]["user"]["state"] == "intact"
    assert {failure.code for failure in verify_database(any_url).failures} == {"evidence_altered"}


def test_a_wrapped_key_is_bound_to_its_subject(
    any_url: str, undecided: RecordFactory, past_triggers: Any
) -> None:
    """A row of a key that is given to another subject opens nothing."""
    with AuditStore.open(any_url, keeping=keeping(ContentMode.ENCRYPTED)) as store:
        store.append(undecided(0, identity=Identity(subject="a")))
        past_triggers(any_url, "UPDATE subject_keys SET subject = 'b'")
        assert store.record(undecided(0).id)["content"]["user"]["state"] == "encrypted"


def test_a_kms_that_is_away_is_a_named_error(any_url: str, undecided: RecordFactory) -> None:
    """Content is never kept in the clear because its key cannot be wrapped."""

    class Away:
        name = "kms:away"

        def wrap(self, key: bytes, context: Any) -> bytes:
            raise ConnectionError(key.hex())

        unwrap = wrap

    with AuditStore.open(any_url, keeping=keeping(ContentMode.ENCRYPTED, Away())) as store:
        with pytest.raises(ContentKeyError, match=r"kms:away wrapped no key \(ConnectionError\)"):
            store.append(undecided())

        assert store.records() == []


@pytest.mark.parametrize("mode", ["encrypted", "digest"])
def test_a_mode_without_its_key_is_refused_at_once(tmp_path: Path, mode: str) -> None:
    """The settings are refused before the first record, with the command that makes a key."""
    with pytest.raises(SettingsError, match=f"{mode}.*railscribe audit content-key new"):
        Keeping.of(Settings(content_mode_by_tenant={"acme": ContentMode(mode)}))


def test_key_files(tmp_path: Path) -> None:
    """A new key is its owner's alone and never overwritten; one open to others, or cut, is refused unshown."""
    path = tmp_path / "content.key"
    write_key_file(path)

    assert path.stat().st_mode & 0o777 == 0o600
    assert len(read_key_file(path)) == 32
    with pytest.raises(SettingsError, match="never overwritten"):
        write_key_file(path)
    path.chmod(0o644)
    with pytest.raises(SettingsError, match="open to others"):
        read_key_file(path)
    path.chmod(0o600)
    path.write_text("c0ffee")
    with pytest.raises(SettingsError, match="holds no key") as caught:
        read_key_file(path)
    assert "c0ffee" not in str(caught.value)
    with pytest.raises(SettingsError, match="cannot be read"):
        read_key_file(tmp_path / "none")
    assert os.listdir(tmp_path) == ["content.key"]  # noqa: PTH208
