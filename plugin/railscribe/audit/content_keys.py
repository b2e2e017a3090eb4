"""The data keys that content is encrypted under, and the one key that wraps them.

    wrapper = LocalKeyFile.read(Path("content.key"))
    key = new_key(wrapper, tenant="acme", subject="user-42", record_id=None)

Rules

1. A data key is a subject's within a tenant, or one record's own where no subject is named. It lies in
   ``subject_keys``, wrapped, under the digest of how it is wrapped; ciphertext names it by that digest.
2. What wraps is a local key file (AES-256-GCM), or a KMS behind two functions. Whom the key is of is bound to it: as
   associated data, or as what a KMS calls context, so that no row opens for another subject.
3. A key that was made here lies in the database when the first record under it does: both are one transaction. One
   that was destroyed there is used no longer than ``TRUST_S``; then a new one is made, never the old one put back.
4. Where the database cannot be asked, a new key is made. So a subject may have several; erasing it destroys all.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from railscribe.audit.commitments import frames
from railscribe.audit.tables import storable
from railscribe.errors import AuditError, ContentKeyError, SettingsError

Row = dict[str, Any]
Context = Mapping[str, str]
Find = Callable[[str, "str | None", "str | None"], "Row | None"]
"""Finds the latest row of ``subject_keys`` for a tenant and a subject, or a record without one."""

TRUST_S = 1.0
"""Seconds for which a key that was there is taken to be there still."""
_REMEMBERED = 4096  # subjects
_LENGTH = 32  # bytes
_NONCE = 12  # bytes
_NEW = "Make one: railscribe audit content-key new FILE"


class KeyWrapper(Protocol):
    """Wraps data keys: a local file, or a KMS. Called on threads, several at a time."""

    name: str
    """Which key wraps; it is written down with what it wrapped."""

    def wrap(self, key: bytes, context: Context) -> bytes:
        """Return *key*, wrapped and bound to *context*."""

    def unwrap(self, wrapped: bytes, context: Context) -> bytes:
        """Return what :meth:`wrap` was given, where *context* is the same; raise whatever fits where it is not."""


@dataclass(frozen=True, slots=True)
class DataKey:
    """A key that content is encrypted under."""

    secret: bytes
    row: Row
    """Its row of ``subject_keys``."""
    lies_there: bool
    """Whether the database is known to hold the row."""

    @property
    def digest(self) -> str:
        return str(self.row["digest"])


class LocalKeyFile:
    """A key in a file of the operator's."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)
        told = hashlib.sha256(frames(b"railscribe/key-name/v1", key)).hexdigest()
        self.name = f"file:{told[:16]}"

    @classmethod
    def read(cls, path: Path) -> LocalKeyFile:
        """Return the key in *path*.

        Raises:
            SettingsError: it cannot be read, is open to others, or holds no key.
        """
        return cls(read_key_file(path))

    def wrap(self, key: bytes, context: Context) -> bytes:
        nonce = os.urandom(_NONCE)
        return nonce + self._cipher.encrypt(nonce, key, _frames_of(context))

    def unwrap(self, wrapped: bytes, context: Context) -> bytes:
        return self._cipher.decrypt(wrapped[:_NONCE], wrapped[_NONCE:], _frames_of(context))


def write_key_file(path: Path) -> None:
    """Make a new key in *path*, for its owner alone; durable when this returns.

    Raises:
        SettingsError: there is a file already, or none can be made there.
    """
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(_LENGTH) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise SettingsError(f"{path} is there already; a key is never overwritten.") from None
    except OSError as error:
        raise SettingsError(f"No key can be written to {path} ({type(error).__name__}).") from error


def read_key_file(path: Path) -> bytes:
    """Return the key in *path*, 64 hexadecimal digits.

    Raises:
        SettingsError: it cannot be read, is open to others, or holds no key.
    """
    try:
        if os.name == "posix" and path.stat().st_mode & 0o077:
            raise SettingsError(f"The key in {path} is open to others.", hint=f"Close it: chmod 600 {path}")
        key = bytes.fromhex(path.read_text("ascii").strip())
    except OSError as error:
        raise SettingsError(
            f"The key in {path} cannot be read ({type(error).__name__}).", hint=_NEW
        ) from error
    except ValueError:  # neither message may show what it holds
        key = b""
    if len(key) != _LENGTH:
        raise SettingsError(f"{path} holds no key of 64 hexadecimal digits.", hint=_NEW)
    return key


