"""What verifying found, as values: failures that name their place, and what was checked at all.

Rules

1. Integrity is whether what is there is what was attested; content that is gone without an erasure that tells of it
   counts here, for its record is there and has lost a part. Completeness is whether what was attested is there, and
   nothing beside it. A failure belongs to one of the two; either makes the whole not ok.
2. What is told honestly is no failure: gaps on record, writers that have not ended, entries that no checkpoint
   seals yet, hours without one.
3. No more than ``LISTED`` failures are kept, however many there are; all are counted.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

LISTED = 1000
_ALWAYS = dict.fromkeys(("intact", "truncated", "erased", "altered")).keys()

COMPLETENESS = {
    "checkpoint_missing",
    "anchored_missing",
    "segment_missing",
    "segment_hole",
    "entry_missing",
    "gap_missing",
    "shared_missing",
}
"""The codes of failures that are about what is not there; all others are about what is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One thing that is not as it was attested."""

    code: str
    says: str
    place: dict[str, Any]
    """Which record, entry, segment or checkpoint."""

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON would give it."""
        return {"code": self.code, **self.place, "message": self.says}


@dataclass(slots=True, kw_only=True)
class Report:
    """All that verifying found."""

    failures: list[Failure] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    """How many failures by code."""
    checked: Counter[str] = field(default_factory=Counter)
    contents: Counter[str] = field(default_factory=Counter)
    """How many contents by state."""
    entries: Counter[str] = field(default_factory=Counter)
    """How many entries by kind."""
    trust: str = "database"
    """``given``: the caller's public keys; ``database``: the database's own."""
    keys: list[str] = field(default_factory=list)
    told: dict[str, Any] = field(default_factory=dict)
    """What completeness is told of (rule 2)."""

    def add(self, code: str, says: str, **place: Any) -> None:
        """Keep a failure (rule 3)."""
        self.failed[code] += 1
        if len(self.failures) < LISTED:
            named = {name: _printable(value) for name, value in place.items()}
            self.failures.append(Failure(code=code, says=says, place=named))

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not self.failed

    @property
    def records(self) -> int:
        """How many records are attested and were looked at."""
        return self.entries["record"]

    def as_json(self) -> dict[str, Any]:
        """Return it as ``railscribe audit verify --json`` gives it."""
        integrity = self._part(about_missing=False)
        completeness = self._part(about_missing=True)
        return {
            "ok": self.ok,
            "integrity": {
                **integrity,
                "trust": self.trust,
                "keys": self.keys,
                "checked": dict(sorted(self.checked.items())),
                "entries": dict(sorted(self.entries.items())),
                "contents": {
                    state: self.contents[state] for state in (*_ALWAYS, *sorted(set(self.contents) - _ALWAYS))
                },
            },
            "completeness": {**completeness, **self.told},
            "records": self.records,
        }

    def _part(self, *, about_missing: bool) -> dict[str, Any]:
        count = sum(number for code, number in self.failed.items() if (code in COMPLETENESS) is about_missing)
        listed = [
            failure.as_json() for failure in self.failures if (failure.code in COMPLETENESS) is about_missing
        ]
        return {"ok": not count, "failed": count, "failures": listed}


def _printable(value: Any) -> Any:
    """Return *value*, which may come from a forged column, as JSON can carry it."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return value if isinstance(value, int) else repr(value)
