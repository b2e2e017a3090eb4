"""The keys that checkpoints are signed with: Ed25519, in PEM files.

Rules

1. A private key lies in a file of mode 0600 (PKCS #8, without a passphrase) and nowhere else: not in the database,
   not in a log, not in an error.
2. A file that is there is never written over.
3. A key is made by itself only where no file was named and no chain has begun: a chain that is there has a key, and
   whoever has lost it must hear of it.
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from platformdirs import user_data_path

from railscribe.audit.chain.checkpoint import Checkpoint, key_id, signed_bytes
from railscribe.errors import SigningKeyError

NEW_KEY = "Make one: railscribe audit key new"
MANIFEST_DOMAIN = b"railscribe/bundle/v1\n"
_RAW = re.compile("[0-9a-f]{64}")


class KeyThereError(SigningKeyError):
    """There is a key already."""


def default_path() -> Path:
    """Return where the key lies when the settings name no file."""
    return user_data_path("railscribe") / "signing-key.pem"


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """A private key and the file it was read from."""

    path: Path
    public: bytes
    """The public key, 32 bytes."""
    _private: Ed25519PrivateKey = field(repr=False, compare=False)

    @property
    def id(self) -> str:
        """The key's name in checkpoints."""
        return key_id(self.public)

    def sign(self, body: str) -> Checkpoint:
        """Return the checkpoint with *body*."""
        return Checkpoint(body=body, signature=self._private.sign(signed_bytes(body)).hex())

    def sign_manifest(self, manifest: bytes) -> str:
        """Return the signature of an export's *manifest*, hex, which never passes for a checkpoint's."""
        return self._private.sign(MANIFEST_DOMAIN + manifest).hex()

    def public_pem(self) -> str:
        """Return the public key as a verifier takes it."""
        return (
            self._private.public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            .decode()
        )


def load(path: Path) -> SigningKey:
    """Return the private key in the file at *path*.

    Raises:
        SigningKeyError: there is none, or it is no Ed25519 key.
    """
    try:
        private = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except FileNotFoundError:
        raise SigningKeyError(f"There is no signing key at {path}.", hint=NEW_KEY) from None
    except OSError as error:
        raise SigningKeyError(
            f"The signing key at {path} cannot be read ({type(error).__name__})."
        ) from error
    except (ValueError, TypeError, UnsupportedAlgorithm):
        private = None  # and no cause: what the parser says may quote what it read
    if not isinstance(private, Ed25519PrivateKey):
        raise SigningKeyError(f"{path} holds no Ed25519 private key in PEM without a passphrase.")
    return SigningKey(path=path, public=_raw(private.public_key()), _private=private)


def create(path: Path) -> SigningKey:
    """Make a new key, kept in a file at *path* that must not be there yet (rules 1 and 2).

    Raises:
        SigningKeyError: there is one already, or the file cannot be written.
    """
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Beside its place and linked into it whole: of two that make it at once, one finds the other's.
        beside = path.with_name(f"{path.name}.{os.getpid()}.new")
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(beside, path)
        finally:
            beside.unlink()
    except FileExistsError:
        raise SigningKeyError(f"There is a file at {path} already, and keys are not written over.") from None
    except OSError as error:
        raise SigningKeyError(
            f"No signing key can be kept at {path} ({type(error).__name__}).",
            hint="Name another place: RAILSCRIBE_SIGNING_KEY.",
        ) from error
    return load(path)


def load_or_create(path: Path | None, *, signs: str | None) -> SigningKey:
    """Return the key at *path*, or at the default place, where it is made if no chain has begun (rule 3).

    *signs* is the id of the key that the chain is signed with, where there is one.

    Raises:
        SigningKeyError: there is none and none may be made, or the file holds none.
    """
    place = path or default_path()
    if path is None and signs is None and not place.exists():
        with contextlib.suppress(KeyThereError):  # somebody else just has
            return create(place)
    if signs is not None and not place.exists():
        raise SigningKeyError(
            f"The chain is signed with the key {signs}, and there is no key at {place}.",
            hint="Put it there, or name its place (RAILSCRIBE_SIGNING_KEY). If it is lost for good: "
            "railscribe audit key rotate --lost.",
        )
    return load(place)


def read_public(path: Path) -> bytes:
    """Return the public key in the file at *path*: PEM, or its 64 hex digits. A private key's file does, too.

    Raises:
        SigningKeyError: there is none, or it is none of Ed25519.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SigningKeyError(f"No public key can be read at {path} ({type(error).__name__}).") from error
    if b"PRIVATE KEY" in data:
        return load(path).public
    text = data.decode("ascii", "replace").strip().lower()
    if _RAW.fullmatch(text):
        return bytes.fromhex(text)
    try:
        public = serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        public = None
    if not isinstance(public, Ed25519PublicKey):
        raise SigningKeyError(f"{path} holds no Ed25519 public key.")
    return _raw(public)


def _raw(public: Ed25519PublicKey) -> bytes:
    return public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