def new_key(wrapper: KeyWrapper, *, tenant: str, subject: str | None, record_id: str | None) -> DataKey:
    """Return a fresh data key, wrapped.

    Raises:
        ContentKeyError: it could not be wrapped.
    """
    secret = os.urandom(_LENGTH)
    owner = {"tenant": tenant, "subject": subject, "record_id": record_id}
    try:
        told = {name: None if value is None else storable(value) for name, value in owner.items()}
        wrapped = wrapper.wrap(secret, _context(told))
    except Exception as error:
        raise ContentKeyError(f"{wrapper.name} wrapped no key ({type(error).__name__}).") from error
    row: Row = {
        "digest": hashlib.sha256(wrapped).hexdigest(),
        **owner,
        "wrapped": base64.b64encode(wrapped).decode("ascii"),
        "wrapped_by": wrapper.name,
        "made_at": datetime.now(tz=timezone.utc),
    }
    return DataKey(secret, row, lies_there=False)


def unwrapped(wrapper: KeyWrapper, row: Row) -> bytes:
    """Return the data key of *row*.

    Raises:
        ContentKeyError: *wrapper* is not what wrapped it, or would not; or the row was altered.
    """
    if row["wrapped_by"] != wrapper.name:
        raise ContentKeyError(f"The key was wrapped by {row['wrapped_by']}, and {wrapper.name} is at hand.")
    try:
        return wrapper.unwrap(base64.b64decode(row["wrapped"], validate=True), _context(row))
    except InvalidTag as error:
        raise ContentKeyError("The wrapped key was altered, or is another subject's.") from error
    except Exception as error:
        raise ContentKeyError(f"{wrapper.name} unwrapped no key ({type(error).__name__}).") from error


class SubjectKeys:
    """The keys in use; safe to use from several threads."""

    def __init__(self, wrapper: KeyWrapper) -> None:
        self._wrapper = wrapper
        self._known: OrderedDict[tuple[str, str], tuple[DataKey, float]] = OrderedDict()
        self._lock = Lock()

    def of(self, *, tenant: str, subject: str | None, record_id: str, find: Find | None) -> DataKey:
        """Return the key for a record; *find* is left out where it is known that there can be none.

        Raises:
            ContentKeyError: it could not be wrapped or unwrapped.
        """
        if subject is None:
            return self._asked(find, tenant, None, record_id, None)
        with self._lock:
            known, until = self._known.get((tenant, subject), (None, 0.0))
        if known is None or time.monotonic() >= until:
            known = self._asked(find, tenant, subject, None, known)
            with self._lock:
                self._known[tenant, subject] = (known, time.monotonic() + TRUST_S)
                self._known.move_to_end((tenant, subject))
                while len(self._known) > _REMEMBERED:
                    self._known.popitem(last=False)
        return known

    def _asked(
        self,
        find: Find | None,
        tenant: str,
        subject: str | None,
        record_id: str | None,
        known: DataKey | None,
    ) -> DataKey:
        """Return the key that the database holds, or a new one (rules 3 and 4)."""
        try:
            row = find(tenant, subject, record_id) if find else None
        except AuditError:
            row = None
        if row is None or row["wrapped_by"] != self._wrapper.name:
            return new_key(self._wrapper, tenant=tenant, subject=subject, record_id=record_id)
        if known is not None and known.digest == row["digest"]:
            return replace(known, lies_there=True)
        return DataKey(unwrapped(self._wrapper, row), row, lies_there=True)


def _context(owner: Mapping[str, Any]) -> Context:
    return {name: owner[name] for name in ("tenant", "subject", "record_id") if owner[name] is not None}


def _frames_of(context: Context) -> bytes:
    told = [part.encode("utf-8", "surrogatepass") for item in sorted(context.items()) for part in item]
    return frames(b"railscribe/wrapped-key/v1", *told)
