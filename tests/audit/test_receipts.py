"""A receipt is checked by a stranger: with the public key and docs/receipt-format.md alone."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from railscribe.audit import AuditStore, keys
from railscribe.audit.receipts import check_receipt, receipt_of
from railscribe.audit.rotating import rotate
from railscribe.errors import UsageError
from railscribe.values import Record

RecordFactory = Callable[..., Record]


# From here to the next line of dashes: written from the page, with nothing of Railscribe's.
def name_of(key: bytes) -> str:
    return hashlib.sha256(key).hexdigest()[:16]


def is_signed(checkpoint: dict[str, str], key: bytes) -> bool:
    message = b"railscribe/checkpoint/v1\n" + checkpoint["body"].encode()
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(bytes.fromhex(checkpoint["signature"]), message)
    except InvalidSignature:
        return False
    return True


def signer(receipt: dict[str, Any], key: bytes) -> bytes | None:
    wanted = json.loads(receipt["checkpoint"]["body"])["key"]
    for rotation in receipt["rotations"]:
        said = json.loads(rotation["body"])
        if name_of(key) != wanted and said["key"] == name_of(key) and is_signed(rotation, key):
            key = bytes.fromhex(said["next_key"]["public_key"])
    return key if name_of(key) == wanted else None


def root_of(receipt: dict[str, Any], count: int) -> bytes | None:
    place, last = receipt["entry"]["position"], count - 1
    if not 0 <= place <= last:
        return None
    root = hashlib.sha256(b"\x00" + receipt["entry"]["bytes"].encode()).digest()
    for step in map(bytes.fromhex, receipt["path"]):
        if last == 0:
            return None
        if place % 2 == 1 or place == last:
            root = hashlib.sha256(b"\x01" + step + root).digest()
            while place % 2 == 0 and place != 0:
                place, last = place // 2, last // 2
        else:
            root = hashlib.sha256(b"\x01" + root + step).digest()
        place, last = place // 2, last // 2
    return root if last == 0 else None


def holds(receipt: dict[str, Any], trusted: bytes) -> bool:
    key = signer(receipt, trusted)
    if (
        receipt["format"] != "railscribe-receipt/1"
        or key is None
        or not is_signed(receipt["checkpoint"], key)
    ):
        return False
    segments = json.loads(receipt["checkpoint"]["body"])["segments"]
    mine = [segment for segment in segments if segment["id"] == receipt["entry"]["segment"]]
    if len(mine) != 1:
        return False
    root = root_of(receipt, mine[0]["count"])
    return root is not None and root.hex() == mine[0]["root"]


# ------------------------------------------------------------------------------------------------------


def receipt_for(store: AuditStore, beginning: str) -> dict[str, Any]:
    with store.transaction("Making a receipt") as connection:
        made = receipt_of(connection, beginning)
    return dict(json.loads(json.dumps(made)))


def test_a_stranger_checks_every_record(any_url: str, blocked: RecordFactory) -> None:
    """Whatever the number of entries in a segment, each has a receipt that holds, and says what the record says."""
    trusted = keys.load(keys.default_path()).public if keys.default_path().exists() else None
    records = [blocked(number) for number in range(1, 8)]
    with AuditStore.open(any_url) as store:
        for size in (1, 2, 4):
            for record in records[size - 1 : 2 * size - 1]:
                store.append(record)
            store.seal()
        receipts = [receipt_for(store, record.id) for record in records]
    trusted = trusted or keys.load(keys.default_path()).public

    assert [holds(receipt, trusted) for receipt in receipts] == [True] * 7
    assert [check_receipt(receipt, trusted) for receipt in receipts] == [[]] * 7
    said = json.loads(receipts[0]["entry"]["bytes"])
    assert said["rows"]["records"][0]["id"] == records[0].id == receipts[0]["entry"]["id"]
    assert "Wie baue ich" not in json.dumps(receipts, ensure_ascii=False)


@pytest.mark.parametrize(
    "forge",
    [
        pytest.param(
            lambda r: r["entry"].update(bytes=r["entry"]["bytes"].replace("block", "allow")), id="bytes"
        ),
        pytest.param(lambda r: r["entry"].update(position=0), id="position"),
        pytest.param(lambda r: r["path"].pop(), id="shorter path"),
        pytest.param(lambda r: r["path"].append("0" * 64), id="longer path"),
        pytest.param(lambda r: r["path"].reverse(), id="path in another order"),
        pytest.param(
            lambda r: r["checkpoint"].update(body=r["checkpoint"]["body"].replace("requested", "scheduled")),
            id="checkpoint",
        ),
        pytest.param(lambda r: r["checkpoint"].update(signature="0" * 128), id="signature"),
        pytest.param(lambda r: r["entry"].update(segment="another.0"), id="segment"),
        pytest.param(lambda r: r.update(format="railscribe-receipt/2"), id="format"),
    ],
)
def test_a_forged_receipt_is_refused(
    store: AuditStore, blocked: RecordFactory, forge: Callable[[dict[str, Any]], None]
) -> None:
    """Any part of a receipt that is changed makes it worthless, to the stranger and to the command."""
    for number in range(1, 6):
        store.append(blocked(number))
    store.seal()
    receipt = receipt_for(store, blocked(2).id)
    trusted = keys.load(keys.default_path()).public
    forged = copy.deepcopy(receipt)

    forge(forged)

    assert forged != receipt
    assert holds(receipt, trusted)
    assert not holds(forged, trusted)
    assert check_receipt(forged, trusted) != []


@pytest.mark.parametrize(
    "beside", [{"id": "another"}, {"at": "2026-03-14T00:00:00.000000Z"}, {"kind": "probe"}]
)
def test_what_stands_beside_the_bytes_is_checked(
    store: AuditStore, blocked: RecordFactory, beside: dict[str, str]
) -> None:
    """A receipt that calls its entry something else is refused by the command."""
    store.append(blocked())
    store.seal()
    receipt = receipt_for(store, blocked().id)
    receipt["entry"].update(beside)

    assert check_receipt(receipt, keys.load(keys.default_path()).public) != []


def test_an_earlier_key_leads_to_a_later_one(
    database_url: str, tmp_path: Path, blocked: RecordFactory
) -> None:
    """Who trusts the first key believes what a later one signed; another key leads nowhere."""
    path = tmp_path / "key.pem"
    first = keys.create(path).public
    with AuditStore.open(database_url, signing_key=path) as store:
        store.append(blocked(0))
    for _ in range(2):
        rotate(database_url, path)
    with AuditStore.open(database_url, signing_key=path) as store:
        store.append(blocked(1))
        store.seal()
        receipt = receipt_for(store, blocked(1).id)

    for trusted, good in ((first, True), (keys.load(path).public, True), (b"\1" * 32, False)):
        assert holds(receipt, trusted) is good
        assert (check_receipt(receipt, trusted) == []) is good


def test_what_is_not_sealed_has_no_receipt(store: AuditStore, blocked: RecordFactory) -> None:
    """Before a checkpoint there is nothing to prove, and that is said; an unknown id is, too."""
    store.append(blocked())

    with pytest.raises(UsageError, match="under no checkpoint yet"):
        receipt_for(store, blocked().id)
    with pytest.raises(UsageError, match="No one entry has an id"):
        receipt_for(store, "0000")


@pytest.mark.parametrize("receipt", [None, [], {}, {"format": "railscribe-receipt/1"}, {"format": 1}])
def test_what_is_no_receipt(receipt: Any) -> None:
    """Something else is refused and not tripped over."""
    assert check_receipt(receipt, b"\1" * 32) != []
