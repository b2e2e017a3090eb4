"""The commitments that evidence carries in the place of content."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest

from railscribe.audit.commitments import commit, new_salt, verify

SALT = "00112233445566778899aabbccddeeff"


def test_golden_bytes() -> None:
    """The rule for the bytes is a promise to strangers: this digest was made by the rule's text alone."""
    frames = b"".join(
        len(part).to_bytes(8, "big") + part
        for part in (b"railscribe/commitment/v1", b"user", bytes.fromhex(SALT), "Grüße".encode())
    )

    assert commit("user", SALT, "Grüße") == hashlib.sha256(frames).hexdigest()
    assert commit("user", SALT, "Grüße") == "3c7882d50909ed07834c056cba7fc74beddc6236be2b4fe595e0fa14442a8063"


@pytest.mark.parametrize(
    ("kind", "salt", "content"),
    [
        pytest.param("response", SALT, "text", id="kind"),
        pytest.param("user", SALT[:-1] + "e", "text", id="salt"),
        pytest.param("user", SALT, "text ", id="content"),
        pytest.param("usert", SALT, "ext", id="border"),
    ],
)
def test_every_part_counts(kind: str, salt: str, content: str) -> None:
    """Another kind, salt or content, or the same bytes cut elsewhere, is another commitment."""
    assert commit(kind, salt, content) != commit("user", SALT, "text")


def test_salts_hide_equal_content() -> None:
    """The same content twice gives two commitments, so neither tells of the other."""
    one, two = new_salt(), new_salt()

    assert commit("user", one, "yes") != commit("user", two, "yes")
    assert verify(commit("user", one, "yes"), "user", one, "yes")


@pytest.mark.parametrize(
    "content", ["", "\x00", "\ud800 alone", "\U0001f52a" * 1000], ids=["empty", "nul", "surrogate", "long"]
)
def test_any_text_can_be_committed_to(content: str) -> None:
    """No string is outside the rule, well-formed or not."""
    assert verify(commit("reply", SALT, content), "reply", SALT, content)


def test_a_damaged_salt_verifies_nothing() -> None:
    """A salt that is no hex is a failed verification, not a crash."""
    assert not verify(commit("user", SALT, "text"), "user", "spoiled", "text")


@pytest.mark.parametrize("change", [str.upper, lambda salt: f"{salt[:2]} {salt[2:]}"])
def test_a_salt_has_one_form(change: Callable[[str], str]) -> None:
    """A salt that stands for the same bytes in other letters was changed by somebody, and does not pass."""
    salt = "ab" * 16
    commitment = commit("user", salt, "Hello?")

    assert verify(commitment, "user", salt, "Hello?")
    assert not verify(commitment, "user", change(salt), "Hello?")
