"""How content is kept: as it is, redacted, as a keyed digest, or encrypted. Pure but for fresh salts and nonces.

Rules

1. Evidence commits to the original in every mode: :class:`~railscribe.audit.contents.Content` does that before a form
   is chosen. What is kept otherwise than as it is has a second commitment, to what is kept, under a salt of its own
   that lies beside it: who holds no key still finds what was altered, swapped or moved.
2. The original's salt lies in the clear only beside the whole original. Beside a redacted text it would let anybody
   try what was taken out; beside a digest it would do the digest's work without the key. Under encryption it lies
   within the ciphertext, so that it goes with the key.
3. What cannot be redacted, because the redactor failed, is withheld: the record stands, its content does not.
   What is kept as it is has the second commitment too where the first does not settle it: of a text only the
   beginning is kept, or it is a picture's bytes.
4. A digest is HMAC-SHA-256 over frames of domain, tenant, kind and content: equal content of one tenant has equal
   digests, and across tenants nothing can be told.
5. Ciphertext is AES-256-GCM under a fresh nonce; its associated data are the key, the record, the kind, the position
   and whether it was cut, so it opens nowhere else.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum
from typing import Any, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from railscribe.audit.commitments import frames, new_salt
from railscribe.audit.redaction import Redactor, redacted
from railscribe.values import ContentMode

_CIPHER = "aes-256-gcm"
_HMAC = "hmac-sha-256"
_NONCE = 12  # bytes, as GCM wants them
_SALT = 16  # bytes
BYTES = "image_bytes"
"""The one kind of content that is no text."""


class Form(str, Enum):
    """How one content is kept that has a commitment of its own."""

    FULL = "full"
    """As it was: the beginning of a text, under the salt of the whole; or bytes."""
    REDACTED = "redacted"
    DIGEST = "digest"
    ENCRYPTED = "encrypted"
    WITHHELD = "withheld"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one content belongs."""

    checked_at: datetime
    record_id: str
    kind: str
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What lies in ``contents`` of one content, and what evidence says of it."""

    body: str | None
    """``None`` where nothing is kept."""
    salt: str
    """The original's where there is no form or it is ``FULL``, else that of the second commitment (rule 1)."""
    truncated: bool = False
    form: Form | None = None
    redactions: Mapping[str, int] | None = None
    """How many of each kind were taken out."""


class Treatment(Protocol):
    """Makes of the contents of one record what is kept of them."""

    @property
    def mode(self) -> ContentMode:
        """What ``records.content_mode`` says."""

    @property
    def key_row(self) -> Mapping[str, Any] | None:
        """The row of ``subject_keys`` that must lie in the database with the content."""

    def keep(self, place: Place, text: str, salt: str, keep_chars: int) -> Kept:
        """Return what is kept of *text*, to which evidence commits under *salt*."""

    def keep_bytes(self, place: Place, data: bytes) -> Kept | None:
        """Return what is kept of a picture's file; ``None`` where that is nothing."""


class Plain:
    """Content as it is."""

    mode = ContentMode.FULL
    key_row = None

    def keep(self, place: Place, text: str, salt: str, keep_chars: int) -> Kept:
        if len(text) <= keep_chars:
            return Kept(body=text, salt=salt)
        return Kept(body=text[:keep_chars], salt=salt, truncated=True, form=Form.FULL)

    def keep_bytes(self, place: Place, data: bytes) -> Kept | None:
        return Kept(body=base64.b64encode(data).decode("ascii"), salt=new_salt(), form=Form.FULL)


