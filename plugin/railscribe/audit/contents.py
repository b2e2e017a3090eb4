"""Content, which lies apart from evidence: collected for writing, and read back with what its commitment says.

``docs/privacy.md`` says what each form of content holds; ``forms`` makes them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from railscribe.audit import tables
from railscribe.audit.commitments import commit, new_salt, verify
from railscribe.audit.forms import PLAIN, Form, Kept, Place, Treatment, decrypted, key_of

Row = dict[str, Any]
FindKey = Callable[[str], "bytes | str"]
"""Gives the data key of a digest, or the state of what it would open: ``erased``, ``encrypted``, ``key_missing``."""
_KEPT = {False: "kept/", True: "cut/"}
"""Before the kind, in the commitment to what is kept: by whether that is but a beginning. No other flag is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """Rows of ``contents`` of one record by kind and position, opened as far as that goes."""

    rows: Mapping[tuple[str, int], Row]
    gone: str
    """What is said of one that is not there: ``erased`` where an erasure names the record, else ``missing``."""

    def get(self, kind: str, position: int = 0) -> Row | None:
        """Return the row at a place; ``None`` where there is none."""
        return self.rows.get((kind, position))


@dataclass(slots=True)
class Content:
    """Collects content beside the evidence about it."""

    key: Row
    keep_chars: int
    treatment: Treatment = PLAIN
    rows: list[Row] = field(default_factory=list)
    kept: list[Row] = field(default_factory=list)
    """Evidence of what is not kept as it is."""

    def add(self, kind: str, text: str | None, position: int = 0) -> str | None:
        """Keep *text* and return the commitment to it (rule 2)."""
        if text is None:
            return None
        salt = new_salt()
        place = Place(**self.key, kind=kind, position=position)
        self._add(place, self.treatment.keep(place, text, salt, self.keep_chars))
        return commit(kind, salt, text)

    def add_bytes(self, kind: str, data: bytes, position: int) -> None:
        """Keep *data* whole; something else vouches for it."""
        place = Place(**self.key, kind=kind, position=position)
        kept = self.treatment.keep_bytes(place, data)
        if kept is not None:
            self._add(place, kept)

    def _add(self, place: Place, kept: Kept) -> None:
        where = {**self.key, "kind": place.kind, "position": place.position}
        if kept.body is not None:
            told = {"salt": kept.salt, "body": kept.body, "truncated": kept.truncated}
            self.rows.append({**where, **told})
        if kept.form is not None:
            body = None if kept.body is None else tables.storable(kept.body)
            counts = kept.redactions
            self.kept.append(
                {
                    **where,
                    "form": kept.form.value,
                    "commitment": None
                    if body is None
                    else commit(_as_kept(place.kind, is_cut=kept.truncated), kept.salt, body),
                    "redactions": None if counts is None else json.dumps(counts, sort_keys=True),
                }
            )


def _as_kept(kind: str, *, is_cut: bool) -> str:
    return f"{_KEPT[is_cut]}{kind}"


def opened(row: Row | None, kept: Row | None, find_key: FindKey) -> Row | None:
    """Return *row* of ``contents`` as it reads, given its row of what is *kept*; ``None`` where nothing is there.

    ``state`` is set where the original's commitment does not settle it, and ``body`` is ``None`` where it is not to
    be read.
    """
    if kept is None:
        return row
    form = Form(kept["form"])
    counts = kept.get("redactions")
    told = {**(row or {}), "redactions": json.loads(counts) if counts else None}
    if form is Form.WITHHELD:
        return {**told, "body": None, "salt": None, "state": form.value}
    if row is None:
        return None
    if not verify(
        kept["commitment"], _as_kept(kept["kind"], is_cut=row["truncated"]), row["salt"], row["body"]
    ):
        is_text = form in (Form.REDACTED, Form.FULL)
        return {**told, "state": "altered"} | ({} if is_text else {"body": None})
    if form is Form.FULL:
        return {**row, "is_proven": True}
    if form is Form.REDACTED:
        return {**told, "state": form.value}
    if form is Form.DIGEST:
        return {**told, "state": form.value, "body": None, "digest": row["body"]}
    return _decrypted(told, find_key)


def _decrypted(row: Row, find_key: FindKey) -> Row:
    key = find_key(key_of(row["body"]))
    if isinstance(key, str):
        return {**row, "body": None, "salt": None, "state": key}
    place = Place(**{name: row[name] for name in ("checked_at", "record_id", "kind", "position")})
    found = decrypted(key, place, row["body"], truncated=row["truncated"])
    if found is None:
        return {**row, "body": None, "salt": None, "state": "altered"}
    salt, text = found
    return {**row, "salt": salt, "body": tables.storable(text), "is_proven": True}


def content_of(
    kind: str, chars: int | None, commitment: str | None, contents: Contents, position: int = 0
) -> Row | None:
    """Return one content with what its commitment says about it; ``None`` where there never was any."""
    if commitment is None:
        return None
    evidence = {"chars": chars, "commitment": commitment}
    content = contents.get(kind, position)
    state = contents.gone if content is None else state_of(kind, chars, commitment, content)
    if content is None:
        return {"text": None, "state": state, "salt": None, **evidence}
    evidence.update({name: content[name] for name in ("redactions", "digest") if content.get(name)})
    if "state" in content:
        return {"text": content["body"], "state": state, "salt": None, **evidence}
    return {"text": content["body"], "state": state, "salt": content["salt"], **evidence}


def state_of(kind: str, chars: int | None, commitment: str, content: Mapping[str, Any]) -> str:
    """Return what became of a content: ``intact``, ``truncated`` or ``altered``, or what was found out.

    ``unproven`` is a beginning that has no commitment of its own: so it was before there was a chain.
    """
    if "state" in content:
        return str(content["state"])
    text = tables.restored(content["body"])
    if content["truncated"]:  # the commitment is over the whole, which is not here
        if chars is not None and len(text) >= chars:
            return "altered"
        return "truncated" if content.get("is_proven") else "unproven"
    return "intact" if verify(commitment, kind, content["salt"], text) else "altered"


def iso(time: datetime) -> str:
    """Return *time* as ISO 8601, to the microsecond, in UTC."""
    return time.isoformat(timespec="microseconds").replace("+00:00", "Z")
