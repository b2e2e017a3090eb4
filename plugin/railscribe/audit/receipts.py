"""A receipt: one entry's bytes, and what proves to a stranger that they were sealed (docs/receipt-format.md).

Rules

1. A receipt is checked with nothing but itself and a public key: no database, no network, no other record.
2. It holds evidence, never content: whoever may read the record gives the words along, with their salt.
3. Only what is sealed has one.
4. Where the key was rotated after the key that somebody trusts, the checkpoints that say so come along.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from railscribe.audit import tables
from railscribe.audit.chain.checkpoint import is_signed, key_id, read
from railscribe.audit.chain.merkle import inclusion_path, leaf_hash, root_by_path
from railscribe.audit.contents import iso
from railscribe.audit.evidence import Database, Key, bytes_of_rows
from railscribe.audit.reading import find
from railscribe.errors import AuditError, UsageError

FORMAT = "railscribe-receipt/1"


def receipt_of(connection: sa.Connection, beginning: str) -> dict[str, Any]:
    """Return the receipt of the one record whose id begins with *beginning*, or of the entry with that id.

    Raises:
        UsageError: there is none, or more than one, or it is not sealed yet.
        AuditError: its evidence is not what was attested.
    """
    row = _entry(connection, beginning)
    place = {"segment": row["segment_id"], "position": row["position"]}
    segment = (
        connection.execute(sa.select(tables.segments).where(tables.segments.c.id == row["segment_id"]))
        .mappings()
        .first()
    )
    if segment is None:
        raise UsageError(
            f"{row['id']} is durable, and under no checkpoint yet.",
            hint="A running writer makes one within a minute; the next writer does, if none runs.",
        )
    data = _bytes(connection, row)
    leaves = sa.select(tables.entries.c.leaf).where(tables.entries.c.segment_id == row["segment_id"])
    hashes = [
        bytes.fromhex(leaf)
        for leaf in connection.execute(leaves.order_by(tables.entries.c.position)).scalars()
    ]
    if row["position"] >= len(hashes):
        raise AuditError(f"Entries of the segment {row['segment_id']} are missing.", hint=_VERIFY)
    path = inclusion_path(hashes, row["position"])
    sealing = _checkpoint(connection, segment["checkpoint_number"])
    return {
        "format": FORMAT,
        "entry": {
            "kind": row["kind"],
            "at": iso(row["at"]),
            "id": row["id"],
            **place,
            "bytes": data.decode(),
        },
        "path": [step.hex() for step in path],
        "checkpoint": sealing,
        "public_key": _public(connection, read(sealing["body"])["key"]),
        "rotations": _rotations(connection, segment["checkpoint_number"]),
    }


_VERIFY = "Find out what else is: railscribe audit verify."


def _entry(connection: sa.Connection, beginning: str) -> dict[str, Any]:
    entries = tables.entries
    keys = find(connection, beginning) if beginning else []
    if len(keys) > 1:
        raise UsageError(f"More than one record's id begins with {beginning!r}.", hint="Give more of it.")
    query = sa.select(entries).where(entries.c.id == tables.storable(beginning))
    if keys:
        at, record = keys[0]
        query = sa.select(entries).where(
            entries.c.at == at, entries.c.kind == "record", entries.c.id == record
        )
    found = connection.execute(query.limit(2)).mappings().all()
    if len(found) != 1:
        raise UsageError(
            f"No one entry has an id that begins with {beginning!r}.", hint="List them: railscribe audit list"
        )
    return dict(found[0])


def _bytes(connection: sa.Connection, row: dict[str, Any]) -> bytes:
    database = Database(connection)
    try:
        rows = database.of_entry(Key(kind=row["kind"], at=iso(row["at"]), id=row["id"]))
        data = bytes_of_rows(row["kind"], rows)
    except ValueError:
        data = b""
    if leaf_hash(data).hex() != row["leaf"]:
        raise AuditError(f"The evidence of {row['id']} is not what was attested.", hint=_VERIFY)
    return data


def _checkpoint(connection: sa.Connection, number: int) -> dict[str, Any]:
    checkpoints = tables.checkpoints.c
    query = sa.select(checkpoints.body, checkpoints.signature).where(checkpoints.number == number)
    row = connection.execute(query).one()
    return {"body": row.body, "signature": row.signature}


def _public(connection: sa.Connection, name: str) -> str:
    query = sa.select(tables.signing_keys.c.public_key).where(tables.signing_keys.c.id == name)
    return str(connection.execute(query).scalar_one())


def _rotations(connection: sa.Connection, before: int) -> list[dict[str, Any]]:
    checkpoints = tables.checkpoints.c
    query = (
        sa.select(checkpoints.number)
        .where(checkpoints.reason == "rotated", checkpoints.number < before)
        .order_by(checkpoints.number)
    )
    return [_checkpoint(connection, number) for number in connection.execute(query).scalars()]


def check_receipt(receipt: Any, public_key: bytes) -> list[str]:
    """Return what is wrong with *receipt* for somebody who trusts *public_key*: nothing, where it is good."""
    try:
        return _check(receipt, public_key)
    except (KeyError, TypeError, ValueError, AttributeError):
        return ["It is no receipt of this format."]


def _check(receipt: dict[str, Any], public_key: bytes) -> list[str]:
    if receipt["format"] != FORMAT:
        return [f"It is of the format {receipt['format']}, and this version reads {FORMAT}."]
    sealing, entry = receipt["checkpoint"], receipt["entry"]
    signer = _signer(receipt["rotations"], public_key, read(sealing["body"])["key"])
    if signer is None:
        return ["It is signed with a key that the one you trust does not lead to."]
    wrong = []
    if not is_signed(sealing["body"], sealing["signature"], signer):
        wrong.append("The checkpoint's signature is not the key's.")
    wrong += _check_entry(entry)
    segments = [some for some in read(sealing["body"])["segments"] if some["id"] == entry["segment"]]
    if len(segments) != 1:
        return [*wrong, "The checkpoint does not seal the entry's segment."]
    path = [bytes.fromhex(step) for step in receipt["path"]]
    leaf = leaf_hash(entry["bytes"].encode())
    root = root_by_path(leaf, entry["position"], segments[0]["count"], path)
    if root is None or root.hex() != segments[0]["root"]:
        wrong.append("The entry is not at its place in the segment.")
    return wrong


def _check_entry(entry: dict[str, Any]) -> list[str]:
    """Check that what stands beside the bytes is what they say."""
    said = json.loads(entry["bytes"])
    heads = [row for rows in said["rows"].values() for row in rows]
    values = {value for row in heads for value in row.values() if isinstance(value, str)}
    if said["kind"] != entry["kind"] or entry["at"] not in values:
        return ["Its kind or time is not what its bytes say."]
    if entry["kind"] in ("record", "late_trace") and entry["id"] not in values:
        return ["Its id is not what its bytes say."]
    return []


def _signer(rotations: Sequence[dict[str, Any]], trusted: bytes, wanted: str) -> bytes | None:
    """Return the key *wanted* if it is *trusted*, or one that *trusted* leads to by rotations."""
    key = trusted
    for rotation in rotations:
        if key_id(key) == wanted:
            break
        said = read(rotation["body"])
        if said["key"] == key_id(key) and is_signed(rotation["body"], rotation["signature"], key):
            key = bytes.fromhex(said["next_key"]["public_key"])
    return key if key_id(key) == wanted else None
