"""What is kept of pictures: facts as evidence, digests and words as content, bytes only where it is wanted."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace

import pytest
import sqlalchemy as sa

from railscribe.audit import AuditStore, erase, tables
from railscribe.values import Exchange, Image, ImageReading, ImageUse, Record

RecordFactory = Callable[..., Record]


def two_frames(data: bytes) -> tuple[Image, Image]:
    first = Image(
        data=data,
        digest=hashlib.sha256(data).hexdigest(),
        media_type="image/gif",
        width=4,
        height=5,
        frame=1,
        frames=2,
        mode="P",
        perceptual_digest="00ff00ff00ff00ff",
    )
    return first, replace(first, frame=2, mode="RGB", perceptual_digest="ff00ff00ff00ff00")


@pytest.fixture
def moving(blocked: RecordFactory) -> Record:
    """A record of two frames of one file: words were read in the second alone."""
    return blocked(
        exchange=Exchange(user="look", response="", images=two_frames(b"GIF89a and more")),
        readings=(
            ImageReading(use=ImageUse.NOTHING_READ, text="", reader="eye 1"),
            ImageReading(use=ImageUse.READ, text="STAB HERE", reader="eye 1"),
        ),
    )


def test_the_facts_of_a_picture_are_evidence(any_store: AuditStore, blocked: RecordFactory) -> None:
    """Frame, colours, turn, and the size at which the model saw it come back as they were."""
    any_store.append(blocked())

    (image,) = json.loads(json.dumps(any_store.record(blocked().id)["images"]))

    assert (image["frame"], image["frames"], image["mode"], image["orientation"]) == (2, 3, "P", 6)
    assert (image["seen_width"], image["seen_height"]) == (896, 890)
    assert (image["use"], image["reader"]) == ("seen_and_read", "rapidocr 3.10.0")
    assert (image["perceptual_digest"]["text"], image["perceptual_digest"]["state"]) == (
        *("0123456789abcdef", "intact"),
    )
    assert (image["text"]["text"], image["text"]["chars"], image["text"]["state"]) == (
        "STAB HERE",
        9,
        "intact",
    )
    assert image["bytes"] is None


def test_each_frame_has_its_own_words(any_store: AuditStore, moving: Record) -> None:
    """What was read lies with the frame it was read in; read and found empty is told from never read."""
    any_store.append(moving)

    found = any_store.record(moving.id)

    assert [image["text"]["text"] for image in found["images"]] == ["", "STAB HERE"]
    assert [image["use"] for image in found["images"]] == ["nothing_read", "read"]
    assert [image["content"]["text"] for image in found["images"]] == [moving.exchange.images[0].digest] * 2
    assert any_store.select("SELECT image_text FROM v_checks")[1] == [("\nSTAB HERE",)]
    _, rows = any_store.select("SELECT position, frame, use, image_text FROM v_images ORDER BY position")
    assert rows == [(0, 1, "nothing_read", ""), (1, 2, "read", "STAB HERE")]


def test_bytes_are_kept_only_where_the_store_is_told_to(any_url: str, moving: Record) -> None:
    """Once for all frames of a file, whole, however little text is kept, and checkable against the digest."""
    with AuditStore.open(any_url) as store:
        store.append(replace(moving, id=moving.id[:-1] + "f"))
        assert store.select("SELECT count(*) FROM contents WHERE kind = 'image_bytes'")[1] == [(0,)]
    with AuditStore.open(any_url, keep_images=True, keep_chars=3) as store:
        store.append(moving)
        images = store.record(moving.id)["images"]
        rows = store.select("SELECT position, body FROM contents WHERE kind = 'image_bytes'")[1]

    assert [(position, base64.b64decode(body)) for position, body in rows] == [(0, b"GIF89a and more")]
    assert [image["bytes"] for image in images] == ["intact", None]


def test_bytes_that_were_changed_are_noticed(
    any_url: str, moving: Record, past_triggers: Callable[..., None]
) -> None:
    """Bytes that do not have the picture's digest are altered, whatever they show."""
    forged = base64.b64encode(b"GIF89a and less").decode()
    with AuditStore.open(any_url, keep_images=True) as store:
        store.append(moving)
        change = sa.update(tables.contents).where(tables.contents.c.kind == "image_bytes").values(body=forged)
        past_triggers(any_url, change)
        assert store.record(moving.id)["images"][0]["bytes"] == "altered"


def test_erased_content_takes_everything_derived_from_the_picture_with_it(
    any_url: str, moving: Record
) -> None:
    """Digest, perceptual digest, words and bytes are content; facts and commitments stay."""
    with AuditStore.open(any_url, keep_images=True) as store:
        store.append(moving)
        evidence = [store.select(f"SELECT * FROM {table.name}")[1] for table in tables.EVIDENCE]  # noqa: S608
        erase(store, subject="user-42", by="dpo", reason="asked to")

        image = store.record(moving.id)["images"][1]

    assert not any(
        secret in str(evidence) for secret in ("ff00ff00", "STAB", str(moving.exchange.images[0].digest))
    )
    assert {image[what]["state"] for what in ("content", "perceptual_digest", "text")} == {"erased"}
    assert (image["bytes"], image["frame"], image["text"]["chars"]) == (None, 2, 9)
