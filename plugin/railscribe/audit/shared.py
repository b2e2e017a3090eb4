"""Checks the rows that records share: each is addressed by its own digest, which is made anew.

Rules

1. A policy's digest is that of its document, and its name and version are the document's; a text's is that of the
   text; an engine's that of its fields (:func:`railscribe.audit.rows.fingerprint`).
2. What evidence names must be there. Their digests are kept in memory: there are as many as policies, texts and
   engines, not as many as records.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from railscribe.audit import tables
from railscribe.audit.evidence import Database
from railscribe.audit.findings import Report
from railscribe.audit.rows import fingerprint
from railscribe.values import EngineInfo

_NAMED_BY = {
    "policy_digest": "policies",
    "previous_digest": "policies",
    "policy_text_digest": "policy_texts",
    "engine_digest": "engines",
}


class Shared:
    """The shared rows of one database."""

    def __init__(self, database: Database, report: Report) -> None:
        self._report = report
        self._there: dict[str, set[str]] = {}
        for table, check in (
            (tables.policies, _policy),
            (tables.policy_texts, _text),
            (tables.engines, _engine),
        ):
            digests = self._there[table.name] = set()
            reader = database.reader(table)
            for values in database.stream(f"SELECT {reader.selection('t')} FROM {table.name} t"):  # noqa: S608
                row = reader.row(values)
                digests.add(row["digest"])
                report.checked["shared"] += 1
                if not check(row):
                    report.add(
                        "shared_altered",
                        f"It is not what its digest says, in {table.name}.",
                        table=table.name,
                        digest=row["digest"],
                    )
        self._missing: set[tuple[str, str]] = set()

    def refer(self, row: dict[str, Any], place: dict[str, Any]) -> None:
        """Check that the shared rows that *row* names are there."""
        for column, table in _NAMED_BY.items():
            digest = row.get(column)
            if (
                digest is not None
                and digest not in self._there[table]
                and (table, digest) not in self._missing
            ):
                self._missing.add((table, digest))
                self._report.add(
                    "shared_missing",
                    f"What it names in {table} is not there.",
                    **place,
                    table=table,
                    digest=digest,
                )

    def finish(self) -> None:
        """Forget them."""
        self._there.clear()


def _policy(row: dict[str, Any]) -> bool:
    document = tables.restored(row["document"])
    try:
        said = json.loads(document)
        same = (tables.storable(said["name"]), tables.storable(said["version"])) == (
            row["name"],
            row["version"],
        )
    except (ValueError, KeyError, TypeError):
        return False
    return same and _sha256(document) == str(row["digest"])


def _text(row: dict[str, Any]) -> bool:
    return _sha256(tables.restored(row["text"])) == str(row["digest"])


def _engine(row: dict[str, Any]) -> bool:
    fields = {name: tables.restored(value) for name, value in row.items() if name != "digest"}
    try:
        return fingerprint(EngineInfo(**fields)) == str(row["digest"])
    except TypeError:
        return False


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
