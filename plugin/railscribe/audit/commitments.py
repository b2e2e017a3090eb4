"""Salted commitments: what lets a record vouch for content that it does not hold. Pure.

Rules

1. A commitment is SHA-256, in hex, over four frames: the domain, the kind of content, the salt, the content.
   A frame is its length as eight bytes, big-endian, then its bytes, so no two inputs run into one another.
2. Text is committed to as UTF-8, whole, even where less is kept; lone surrogates keep their three bytes.
3. A salt is sixteen random bytes, used once, and lies beside the content. Deleting content deletes its salt,
   and with it every way to test a guess against the commitment.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

_DOMAIN = b"railscribe/commitment/v1"
_START = len(_DOMAIN).to_bytes(8, "big") + _DOMAIN


def new_salt() -> str:
    """Return a fresh salt, hex (rule 3)."""
    return secrets.token_hex(16)


def commit(kind: str, salt: str, content: str) -> str:
    """Return the commitment to *content* of *kind* under *salt*, a hex string (rules 1 and 2)."""
    named, salted, data = kind.encode(), bytes.fromhex(salt), content.encode("utf-8", "surrogatepass")
    framed = (_START, _length(named), named, _length(salted), salted, _length(data), data)
    return hashlib.sha256(b"".join(framed)).hexdigest()


def _length(part: bytes) -> bytes:
    return len(part).to_bytes(8, "big")


def frames(*parts: bytes) -> bytes:
    """Return *parts* so that no two lists of them read the same (rule 1)."""
    return b"".join(framed for part in parts for framed in (_length(part), part))


def verify(commitment: str, kind: str, salt: str, content: str) -> bool:
    """Return whether *commitment* is the one to *content*."""
    try:
        # A salt has one form: in capitals or with blanks it was not written by us, and neither was what is no hex.
        return bytes.fromhex(salt).hex() == salt and hmac.compare_digest(
            commitment, commit(kind, salt, content)
        )
    except ValueError:
        return False