@dataclass(frozen=True, slots=True)
class Redacted:
    """Content without what a redactor finds in it. Digests of pictures stay, pictures themselves do not."""

    redactor: Redactor
    mode = ContentMode.REDACTED
    key_row = None

    def keep(self, place: Place, text: str, salt: str, keep_chars: int) -> Kept:
        if place.kind in ("image", "image_perceptual"):
            return Kept(body=text, salt=salt)
        redaction = redacted(self.redactor, text)
        if redaction is None:
            return Kept(body=None, salt=new_salt(), form=Form.WITHHELD)
        if redaction.text == text:
            return PLAIN.keep(place, text, salt, keep_chars)
        return Kept(
            body=redaction.text[:keep_chars],
            salt=new_salt(),
            truncated=len(redaction.text) > keep_chars,
            form=Form.REDACTED,
            redactions=redaction.counts,
        )

    def keep_bytes(self, place: Place, data: bytes) -> Kept | None:
        return None


@dataclass(frozen=True, slots=True)
class Digested:
    """The digest of content under a key, and nothing else."""

    key: bytes
    tenant: str
    mode = ContentMode.DIGEST
    key_row = None

    def keep(self, place: Place, text: str, salt: str, keep_chars: int) -> Kept:
        body = digest_of(self.key, self.tenant, place.kind, text)
        return Kept(body=body, salt=new_salt(), form=Form.DIGEST)

    def keep_bytes(self, place: Place, data: bytes) -> Kept | None:
        return None


@dataclass(frozen=True, slots=True)
class Encrypted:
    """Content under a data key of its subject's, or of its record's own."""

    key: bytes
    key_digest: str
    key_row: Mapping[str, Any] | None = None
    mode = ContentMode.ENCRYPTED

    def keep(self, place: Place, text: str, salt: str, keep_chars: int) -> Kept:
        truncated = len(text) > keep_chars
        kept = bytes.fromhex(salt) + text[:keep_chars].encode("utf-8", "surrogatepass")
        return self._kept(place, kept, truncated=truncated)

    def keep_bytes(self, place: Place, data: bytes) -> Kept | None:
        return self._kept(place, os.urandom(_SALT) + data, truncated=False)

    def _kept(self, place: Place, plain: bytes, *, truncated: bool) -> Kept:
        nonce = os.urandom(_NONCE)
        bound = _bound(place, self.key_digest, truncated=truncated)
        sealed = base64.b64encode(nonce + AESGCM(self.key).encrypt(nonce, plain, bound)).decode("ascii")
        body = f"{_CIPHER}:{self.key_digest}:{sealed}"
        return Kept(body=body, salt=new_salt(), truncated=truncated, form=Form.ENCRYPTED)


PLAIN = Plain()


def digest_of(key: bytes, tenant: str, kind: str, text: str) -> str:
    """Return what mode ``digest`` keeps of *text* (rule 4)."""
    parts = (
        b"railscribe/content-digest/v1",
        tenant.encode(),
        kind.encode(),
        text.encode("utf-8", "surrogatepass"),
    )
    return f"{_HMAC}:{hmac.new(key, frames(*parts), hashlib.sha256).hexdigest()}"


def key_of(body: str) -> str:
    """Return the digest of the key that the ciphertext *body* names; empty where it names none."""
    parts = body.split(":")
    return parts[1] if len(parts) == 3 and parts[0] == _CIPHER else ""


def decrypted(key: bytes, place: Place, body: str, *, truncated: bool) -> tuple[str, str] | None:
    """Return salt and text of the ciphertext *body*; ``None`` where it was not written there under *key*."""
    try:
        sealed = base64.b64decode(body.rpartition(":")[2], validate=True)
        bound = _bound(place, key_of(body), truncated=truncated)
        plain = AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], bound)
    except (InvalidTag, ValueError):
        return None
    salt, content = plain[:_SALT].hex(), plain[_SALT:]
    if place.kind == BYTES:
        return salt, base64.b64encode(content).decode("ascii")
    return salt, content.decode("utf-8", "surrogatepass")


def _bound(place: Place, key_digest: str, *, truncated: bool) -> bytes:
    """Return the associated data (rule 5)."""
    at = place.checked_at.astimezone(timezone.utc).isoformat(timespec="microseconds")
    told = (key_digest, at, place.record_id, place.kind, str(place.position), str(int(truncated)))
    return frames(b"railscribe/content/v1", *(part.encode() for part in told))
