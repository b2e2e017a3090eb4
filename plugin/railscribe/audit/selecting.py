"""Which rows an export takes, as SQL: of each table those that belong to the entries that were asked for.

Rules

1. A period, a tenant and a retention class choose records; what belongs to a record comes with it, whole.
2. What is no record's comes whole, too: an entry is attested as one, and half of it cannot be verified. With a tenant,
   what names another tenant stays out, and so do policies and engines that no record of this one was judged with.
3. The chain comes whole: its checkpoints hold hashes, and no names but those of writers and retention classes.
4. Content comes only where it is asked for; keys of subjects never do.
"""

# ruff: noqa: S608 - names of tables and columns, all of them ours
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from railscribe.audit import tables
from railscribe.audit.contents import iso
from railscribe.audit.evidence import KINDS, Kind, Part
from railscribe.audit.stored import time_for

CHAIN = (tables.signing_keys, tables.writers, tables.checkpoints, tables.segments)
SHARED = (tables.policies, tables.policy_texts, tables.engines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What was asked for."""

    since: datetime | None = None
    until: datetime | None = None
    """Up to and without."""
    tenant: str | None = None
    retention_class: str | None = None
    content: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether no entry is left out."""
        return (self.since, self.until, self.tenant, self.retention_class) == (None,) * 4

    def as_json(self) -> dict[str, Any]:
        return {
            "since": iso(self.since) if self.since else None,
            "until": iso(self.until) if self.until else None,
            "tenant": self.tenant,
            "class": self.retention_class,
            "content": self.content,
        }


@dataclass(frozen=True, slots=True)
class Rows:
    """FROM and on, for the rows ``t`` of a table, with its parameters; and what says whose they are."""

    sql: str
    parameters: list[Any]
    tenant: str | None = None
    """The SQL of the tenant, where the rows belong to records."""


class Selector:
    """Turns a selection into SQL for one database."""

    def __init__(self, selection: Selection, *, on_sqlite: bool) -> None:
        self.selection = selection
        self._on_sqlite = on_sqlite

    def tables(self) -> Iterator[tuple[sa.Table, Rows]]:
        """Yield every table that is exported, but for ``entries``, with its rows."""
        for table in CHAIN:
            yield table, Rows(f"FROM {table.name} t", [])
        for table in SHARED:
            yield table, self._shared(table)
        for kind in KINDS.values():
            for part in kind.parts:
                yield part.table, self._part(kind, part)
        if self.selection.content:
            yield tables.contents, self._of_record(tables.contents)

    def heads(self) -> Iterator[tuple[str, Kind, Rows]]:
        """Yield every kind of entry with the rows of its head that are exported."""
        for name, kind in KINDS.items():
            yield name, kind, self._head(kind.head.table)

    def _records(self, alias: str) -> tuple[str, list[Any]]:
        """Return the condition on records (rule 1)."""
        chosen = self.selection
        told: list[tuple[str, Any]] = []
        for operator, time in ((">=", chosen.since), ("<", chosen.until)):
            if time is not None:
                told.append(
                    (f"{alias}.checked_at {operator} ?", time_for(iso(time), on_sqlite=self._on_sqlite))
                )
        for column in ("tenant", "retention_class"):
            value = getattr(chosen, column)
            if value is not None:
                told.append((f"{alias}.{column} = ?", tables.storable(value)))
        return " AND ".join(["true", *(condition for condition, _ in told)]), [value for _, value in told]

    def _part(self, kind: Kind, part: Part) -> Rows:
        if part is kind.head:
            return self._head(part.table)
        # What an erasure or a prune names are records, but it belongs to the erasure (rule 2).
        if _is_of_record(part.table) and part.id == ("record_id",):
            return self._of_record(part.table)
        head = self._head(kind.head.table)
        ((ours,), (theirs,)) = kind.head.id, part.id
        chosen = f"SELECT t.{ours} {head.sql}"  # its own t
        return Rows(f"FROM {part.table.name} t WHERE t.{theirs} IN ({chosen})", head.parameters)

    def _head(self, table: sa.Table) -> Rows:
        if table is tables.records:
            condition, parameters = self._records("t")
            return Rows(f"FROM records t WHERE {condition}", parameters, "t.tenant")
        if _is_of_record(table):
            return self._of_record(table)
        if self.selection.tenant is None:
            return Rows(f"FROM {table.name} t", [])
        tenant = tables.storable(self.selection.tenant)
        if "tenant" in table.columns:
            return Rows(f"FROM {table.name} t WHERE coalesce(t.tenant, '') IN ('', ?)", [tenant])
        for column, of in (("policy_digest", self._policies), ("engine_digest", self._engines)):
            if column in table.columns:
                query, parameters = of()
                return Rows(f"FROM {table.name} t WHERE t.{column} IN ({query})", parameters)
        return Rows(f"FROM {table.name} t", [])

    def _of_record(self, table: sa.Table) -> Rows:
        condition, parameters = self._records("r")
        # A row may outlive its record, which may be pruned.
        joined = "LEFT JOIN" if self.selection.is_whole else "JOIN"
        sql = f"FROM {table.name} t {joined} records r ON r.checked_at = t.checked_at AND r.id = t.record_id"
        return Rows(f"{sql} WHERE {condition}", parameters, "coalesce(r.tenant, '')")

    def _shared(self, table: sa.Table) -> Rows:
        if self.selection.tenant is None:
            return Rows(f"FROM {table.name} t", [])
        of = {"policies": self._policies, "policy_texts": self._texts, "engines": self._engines}
        query, parameters = of[table.name]()
        return Rows(f"FROM {table.name} t WHERE t.digest IN ({query})", parameters)

    def _policies(self) -> tuple[str, list[Any]]:
        condition, parameters = self._records("r")
        moves = "FROM policy_moves m WHERE m.tenant IN ('', ?)"
        query = (
            f"SELECT r.policy_digest FROM records r WHERE {condition} UNION SELECT m.policy_digest {moves} "
            f"UNION SELECT m.previous_digest {moves} AND m.previous_digest IS NOT NULL"
        )
        tenant = tables.storable(self.selection.tenant or "")
        return query, [*parameters, tenant, tenant]

    def _texts(self) -> tuple[str, list[Any]]:
        condition, parameters = self._records("r")
        policies, more = self._policies()
        query = (
            f"SELECT r.policy_text_digest FROM records r WHERE {condition} UNION "
            f"SELECT g.policy_text_digest FROM policy_registrations g WHERE g.policy_digest IN ({policies})"
        )
        return query, [*parameters, *more]

    def _engines(self) -> tuple[str, list[Any]]:
        condition, parameters = self._records("r")
        return f"SELECT r.engine_digest FROM records r WHERE {condition}", parameters


def _is_of_record(table: sa.Table) -> bool:
    return {"checked_at", "record_id"} <= set(table.columns.keys())
