"""Erasing what was said by or about a person; that it was, and how it was judged, stays provable.

Rules

1. All of it is one transaction: the entry, the deleting, the destroying of keys. What the entry does not name, the
   triggers do not let go.
2. Every content of the subject's records goes, in whatever form it was kept, with its salt; of every key the row
   is overwritten, then deleted.
3. The entry names the records by their ids and the subject by a salted commitment. The salt is handed out once and
   kept nowhere: with it and the subject's name anybody can tell whom the entry is about, without it nobody.
4. A subject is one tenant's. Where no tenant is named and several have such a subject, nothing is erased.
5. What was deleted may lie on in free space: SQLite overwrites it and its log is cut, PostgreSQL keeps dead rows
   until VACUUM. Neither reaches a backup.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from itertools import islice
from typing import Any

import sqlalchemy as sa

from railscribe.audit import tables
from railscribe.audit.commitments import commit, new_salt
from railscribe.audit.contents import Row, iso
from railscribe.audit.holds import refuse_held, take_turn
from railscribe.audit.rows import EntryKind, Rows, railscribe_version
from railscribe.audit.store import AuditStore
from railscribe.errors import UsageError

AT_ONCE = 10_000
"""Records that one entry names; a larger erasure has several entries, all of one transaction."""
_ERASING = "Erasing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """What an erasure came to, or would come to."""

    tenant: str
    records: int
    contents: int
    keys: int
    erasures: tuple[str, ...]
    """The ids of its entries; none of a dry run."""
    erased_at: datetime | None
    subject_commitment: str | None
    salt: str | None
    """Opens the commitment (rule 3). It is not kept."""
    left_over: str | None = None
    """What is to be done about free space, in words."""

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON would give it."""
        return {**asdict(self), "erased_at": self.erased_at and iso(self.erased_at)}


def subject_commitment(tenant: str, subject: str, salt: str) -> str:
    """Return how an erasure names *subject* (rule 3)."""
    return commit("subject", salt, json.dumps([tenant, subject], ensure_ascii=False))


def erase(
    store: AuditStore,
    *,
    subject: str,
    tenant: str | None = None,
    by: str,
    reason: str,
    dry_run: bool = False,
) -> Erased:
    """Erase the content of all records of *subject*.

    Raises:
        UsageError: there is no such subject, or it is several tenants'.
        HeldError: a legal hold forbids it.
        AuditError: it could not be made durable; nothing was erased.
    """
    with store.transaction(_ERASING, write=not dry_run) as connection:
        if not dry_run:
            take_turn(connection)
        tenant = _tenant_of(connection, subject, tenant)
        whose = [tables.records.c.tenant == tenant, tables.records.c.subject == subject]
        refuse_held(connection, tables.records, *whose)
        if dry_run:
            return _would(connection, tenant, subject, whose)
        return _Erasing(store, connection, tenant, subject, by, reason).run(whose)


