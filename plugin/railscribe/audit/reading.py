"""From rows back to what a person or a program can read: JSON-able dictionaries.

Times are ISO 8601 in UTC, absent values ``None``, text is in its stored form (rule 5 of ``tables``).
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import sqlalchemy as sa

from railscribe.audit import tables
from railscribe.audit.contents import Contents, FindKey, Row, content_of, iso, opened
from railscribe.audit.pictures import read_image
from railscribe.audit.registrations import told_of
from railscribe.audit.rows import fingerprint
from railscribe.errors import AuditError
from railscribe.taxonomy import mlcommons_hazard
from railscribe.values import EngineInfo, Identity, Outcome, Probe, ProbeName, ProbeResult

_Mapping = Mapping[Any, Any]
_Place = tuple[str, int]

_checks = sa.table(
    "v_checks",
    sa.column("id"),
    sa.column("checked_at", tables.UtcDateTime()),
    *map(sa.column, ("tenant", "session", "request", "subject", "direction", "rail", "host")),
    *map(sa.column, ("outcome", "cause", "enforcement", "categories", "deciding_categories")),
    *map(sa.column, ("user_label", "user_score", "response_label", "response_score")),
    *map(sa.column, ("policy", "policy_version", "policy_digest", "engine", "model")),
    sa.column("trace_requested", sa.Boolean()),
    sa.column("trace_received", sa.Boolean()),
    *map(sa.column, ("image_use", "finish_reason", "total_ms")),
    *map(sa.column, ("adapter", "decoding", "piece_count", "reasoning")),
)
_reviews = sa.table(
    "v_reviews", sa.column("id"), sa.column("checked_at", tables.UtcDateTime()), sa.column("reason")
)
_AT_ONCE = 500  # ids in one question: SQLite's limit on parameters is a thousand in old builds


def list_records(
    connection: sa.Connection,
    *,
    limit: int,
    outcome: Outcome | None,
    tenant: str | None,
    since: datetime | None,
) -> list[Row]:
    """Return the newest *limit* records, flat and without content."""
    query = sa.select(_checks).order_by(_checks.c.checked_at.desc(), _checks.c.id.desc()).limit(limit)
    if outcome is not None:
        query = query.where(_checks.c.outcome == Outcome(outcome).value)
    if tenant is not None:
        query = query.where(_checks.c.tenant == tables.storable(tenant))
    if since is not None:
        query = query.where(_checks.c.checked_at >= since)
    found = connection.execute(query).mappings().all()
    rows = [_flat(row) for row in found]
    reviews = _reviews_of(connection, [(row["checked_at"], row["id"]) for row in found])
    return [{**row, "reviews": reviews.get(row["id"], [])} for row in rows]


def _reviews_of(connection: sa.Connection, keys: list[tuple[datetime, str]]) -> dict[str, list[str]]:
    """Return the reasons for review of the records at *keys*, by id."""
    reviews: dict[str, list[str]] = {}
    for start in range(0, len(keys), _AT_ONCE):
        times, ids = zip(*keys[start : start + _AT_ONCE], strict=True)
        # The time spares the months beside; what a view joins is spared them, too, where it is one time.
        at = _reviews.c.checked_at
        near = at == times[0] if len(times) == 1 else at.between(min(times), max(times))
        some = sa.select(_reviews.c.id, _reviews.c.reason).where(_reviews.c.id.in_(ids), near)
        for record_id, reason in connection.execute(some.order_by(_reviews.c.reason)):
            reviews.setdefault(record_id, []).append(reason)
    return reviews


def latest_probes(connection: sa.Connection, engine: EngineInfo, address: str | None) -> list[Probe]:
    """Return the latest probe of each name made of *engine* at *address*."""
    probes = tables.engine_probes.c
    query = (
        sa.select(tables.engine_probes)
        .where(probes.engine_digest == fingerprint(engine), probes.address.is_not_distinct_from(address))
        .order_by(probes.probed_at)
    )
    latest = {row["probe"]: row for row in connection.execute(query).mappings()}
    return [
        Probe(
            name=name,
            result=ProbeResult(latest[name.value]["result"]),
            detail=latest[name.value]["detail"],
            engine=engine,
            address=address,
            probed_at=latest[name.value]["probed_at"],
        )
        for name in ProbeName
        if name.value in latest
    ]


def find(connection: sa.Connection, beginning: str) -> list[tuple[datetime, str]]:
    """Return the keys of up to two records whose id begins with *beginning*."""
    records = tables.records.c
    query = (
        sa.select(records.checked_at, records.id)
        .where(records.id.startswith(beginning, autoescape=True))
        .limit(2)
    )
    if (near := _time_in(beginning)) is not None:  # with many months, asking one costs a part of asking all
        around = (records.checked_at >= near - _NEAR, records.checked_at <= near + _NEAR)
        if found := connection.execute(query.where(*around)).all():
            return [(row.checked_at, row.id) for row in found]
    return [(row.checked_at, row.id) for row in connection.execute(query)]


_NEAR = timedelta(days=1)


def _time_in(record_id: str) -> datetime | None:
    """Return about when a record was checked whose whole id this is, as ``recording.new_id`` makes it."""
    try:
        value = uuid.UUID(record_id)
        time = datetime.fromtimestamp((value.int >> 80) / 1000, tz=timezone.utc)
        return time if str(value) == record_id and value.version == 7 and 1970 < time.year < 9999 else None
    except (ValueError, OverflowError, OSError):
        return None


def whose(connection: sa.Connection, key: tuple[datetime, str]) -> tuple[Identity, str]:
    """Return of the record at *key*, which is there, on whose behalf it was made, and its policy's name.

    Raises:
        AuditError: it is not there.
    """
    records = tables.records.c
    query = sa.select(records.tenant, records.subject, tables.policies.c.name).select_from(
        tables.records.join(tables.policies)
    )
    row = connection.execute(query.where(records.checked_at == key[0], records.id == key[1])).first()
    if row is None:
        raise AuditError("There is no record that this belongs to.")
    subject = None if row.subject is None else tables.restored(row.subject)
    return Identity(tenant=tables.restored(row.tenant), subject=subject), tables.restored(row.name)


def whole(connection: sa.Connection, key: tuple[datetime, str], find_key: FindKey) -> Row:
    """Return everything that is known of the record at *key*; content as far as *find_key* opens it."""
    joined = (
        tables.records.join(tables.policies).join(tables.policy_texts).join(tables.engines)
    )  # joined along their foreign keys
    query = sa.select(tables.records, tables.policies, tables.policy_texts, tables.engines).select_from(
        joined
    )
    query = query.where(tables.records.c.checked_at == key[0], tables.records.c.id == key[1])
    row = connection.execute(query.set_label_style(sa.LABEL_STYLE_TABLENAME_PLUS_COL)).mappings().one()
    record = _of(row, tables.records)
    notes = list(_children(connection, tables.record_notes, key))
    categories = list(_children(connection, tables.record_categories, key))
    deciding = [category["name"] for category in categories if category["deciding"]]
    contents = _contents(connection, key, find_key)
    return {
        "id": record["id"],
        "checked_at": iso(record["checked_at"]),
        "identity": _pick(record, "tenant", "session", "request", "subject"),
        **_pick(record, "direction", "rail", "host", "retention_class", "content_mode", "railscribe_version"),
        "decision": {
            **_pick(record, "outcome", "cause", "rule"),
            "sides": record["decided_on"].split("+"),
        },
        "enforcement": record["enforcement"],
        "rollout": record["rollout"] or "enforce",
        **_pick(record, "repeats", "stream", "stream_part", "stream_final"),
        "verdict": _verdict(record, categories, notes),
        "policy": {
            **_policy(row),
            **told_of(connection, record["policy_digest"], record["checked_at"], deciding),
        },
        "engine": {**_of(row, tables.engines), "served_model": record["served_model"]},
        "requested": {"categories": record["categories_requested"], "trace": record["trace_requested"]},
        "trace_received": record["trace_received"],
        "reasoning": next((note["name"] for note in notes if note["kind"] == "reasoning"), "off"),
        "reviews": _reviews_of(connection, [key]).get(key[1], []),
        "review_decisions": [
            _review_decision(review) for review in _children(connection, tables.reviews, key)
        ],
        "neutralised": [note["name"] for note in notes if note["kind"] == "neutralised"],
        "image": _pick(record, "image_count", "image_use", "image_reader"),
        "images": [read_image(image, contents) for image in _children(connection, tables.record_images, key)],
        "pieces": [_piece(piece, contents) for piece in _children(connection, tables.record_pieces, key)],
        "completion": _pick(record, "finish_reason", "prompt_tokens", "completion_tokens"),
        "latency_ms": {stage: record[f"{stage}_ms"] for stage in ("render", "engine", "decide", "total")},
        "content": {
            kind: content_of(kind, record[f"{kind}_chars"], record[f"{kind}_commitment"], contents)
            for kind in ("user", "response", "image_text", "trace", "reply")
        },
        "late_trace": next(
            (_late_trace(late, contents) for late in _children(connection, tables.late_traces, key)), None
        ),
    }


def _contents(connection: sa.Connection, key: tuple[datetime, str], find_key: FindKey) -> Contents:
    """Return the contents of the record at *key* by their places, opened."""
    there = _by_place(connection, tables.contents, key)
    kept = _by_place(connection, tables.record_kept, key) | _by_place(connection, tables.late_kept, key)
    found = {place: opened(there.get(place), kept.get(place), find_key) for place in {**there, **kept}}
    rows = {place: content for place, content in found.items() if content is not None}
    return Contents(rows=rows, gone="erased" if _is_erased(connection, key) else "missing")


def _is_erased(connection: sa.Connection, key: tuple[datetime, str]) -> bool:
    named = tables.erased_records.c
    query = sa.select(named.erasure_id).where(named.checked_at == key[0], named.record_id == key[1])
    return connection.execute(query.limit(1)).first() is not None


def _by_place(connection: sa.Connection, table: sa.Table, key: tuple[datetime, str]) -> dict[_Place, Row]:
    return {(row["kind"], row["position"]): row for row in _children(connection, table, key)}


def _flat(row: _Mapping) -> Row:
    flat = dict(row)
    flat["checked_at"] = iso(flat["checked_at"])
    for name in ("categories", "deciding_categories"):
        flat[name] = (
            flat[name].split(", ") if flat[name] else []
        )  # the model separates names by commas, so none holds one
    return flat


def _of(row: _Mapping, table: sa.Table) -> Row:
    """Return the part of a joined *row* that came from *table*."""
    return {column.name: row[f"{table.name}_{column.name}"] for column in table.columns}


def _children(connection: sa.Connection, table: sa.Table, key: tuple[datetime, str]) -> list[Row]:
    query = (
        sa.select(table)
        .where(table.c.checked_at == key[0], table.c.record_id == key[1])
        .order_by(*table.primary_key)  # whose last column is the position, where there may be several
    )
    return [dict(row) for row in connection.execute(query).mappings()]


def _pick(row: _Mapping, *names: str) -> Row:
    return {name: row[name] for name in names}


def _sides(row: Row) -> Row:
    """Return what *row* says on each side; ``None`` where it says nothing."""
    sides = {
        side: {what: row[f"{side}_{what}"] for what in ("label", "score", "cause")}
        for side in ("user", "response")
    }
    return {side: said if said["label"] else None for side, said in sides.items()}


def _verdict(record: Row, categories: Iterable[Row], notes: Iterable[Row]) -> Row:
    return {
        **_sides(record),
        "categories": [
            {
                **_pick(category, "name", "said", "known", "deciding", "score"),
                "mlcommons_hazard": mlcommons_hazard(category["name"]),
            }
            for category in categories
        ],
        "notes": [note["name"] for note in notes if note["kind"] == "note"],
    }


def _policy(row: _Mapping) -> Row:
    policy = _of(row, tables.policies)
    return {
        **_pick(policy, "name", "version", "digest"),
        "mode": row["records_policy_mode"],
        "document": json.loads(policy["document"]),
        "text": row["policy_texts_text"],
        "text_digest": row["policy_texts_digest"],
    }


def _piece(piece: Row, contents: Contents) -> Row:
    return {
        "position": piece["position"],
        **{f"{side}_span": _span(piece, side) for side in ("user", "response")},
        "image_text_span": _span(piece, "image_text"),
        **_pick(piece, "image_position", "trace_requested", "deciding"),
        **_sides(piece),
        **_pick(piece, "finish_reason", "prompt_tokens", "completion_tokens", "engine_ms"),
        "reply": content_of(
            "piece_reply", piece["reply_chars"], piece["reply_commitment"], contents, piece["position"]
        ),
    }


def _span(piece: Row, side: str) -> list[int] | None:
    start = piece[f"{side}_from"]
    return None if start is None else [start, piece[f"{side}_to"]]


def _review_decision(review: Row) -> Row:
    """Return what one reviewer decided; the record that it is about stands around it."""
    told = _pick(review, "number", "decision", "reason", "reviewed_by", "reviewed_at", "answers", "outcome")
    return {**told, "reviewed_at": iso(told["reviewed_at"])}


def _late_trace(late: Row, contents: Contents) -> Row:
    return {
        "requested_at": iso(late["requested_at"]),
        "ended_at": iso(late["ended_at"]),
        **_pick(late, "state", "cause", "disagrees", "contradicts"),
        **_sides(late),
        **_pick(late, "finish_reason", "prompt_tokens", "completion_tokens", "engine_ms"),
        **{
            what: content_of(f"late_{what}", late[f"{what}_chars"], late[f"{what}_commitment"], contents)
            for what in ("trace", "reply")
        },
    }
