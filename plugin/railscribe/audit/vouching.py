"""Checks the content of an entry against the commitments in its evidence.

Rules

1. Content that was erased is no failure: its commitment stays, and nobody can test a guess against it. Content is
   erased where an erasure names its record, missing where none does.
2. Content that no evidence commits to was put there by somebody else.
3. What is kept otherwise than whole and as it was has a commitment of its own, which needs no key.
4. What is from before the chain has no such commitment: of a text of which the beginning was kept only the length
   can be held against it, and the bytes of a picture are vouched for by its digest, which is content itself.
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
_Commitment = tuple[int | None, str, str]
"""How many characters, where that is on record, the commitment, and the column that holds it."""

_COMMITTING = (
    ("records", "", ("user", "response", "image_text", "trace", "reply")),
    ("record_images", "image_", ("perceptual", "text")),
    ("record_pieces", "piece_", ("reply",)),
    ("late_traces", "late_", ("trace", "reply")),
)
"""Columns that commit to content, by table: ``<name>_commitment`` to the content of kind ``<prefix><name>``."""

_FAILURES = {
    "altered": "is not what was committed to",
    "missing": "is not there, and no erasure tells of it",
    "key_missing": "lies under a key that is not there as it was, and no erasure tells of it",
    "unproven": "says that it is but a beginning, and nothing commits to that",
    "beside": "is what no evidence commits to",
}


def check_contents(
    report: Report, one: Found, place: dict[str, Any], find_key: FindKey, *, gone: str, is_adopted: bool
) -> None:
    """Check the contents of *one* against what its evidence commits to; what is not there is *gone* (rule 1)."""
    gone = "erased" if one.is_erased else gone
    committed = dict(_committed(one))
    kept = {
        (row["kind"], row["position"]): (table, row)
        for table in ("record_kept", "late_kept")
        for row in one.rows.get(table, ())
    }
    left = (
        _opened(one, {where: row for where, (_, row) in kept.items()}, find_key)
        if kept
        else dict(one.contents)
    )
    for where, (chars, commitment, column) in committed.items():
        state = _state(where[0], chars, commitment, left.pop(where, None), gone)
        report.contents[state] += 1
        if state in _FAILURES and not (state == "unproven" and is_adopted):
            _tell(report, state, where, {**place, "column": column})
    for where, (table, _) in kept.items():
        if where not in committed:
            content = left.pop(where, None)
            state = gone if content is None else str(content.get("state"))
            if state in _FAILURES:
                _tell(report, state, where, {**place, "column": f"{table}.commitment"})
    for where, content in left.items():
        if not is_adopted or where[0] != "image_bytes":
            _tell(report, "beside", where, place)
        elif not _are_its_bytes(one, where[1], content):
            _tell(report, "altered", where, {**place, "column": "record_images.commitment"})


def _state(kind: str, chars: int | None, commitment: str, content: dict[str, Any] | None, gone: str) -> str:
    if content is None:
        return gone
    try:
        return state_of(kind, chars, commitment, content)
    except (TypeError, AttributeError):  # a body that is no text
        return "altered"


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


def _tell(report: Report, state: str, where: _Place, place: dict[str, Any]) -> None:
    kind, position = where
    column = f" ({place['column']})" if "column" in place else ""
    says = f"Content {kind} {position}{column} {_FAILURES[state]}."
    report.add(f"content_{state}", says, **place, content=kind, position=position)


def _committed(one: Found) -> Iterator[tuple[_Place, _Commitment]]:
    """Yield what the evidence of *one* commits to, by kind and position."""
    for table, prefix, names in _COMMITTING:
        for row in one.rows.get(table, ()):
            for name in names:
                if (commitment := row.get(f"{name}_commitment")) is not None:
                    where = (prefix + name, row.get("position", 0))
                    yield where, (row.get(f"{name}_chars"), commitment, f"{table}.{name}_commitment")
    for row in one.rows.get("record_images", ()):
        yield (row["kind"], row["position"]), (None, row["commitment"], "record_images.commitment")


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