@dataclass(frozen=True, slots=True)
class _Erasing:
    store: AuditStore
    connection: sa.Connection
    tenant: str
    subject: str
    by: str
    reason: str

    def run(self, whose: Sequence[sa.ColumnElement[bool]]) -> Erased:
        if self.connection.dialect.name == "sqlite":
            self.connection.exec_driver_sql("PRAGMA secure_delete=ON")
        at, salt = datetime.now(tz=timezone.utc), new_salt()
        named = subject_commitment(self.tenant, self.subject, salt)
        keys = _keys(self.connection, self.tenant, self.subject)
        records = iter(list(_records(self.connection, whose)))
        ids: list[str] = []
        counts = [0, 0]
        while (some := list(islice(records, AT_ONCE))) or not ids:
            erasure_id = str(uuid.uuid4())
            contents = _count_contents(self.connection, some)
            head: Row = {
                "id": erasure_id,
                "erased_at": at,
                "tenant": self.tenant,
                "subject_commitment": named,
                "erased_by": self.by,
                "reason": self.reason,
                "records": len(some),
                "contents": contents,
                "keys": 0 if ids else len(keys),
                "railscribe_version": railscribe_version(),
            }
            self._append(erasure_id, at, head, some, [] if ids else keys)
            self._delete(erasure_id)
            ids.append(erasure_id)
            counts = [counts[0] + len(some), counts[1] + contents]
        return Erased(
            tenant=self.tenant,
            records=counts[0],
            contents=counts[1],
            keys=len(keys),
            erasures=tuple(ids),
            erased_at=at,
            subject_commitment=named,
            salt=salt,
        )

    def _append(
        self, erasure_id: str, at: datetime, head: Row, records: Sequence[Row], keys: Sequence[str]
    ) -> None:
        own = {
            tables.erasures: [head],
            tables.erased_records: [{"erasure_id": erasure_id, **record} for record in records],
            tables.erased_keys: [{"erasure_id": erasure_id, "key_digest": key} for key in keys],
        }
        rows = Rows(kind=EntryKind.ERASURE, at=at, id=erasure_id, shared={}, own=own)
        self.store.insert(self.connection, rows)

    def _delete(self, erasure_id: str) -> None:
        """Delete what the entry *erasure_id* names (rules 1 and 2)."""
        named, keys = tables.erased_records.c, tables.subject_keys
        contents = tables.contents.c
        of_entry = sa.select(named.checked_at, named.record_id).where(named.erasure_id == erasure_id)
        self.connection.execute(
            sa.delete(tables.contents).where(sa.tuple_(contents.checked_at, contents.record_id).in_(of_entry))
        )
        erased = sa.select(tables.erased_keys.c.key_digest).where(
            tables.erased_keys.c.erasure_id == erasure_id
        )
        # Of the same length, so that it is written over the old where the database writes in place.
        nothing = sa.func.substr("0" * 4096, 1, sa.func.length(keys.c.wrapped))
        self.connection.execute(sa.update(keys).where(keys.c.digest.in_(erased)).values(wrapped=nothing))
        self.connection.execute(sa.delete(keys).where(keys.c.digest.in_(erased)))


def _tenant_of(connection: sa.Connection, subject: str, tenant: str | None) -> str:
    """Return whose subject is meant (rule 4)."""
    records, keys = tables.records.c, tables.subject_keys.c
    found = sa.union(
        sa.select(records.tenant).where(records.subject == subject),
        sa.select(keys.tenant).where(keys.subject == subject),
    )
    tenants = [tables.restored(name) for name in sorted(connection.execute(found).scalars())]
    if tenant is not None and tenant in tenants:
        return tenant
    if tenant is not None or not tenants:
        raise UsageError(
            "There is no record of this subject.", hint="Subjects are named as Identity.subject."
        )
    if len(tenants) > 1:
        raise UsageError(
            f"{len(tenants)} tenants have a subject of this name.",
            hint=f"Name one with --tenant: {', '.join(tenants)}.",
        )
    return tenants[0]


def _records(connection: sa.Connection, whose: Sequence[sa.ColumnElement[bool]]) -> Iterator[Row]:
    """Yield the records that an erasure is to name: those with content, and those that none names yet."""
    records, named, contents = tables.records.c, tables.erased_records.c, tables.contents.c
    is_named = sa.exists().where(named.record_id == records.id, named.checked_at == records.checked_at)
    has_content = sa.exists().where(
        contents.checked_at == records.checked_at, contents.record_id == records.id
    )
    query = sa.select(records.checked_at, records.id).where(*whose, sa.or_(~is_named, has_content))
    for row in connection.execute(query.order_by(records.checked_at, records.id)):
        yield {"checked_at": row.checked_at, "record_id": row.id}


def _keys(connection: sa.Connection, tenant: str, subject: str) -> list[str]:
    keys = tables.subject_keys.c
    query = sa.select(keys.digest).where(keys.tenant == tenant, keys.subject == subject)
    return sorted(connection.execute(query).scalars())


def _count_contents(connection: sa.Connection, records: Sequence[Row]) -> int:
    contents = tables.contents.c
    total = 0
    for start in range(0, len(records), 200):  # two parameters each: SQLite of old takes a thousand
        some = [(record["checked_at"], record["record_id"]) for record in records[start : start + 200]]
        wanted = sa.tuple_(contents.checked_at, contents.record_id).in_(some)
        total += connection.execute(sa.select(sa.func.count()).where(wanted)).scalar_one()
    return total


def _would(
    connection: sa.Connection, tenant: str, subject: str, whose: Sequence[sa.ColumnElement[bool]]
) -> Erased:
    records = list(_records(connection, whose))
    return Erased(
        tenant=tenant,
        records=len(records),
        contents=_count_contents(connection, records),
        keys=len(_keys(connection, tenant, subject)),
        erasures=(),
        erased_at=None,
        subject_commitment=None,
        salt=None,
    )
