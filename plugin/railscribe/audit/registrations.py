"""Registrations of policies as rows, and back to what a person or a program can read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from railscribe.audit import tables
from railscribe.audit.contents import Row, iso
from railscribe.audit.rows import EntryKind, Rows, railscribe_version
from railscribe.policy import render
from railscribe.policy.registration import Registration, belongs


def rows_of(registration: Registration, *, by: str, reason: str | None, at: datetime) -> tuple[str, Rows]:
    """Return the digest of *registration*, and its rows."""
    rendering = render(registration.policy)
    digest = registration.digest(railscribe_version())
    shared: dict[sa.Table, Row] = {
        tables.policies: {
            "digest": rendering.policy_digest,
            "name": rendering.policy_name,
            "version": rendering.policy_version,
            "document": rendering.document,
        },
        tables.policy_texts: {"digest": rendering.text_digest, "text": rendering.text},
    }
    head: Row = {
        "digest": digest,
        "policy_digest": rendering.policy_digest,
        "policy_text_digest": rendering.text_digest,
        "policy_mode": rendering.mode.value,
        "registered_at": at,
        "registered_by": by,
        "reason": reason or None,
        "compiler": registration.compiler,
        "railscribe_version": railscribe_version(),
    }
    sources = [
        {"file": source.file, "digest": source.digest, "body": source.text} for source in registration.sources
    ]
    clauses = [
        {
            "kind": clause.kind,
            "text": clause.text,
            **{name: getattr(clause.source, name, None) for name in ("file", "line", "construct")},
        }
        for clause in registration.clauses
    ]
    diagnostics = [
        {
            **{name: getattr(found, name) for name in ("code", "message", "file", "line", "hint")},
            "severity": found.severity.value,
        }
        for found in registration.diagnostics
    ]
    allowances = [{"allowance": allowance} for allowance in registration.allowances]
    own = {
        tables.policy_registrations: [head],
        tables.policy_sources: _numbered(digest, sources),
        tables.policy_clauses: _numbered(digest, clauses),
        tables.policy_diagnostics: _numbered(digest, diagnostics),
        tables.policy_allowances: _numbered(digest, allowances),
    }
    rows = Rows(kind=EntryKind.POLICY_REGISTRATION, at=at, id=digest, shared=shared, own=own)
    return digest, rows


def _numbered(digest: str, rows: Iterable[Row]) -> list[Row]:
    return [{"registration_digest": digest, "position": position, **row} for position, row in enumerate(rows)]


def whole(connection: sa.Connection, policy_digest: str) -> list[dict[str, Any]]:
    """Return how the policy *policy_digest* was registered, each time, oldest first, JSON-able."""
    registered = tables.policy_registrations
    query = (
        sa.select(registered, tables.policy_texts.c.text)
        .join(tables.policy_texts)
        .where(registered.c.policy_digest == policy_digest)
        .order_by(registered.c.registered_at, registered.c.digest)
    )
    return [_whole(connection, dict(row)) for row in connection.execute(query).mappings()]


def _whole(connection: sa.Connection, row: Row) -> dict[str, Any]:
    digest = row["digest"]
    return {
        "digest": digest,
        "registered_at": iso(row["registered_at"]),
        **{name: row[name] for name in ("registered_by", "reason", "compiler", "railscribe_version")},
        "mode": row["policy_mode"],
        "text": tables.restored(row["text"]),
        "sources": _children(connection, tables.policy_sources, digest),
        "clauses": [_clause(clause) for clause in _children(connection, tables.policy_clauses, digest)],
        "diagnostics": _children(connection, tables.policy_diagnostics, digest),
        "allowances": [
            child["allowance"] for child in _children(connection, tables.policy_allowances, digest)
        ],
    }


def _children(connection: sa.Connection, table: sa.Table, digest: str) -> list[Row]:
    query = sa.select(table).where(table.c.registration_digest == digest).order_by(table.c.position)
    hidden = ("registration_digest", "position")
    return [
        {name: value for name, value in row.items() if name not in hidden}
        for row in connection.execute(query).mappings()
    ]


def _clause(row: Row) -> Row:
    source = {name: row[name] for name in ("file", "line", "construct")} if row["file"] else None
    return {"kind": row["kind"], "text": row["text"], "source": source}


def listed(connection: sa.Connection, tags: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return every policy of the store with *tags*, those of the same name together, the latest first."""
    policies, registered = tables.policies, tables.policy_registrations
    first = (
        sa.select(registered.c.policy_digest, sa.func.min(registered.c.registered_at).label("registered_at"))
        .group_by(registered.c.policy_digest)
        .subquery()
    )
    query = sa.select(
        policies.c.name,
        policies.c.version,
        policies.c.digest,
        first.c.registered_at,
    ).select_from(policies.outerjoin(first, first.c.policy_digest == policies.c.digest))
    rows = [dict(row) for row in connection.execute(query).mappings()]
    # Stable: the latest first, within each name.
    rows.sort(
        key=lambda row: (iso(row["registered_at"]) if row["registered_at"] else "", row["digest"]),
        reverse=True,
    )
    rows.sort(key=lambda row: str(row["name"]))
    return [
        {
            **row,
            "registered_at": iso(row["registered_at"]) if row["registered_at"] else None,
            "tags": [
                {"tag": tag["tag"], "tenant": tag["tenant"]}
                for tag in tags
                if tag["policy_digest"] == row["digest"]
            ],
        }
        for row in rows
    ]


def told_of(connection: sa.Connection, digest: str, at: datetime, names: Sequence[str]) -> dict[str, Any]:
    """Return what the registry knew at *at* of the policy *digest*: tags, and where *names* stand in its source."""
    registered = tables.policy_registrations
    query = (
        sa.select(registered)
        .where(registered.c.policy_digest == digest)
        .order_by(registered.c.registered_at, registered.c.digest)
    )
    rows = [dict(row) for row in connection.execute(query).mappings()]
    # The latest of those that were there at the time, or else the first that came after it: the policy is the same.
    before = [row for row in rows if row["registered_at"] <= at]
    chosen = next(iter((*reversed(before), *rows)), None)
    return {
        "tags": _tags_at(connection, digest, at),
        "registration": None
        if chosen is None
        else {
            "digest": chosen["digest"],
            "registered_at": iso(chosen["registered_at"]),
            **{name: chosen[name] for name in ("registered_by", "compiler", "railscribe_version")},
        },
        "deciding_clauses": [] if chosen is None else _deciding(connection, chosen["digest"], names),
    }


def _tags_at(connection: sa.Connection, digest: str, at: datetime) -> list[str]:
    moves, later = tables.policy_moves, tables.policy_moves.alias()
    same = [moves.c[name] == later.c[name] for name in ("name", "tag", "tenant")]
    newer = sa.exists().where(*same, later.c.number > moves.c.number, later.c.moved_at <= at)
    query = (
        sa.select(moves.c.name, moves.c.tag, moves.c.tenant)
        .where(moves.c.policy_digest == digest, moves.c.moved_at <= at, ~newer)
        .order_by(moves.c.name, moves.c.tag, moves.c.tenant)
    )
    return [
        f"{row.name}@{row.tag}" + (f" ({row.tenant})" if row.tenant else "")
        for row in connection.execute(query)
    ]


def _deciding(connection: sa.Connection, registration: str, names: Sequence[str]) -> list[Row]:
    """Return the clauses that *names*, categories that decided, belong to."""
    clauses = [_clause(clause) for clause in _children(connection, tables.policy_clauses, registration)]
    return [
        clause for clause in clauses if any(belongs(name, clause["kind"], clause["text"]) for name in names)
    ]
