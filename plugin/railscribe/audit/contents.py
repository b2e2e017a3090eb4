"""Content, which lies apart from evidence: collected for writing, and read back with what its commitment says."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from railscribe.audit import tables
from railscribe.audit.commitments import commit, new_salt, verify

Row = dict[str, Any]
Contents = Mapping[tuple[str, int], Row]
"""Rows of ``contents`` by kind and position."""


@dataclass(slots=True)
class Content:
    """Collects content beside the evidence about it."""

    key: Row
    keep_chars: int
    rows: list[Row] = field(default_factory=list)

    def add(self, kind: str, text: str | None, position: int = 0) -> str | None:
        """Keep *text* and return the commitment to it (rule 2)."""
        if text is None:
            return None
        salt = new_salt()
        kept = {"salt": salt, "body": text[: self.keep_chars], "truncated": len(text) > self.keep_chars}
        self.rows.append({**self.key, "kind": kind, "position": position, **kept})
        return commit(kind, salt, text)

    def add_bytes(self, kind: str, data: bytes, position: int) -> None:
        """Keep *data* whole; something else vouches for it."""
        kept = {"salt": new_salt(), "body": base64.b64encode(data).decode("ascii"), "truncated": False}
        self.rows.append({**self.key, "kind": kind, "position": position, **kept})


def content_of(kind: str, chars: int | None, commitment: str | None, content: Row | None) -> Row | None:
    """Return one content with what its commitment says about it; ``None`` where there never was any."""
    if commitment is None:
        return None
    evidence = {"chars": chars, "commitment": commitment}
    state = state_of(kind, chars, commitment, content)
    if content is None:
        return {"text": None, "state": state, "salt": None, **evidence}
    return {"text": content["body"], "state": state, "salt": content["salt"], **evidence}


def state_of(kind: str, chars: int | None, commitment: str, content: Mapping[str, Any] | None) -> str:
    """Return what became of a content: ``intact``, ``truncated``, ``erased`` or ``altered``."""
    if content is None:
        return "erased"
    text = tables.restored(content["body"])
    if content["truncated"]:  # the commitment is over the whole, which is not here
        return "truncated" if chars is None or len(text) < chars else "altered"
    return "intact" if verify(commitment, kind, content["salt"], text) else "altered"


def iso(time: datetime) -> str:
    """Return *time* as ISO 8601, to the microsecond, in UTC."""
    return time.isoformat(timespec="microseconds").replace("+00:00", "Z")
