"""Checks the content of an entry against the commitments in its evidence.

Rules

1. Content that was erased is no failure: its commitment stays, and nobody can test a guess against it.
2. Content of which the beginning is kept cannot be proven; it must be shorter than what was committed to.
3. Content that no evidence commits to was put there by somebody else.
4. What is kept otherwise than as it was has a commitment of its own, which needs no key.
5. The bytes of a picture are vouched for by its digest, which is content itself.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from typing import Any

from railscribe.audit.contents import FindKey, opened, state_of
from railscribe.audit.findings import Report
from railscribe.audit.walking import Found

_Place = tuple[str, int]
_Commitment = tuple[int | None, str]
"""How many characters, where that is on record, and the commitment."""

_COMMITTING = (
    ("records", "", ("user", "response", "image_text", "trace", "reply")),
    ("record_images", "image_", ("perceptual", "text")),
    ("record_pieces", "piece_", ("reply",)),
    ("late_traces", "late_", ("trace", "reply")),
)
"""Columns that commit to content, by table: ``<name>_commitment`` to the content of kind ``<prefix><name>``."""


def check_contents(report: Report, one: Found, place: dict[str, Any], find_key: FindKey) -> None:
    """Check the contents of *one* against what its evidence commits to."""
    committed = dict(_committed(one))
    kept = {
        (row["kind"], row["position"]): row
        for table in ("record_kept", "late_kept")
        for row in one.rows.get(table, ())
    }
    left = _opened(one, kept, find_key) if kept else dict(one.contents)
    for (kind, position), (chars, commitment) in committed.items():
        content = left.pop((kind, position), None)
        try:
            state = state_of(kind, chars, commitment, content)
        except (TypeError, AttributeError):  # a body that is no text
            state = "altered"
        report.contents[state] += 1
        if state == "altered":
            _tell(report, "content_altered", "It is not what was committed to", kind, position, place)
    for (kind, position), content in left.items():
        if (kind, position) in kept:
            if content.get("state") == "altered":
                _tell(report, "content_altered", "It is not what was kept", kind, position, place)
        elif kind != "image_bytes":
            _tell(report, "content_beside", "No evidence commits to it", kind, position, place)
        elif not _are_its_bytes(one, position, content):
            _tell(report, "content_altered", "They are not the picture's", kind, position, place)


def _opened(
    one: Found, kept: dict[_Place, dict[str, Any]], find_key: FindKey
) -> dict[_Place, dict[str, Any]]:
    """Return the contents of *one* as far as they can be told without a key: what is kept has its own commitment."""
    found = {}
    for place in {**one.contents, **kept}:
        try:
            content = opened(one.contents.get(place), kept.get(place), find_key)
        except (TypeError, AttributeError, KeyError, ValueError):  # in no form that was ever stored
            content = {"body": None, "state": "altered"}
        if content is not None:
            found[place] = content
    return found


def _tell(report: Report, code: str, says: str, kind: str, position: int, place: dict[str, Any]) -> None:
    report.add(code, f"{says}: content {kind} {position}.", **place, content=kind, position=position)


def _committed(one: Found) -> Iterator[tuple[_Place, _Commitment]]:
    """Yield what the evidence of *one* commits to, by kind and position."""
    for table, prefix, names in _COMMITTING:
        for row in one.rows.get(table, ()):
            for name in names:
                if (commitment := row.get(f"{name}_commitment")) is not None:
                    place = (prefix + name, row.get("position", 0))
                    yield place, (row.get(f"{name}_chars"), commitment)
    for row in one.rows.get("record_images", ()):
        yield (row["kind"], row["position"]), (None, row["commitment"])


def _are_its_bytes(one: Found, position: int, content: dict[str, Any]) -> bool:
    """Return whether *content* has the digest that is kept beside it, where that is still there."""
    for row in one.rows.get("record_images", ()):
        if row["position"] == position:
            digest = one.contents.get((row["kind"], position))
            try:
                found = hashlib.sha256(base64.b64decode(content["body"], validate=True)).hexdigest()
            except (ValueError, TypeError):
                return False
            return digest is None or digest["body"] == found
    return False
