"""How a policy is named where one is chosen. Pure.

Rules

1. ``NAME@TAG`` is what the tag points to; where NAME has no such tag, it is the one policy of that name whose
   version is TAG. A tag begins with a letter; it may not be a version of the same policy.
2. Eight to sixty-four hex digits are the beginning of a digest.
3. Any other name that is no ready policy is short for ``NAME@prod``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from railscribe.errors import PolicyError, UsageError

DEFAULT_TAG = "prod"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_TAG = re.compile(r"[a-z][a-z0-9._-]{0,49}")
_DIGEST = re.compile(r"[0-9a-f]{8,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A policy in the registry: by name and tag or version, or by the beginning of its digest."""

    name: str = ""
    at: str = DEFAULT_TAG
    """The tag or the version."""
    digest: str | None = None

    def __str__(self) -> str:
        return self.digest or f"{self.name}@{self.at}"


def parse_reference(text: str) -> Reference | None:
    """Return what *text* names in the registry; ``None`` where it can name nothing there."""
    if is_digest(text):
        return Reference(digest=text.lower())
    name, separator, at = text.partition("@")
    if not _NAME.fullmatch(name) or (separator and not at):
        return None
    return Reference(name=name, at=at or DEFAULT_TAG)


def is_digest(text: str) -> bool:
    """Whether *text* is a digest, or enough of its beginning."""
    return _DIGEST.fullmatch(text.lower()) is not None


def tag_of(text: str) -> tuple[str, str]:
    """Return the name and the tag of *text*, ``NAME@TAG``.

    Raises:
        UsageError: it is not.
    """
    name, _, tag = text.partition("@")
    if not _NAME.fullmatch(name) or not _TAG.fullmatch(tag):
        raise UsageError(
            f"{text!r} names no tag.",
            hint="Write NAME@TAG, such as retail-bank@prod; a tag begins with a letter.",
        )
    return name, tag


def digest_of(text: str) -> str:
    """Return *text*, the beginning of a digest, in lower case.

    Raises:
        PolicyError: it is none.
    """
    if not is_digest(text):
        raise PolicyError(f"{text!r} is no digest.", hint="Give at least 8 of its hex digits.")
    return text.lower()
