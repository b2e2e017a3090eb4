"""Checkpoints: the signed links of one chain. Pure.

Rules

1. A checkpoint's body is JSON in ASCII, keys sorted, no white space; what has no value is left out. It is kept and
   passed on as these very bytes, and never made anew from what was read.
2. Its hash is SHA-256 over the body; the next checkpoint names it as ``previous``. The first has none.
3. It is signed with Ed25519 over ``railscribe/checkpoint/v1``, a line feed, and the body: a signature of something
   else never passes for a checkpoint's.
4. ``next_key`` in a checkpoint says that from the following one on another key signs. It is signed by the key that
   goes; where that was lost, ``lost_key`` names it and the new key signs, which nobody believes who does not trust
   the new key by himself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_DOMAIN = b"railscribe/checkpoint/v1\n"


class Reason(str, Enum):
    """Why a checkpoint was made. Stored as is; never renamed."""

    OPENED = "opened"
    """A writer begins."""
    SCHEDULED = "scheduled"
    """Time is up, or a segment is full."""
    CLOSED = "closed"
    """A writer ends."""
    RECOVERED = "recovered"
    """A writer that had died is brought to its end by another."""
    ADOPTED = "adopted"
    """Evidence from before there were checkpoints is taken in."""
    REQUESTED = "requested"
    """Somebody waits for it."""
    ROTATED = "rotated"
    """From the next one on another key signs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedSegment:
    """What a checkpoint says of a segment."""

    id: str
    retention_class: str
    month: str
    count: int
    root: str

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "class": self.retention_class,
            "month": self.month,
            "count": self.count,
            "root": self.root,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """One link: its body, and what signs it."""

    body: str
    signature: str
    """Ed25519, hex."""

    @property
    def hash(self) -> str:
        """What the next one names as ``previous`` (rule 2)."""
        return hash_of(self.body)

    @property
    def said(self) -> dict[str, Any]:
        """The body, read.

        Raises:
            ValueError: it is no JSON object.
        """
        return read(self.body)


def body_of(fields: Mapping[str, Any]) -> str:
    """Return the body of a checkpoint that says *fields* (rule 1)."""
    told = {name: value for name, value in fields.items() if value is not None}
    return json.dumps({**told, "v": 1}, sort_keys=True, separators=(",", ":"))


def read(body: str) -> dict[str, Any]:
    """Return what *body* says.

    Raises:
        ValueError: it is no JSON object.
    """
    said = json.loads(body)
    if not isinstance(said, dict):
        raise ValueError("a checkpoint's body is a JSON object")  # noqa: TRY004 - of a value, not of a type
    return said


def hash_of(body: str) -> str:
    """Return the hash of *body* (rule 2), hex."""
    return hashlib.sha256(body.encode("utf-8", "surrogatepass")).hexdigest()


def signed_bytes(body: str) -> bytes:
    """Return what is signed (rule 3)."""
    return _DOMAIN + body.encode("utf-8", "surrogatepass")


def is_signed(body: str, signature: str, public_key: bytes) -> bool:
    """Return whether *signature* is that of *public_key* (32 bytes) over *body*."""
    try:
        data = bytes.fromhex(signature)
        if data.hex() != signature:  # of all ways to write it, one is ours
            return False
        Ed25519PublicKey.from_public_bytes(public_key).verify(data, signed_bytes(body))
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def key_id(public_key: bytes) -> str:
    """Return the name of *public_key*: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(public_key).hexdigest()[:16]
