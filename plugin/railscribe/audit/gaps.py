"""What was not recorded: counted until something can be written again, then an entry of its own.

Rules

1. A gap says how many entries are missing, from when until when they were due, and why.
2. It is counted whether the decision was held back (``closed``) or let go (``open``), and the reason tells which.
3. One gap for each reason: an outage of an hour is one row and not ten thousand.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from enum import Enum

from railscribe.audit import tables
from railscribe.audit.contents import Row
from railscribe.audit.rows import EntryKind, Rows


class GapReason(str, Enum):
    """Why entries are missing. Stored as is; never renamed."""

    HELD_BACK = "held_back"
    """Neither database nor spool took them; their decisions were not released."""
    LET_GO = "let_go"
    """Neither took them, and ``on_audit_failure: open`` released their decisions."""
    REFUSED = "refused"
    """They lay in the spool, and the database refused them; they are in a file kept aside."""
    DAMAGED = "damaged"
    """They lay in the spool, and cannot be read any more."""
    CLOCK_WENT_BACK = "clock_went_back"
    """None is missing: the writer's clock was set back, so times repeat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """What is missing for one reason."""

    reason: GapReason
    missing: int
    since: datetime
    until: datetime
    detail: str
    """Of the first of them, in words, without content."""


class Gaps:
    """Those that no entry speaks of yet. Not for several threads."""

    def __init__(self) -> None:
        self._open: dict[GapReason, Gap] = {}

    def add(
        self,
        reason: GapReason,
        missing: int,
        detail: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> None:
        """Count *missing* more for *reason*; *detail* says of the first what happened."""
        now = datetime.now(timezone.utc)
        since, until = since or now, until or now
        before = self._open.get(reason)
        if before is None:
            found = Gap(reason=reason, missing=missing, since=since, until=until, detail=detail)
        else:
            found = replace(
                before,
                missing=before.missing + missing,
                since=min(before.since, since),
                until=max(before.until, until),
            )
        self._open[reason] = found

    @property
    def open(self) -> Sequence[Gap]:
        """Those that are to be written."""
        return tuple(self._open.values())

    def written(self, gaps: Sequence[Gap]) -> None:
        """Forget *gaps*, which an entry speaks of now."""
        for gap in gaps:
            self._open.pop(gap.reason, None)


def entry_of(gap: Gap, writer: str) -> Rows:
    """Return *gap* as the entry that the writer of that name appends."""
    at, name = datetime.now(timezone.utc), f"gap-{secrets.token_hex(8)}"
    row: Row = {
        "at": at,
        "id": name,
        "writer": writer,
        "count": gap.missing,
        "since": gap.since,
        "until": gap.until,
        "cause": gap.reason.value,
        "detail": gap.detail,
    }
    return Rows(kind=EntryKind.GAP, at=at, id=name, shared={}, own={tables.gaps: [row]})
