"""Keys lie in files of their own, are never written over, and never guessed."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from railscribe.audit import keys
from railscribe.audit.chain.checkpoint import is_signed, key_id
from railscribe.errors import SigningKeyError


def test_a_new_key(tmp_path: Path) -> None:
    """A key is its file's alone to read, signs, and is known by the beginning of its public key's hash."""
    made = keys.create(tmp_path / "deep" / "key.pem")
    read = keys.load(made.path)
    signed = read.sign('{"number":1}')

    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
    assert (read.public, read.id, len(read.id)) == (made.public, key_id(made.public), 16)
    assert is_signed(signed.body, signed.signature, made.public)
    assert not is_signed(signed.body, signed.signature.upper(), made.public)
    assert not is_signed(signed.body + " ", signed.signature, made.public)
    assert [path.name for path in made.path.parent.iterdir()] == ["key.pem"]


def test_no_key_is_written_over(tmp_path: Path) -> None:
    """A file that is there stays."""
    first = keys.create(tmp_path / "key.pem")

    with pytest.raises(SigningKeyError, match="not written over"):
        keys.create(first.path)

    assert keys.load(first.path).public == first.public
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("kind", ["pem", "hex", "private"])
def test_public_keys_are_read_in_three_forms(tmp_path: Path, kind: str) -> None:
    """A verifier may be given PEM, hex digits, or, on the machine itself, the private key's file."""
    made = keys.create(tmp_path / "key.pem")
    path = tmp_path / "public"
    path.write_text(
        {"pem": made.public_pem(), "hex": made.public.hex() + "\n", "private": made.path.read_text()}[kind]
    )

    assert keys.read_public(path) == made.public


def test_what_is_no_key(tmp_path: Path) -> None:
    """A missing file, another kind of key and no key at all are each named, without a word of what is in them."""
    other = tmp_path / "other.pem"
    private = generate_private_key(SECP256R1())
    other.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    words = tmp_path / "words"
    words.write_text("-----BEGIN PRIVATE KEY-----\nsecret\n")

    for path, said in (
        (tmp_path / "none", "There is no signing key"),
        (other, "no Ed25519"),
        (words, "no Ed25519"),
    ):
        with pytest.raises(SigningKeyError, match=said) as caught:
            keys.load(path)
        assert "secret" not in str(caught.value)
        with pytest.raises(SigningKeyError):
            keys.read_public(path)


def test_a_key_is_made_only_for_a_new_chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself a key is made in the default place, where no file was named and no chain has begun."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))

    with pytest.raises(SigningKeyError, match="there is no key at"):
        keys.load_or_create(None, signs="0123456789abcdef")
    with pytest.raises(SigningKeyError, match="audit key new"):
        keys.load_or_create(tmp_path / "named.pem", signs=None)
    made = keys.load_or_create(None, signs=None)

    assert made.path == keys.default_path()
    assert keys.load_or_create(None, signs=made.id).public == made.public


def test_a_private_key_is_not_shown(tmp_path: Path) -> None:
    """Neither the value's own words nor its public part give the private key away."""
    made = keys.create(tmp_path / "key.pem")

    assert "private" not in repr(made).lower()
    assert "PRIVATE" not in made.public_pem()
