"""From values to the rows that keep them: evidence, and the content it commits to. Pure but for fresh salts.

Rules

1. Evidence carries lengths and commitments, never text, response, trace, reply or what was read in a picture.
2. A commitment is over the whole content, also where only its beginning is kept.
3. A picture is content by its digest, or by its address where it came as one. Its bytes are kept only where the
   store is told to, once for all frames of a file, as base64; the digest vouches for them.
4. The model's own words for categories are verdict, not content; they are cut at 200 characters, which no
   policy's names reach.
5. A digest of a shared row leaves out fields that came later and are not set, so that no older one changes.
6. A category that decided by its score although the model did not name it is listed after those it named, and
   ``said`` is empty.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import Enum
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version

import sqlalchemy as sa

from railscribe.audit import tables
from railscribe.audit.contents import Content, Row
from railscribe.audit.forms import PLAIN, Treatment
from railscribe.audit.pictures import image_rows
from railscribe.values import (
    Category,
    Completion,
    EngineInfo,
    LateTrace,
    Piece,
    Probe,
    Reasoning,
    Record,
    SideVerdict,
    Verdict,
)

_LONGEST_NAME = 200  # characters
_ADDED_TO_ENGINES = ("adapter", "decoding")  # by revision 0002


class EntryKind(str, Enum):
    """What is appended as one: whole or not at all, and attested by one leaf."""

    RECORD = "record"
    LATE_TRACE = "late_trace"
    PROBE = "probe"
    POLICY_REGISTRATION = "policy_registration"
    POLICY_MOVE = "policy_move"
    REVIEW = "review"
    ERASURE = "erasure"
    HOLD = "hold"
    HOLD_RELEASE = "hold_release"
    PRUNE = "prune"
    GAP = "gap"


OPERATIONS = "operations"
"""The retention class of all that is no record and belongs to none. It is never pruned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What one value becomes, in the order in which it must be inserted: one entry of the store."""

    kind: EntryKind
    at: datetime
    """With *id* the key under which its evidence is found again."""
    id: str
    shared: dict[sa.Table, Row]
    """Rows kept once by digest, whichever record came first."""
    own: dict[sa.Table, list[Row]]
    retention_class: str = OPERATIONS


def rows_of(
    record: Record,
    *,
    retention_class: str,
    keep_chars: int,
    keep_images: bool = False,
    treatment: Treatment = PLAIN,
) -> Rows:
    """Return the rows of *record*; of each text *treatment* keeps what it does, the first *keep_chars* characters."""
    key: Row = {"checked_at": record.checked_at, "record_id": record.id}
    content = Content(key, keep_chars, treatment)
    images = list(image_rows(record, key, content, keep_images=keep_images))
    rendering = record.rendering
    engine_digest = fingerprint(record.engine)
    shared: dict[sa.Table, Row] = {
        tables.policies: {
            "digest": rendering.policy_digest,
            "name": rendering.policy_name,
            "version": rendering.policy_version,
            "document": rendering.document,
        },
        tables.policy_texts: {"digest": rendering.text_digest, "text": rendering.text},
        tables.engines: {"digest": engine_digest, **asdict(record.engine)},
        **_key(treatment),
    }
    evidence: Row = {
        "checked_at": record.checked_at,
        "id": record.id,
        **{name: getattr(record.identity, name) for name in ("tenant", "session", "request", "subject")},
        "retention_class": retention_class,
        "content_mode": treatment.mode.value,
        "railscribe_version": railscribe_version(),
        "direction": record.direction.value,
        "rail": record.rail,
        "host": record.host,
        "policy_digest": rendering.policy_digest,
        "policy_text_digest": rendering.text_digest,
        "policy_mode": rendering.mode.value,
        "engine_digest": engine_digest,
        **_exchange(record, images, content),
        **_verdict(record, content),
        **_decision(record),
    }
    own = {
        tables.records: [evidence],
        tables.record_categories: list(_categories(record, key)),
        tables.record_notes: list(_notes(record, key)),
        tables.record_images: images,
        tables.record_pieces: [
            _piece(piece, place, key, content) for place, piece in enumerate(record.pieces)
        ],
        tables.record_kept: content.kept,
        tables.contents: content.rows,
    }
    return Rows(
        kind=EntryKind.RECORD,
        at=record.checked_at,
        id=record.id,
        shared=shared,
        own=own,
        retention_class=retention_class,
    )


def late_rows(
    late: LateTrace, *, retention_class: str, keep_chars: int, treatment: Treatment = PLAIN
) -> Rows:
    """Return the rows of *late*, which lie beside those of its record, under its *retention_class*."""
    key: Row = {"checked_at": late.checked_at, "record_id": late.record_id}
    content = Content(key, keep_chars, treatment)
    trace, reply = (getattr(late.verdict, what, None) for what in ("trace", "reply"))
    evidence: Row = {
        **key,
        "requested_at": late.requested_at,
        "ended_at": late.ended_at,
        "state": late.state.value,
        "cause": late.cause.value if late.cause else None,
        **_said(late.verdict),
        "disagrees": late.disagrees,
        "contradicts": late.contradicts,
        **_ended(late.completion),
        "engine_ms": late.engine_ms,
        "trace_chars": _length(trace),
        "trace_commitment": content.add("late_trace", trace),
        "reply_chars": _length(reply),
        "reply_commitment": content.add("late_reply", reply),
    }
    return Rows(
        kind=EntryKind.LATE_TRACE,
        at=late.checked_at,
        id=late.record_id,
        shared=_key(treatment),
        own={
            tables.late_traces: [evidence],
            tables.late_kept: content.kept,
            tables.contents: content.rows,
        },
        retention_class=retention_class,
    )


def _key(treatment: Treatment) -> dict[sa.Table, Row]:
    """Return the row of the key that content is encrypted under, where the database may not have it yet."""
    return {tables.subject_keys: dict(treatment.key_row)} if treatment.key_row else {}


def probe_rows(probe: Probe) -> Rows:
    """Return the rows of *probe*: its own, and its engine's."""
    digest = fingerprint(probe.engine)
    evidence: Row = {
        "probed_at": probe.probed_at,
        "engine_digest": digest,
        "probe": probe.name.value,
        "address": probe.address,
        "result": probe.result.value,
        "detail": probe.detail,
        "railscribe_version": railscribe_version(),
    }
    shared: dict[sa.Table, Row] = {tables.engines: {"digest": digest, **asdict(probe.engine)}}
    return Rows(
        kind=EntryKind.PROBE,
        at=probe.probed_at,
        id=id_of([digest, probe.name.value]),
        shared=shared,
        own={tables.engine_probes: [evidence]},
    )


def id_of(values: Sequence[str | int]) -> str:
    """Return the id of an entry whose evidence has *values* for its key: a JSON list of them, as they are stored."""
    return json.dumps([tables.storable(value) if isinstance(value, str) else value for value in values])


def fingerprint(engine: EngineInfo) -> str:
    """Return the digest that *engine* is stored under: of its fields as JSON, sorted keys, no white space (rule 5)."""
    fields = asdict(engine)
    told = {
        name: value for name, value in fields.items() if value is not None or name not in _ADDED_TO_ENGINES
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _exchange(record: Record, images: Sequence[Row], content: Content) -> Row:
    exchange, reading = record.exchange, record.image
    first = images[0] if images else {"text_chars": None, "text_commitment": None}
    return {
        "user_chars": len(exchange.user),
        "user_commitment": content.add("user", exchange.user),
        "response_chars": _length(exchange.response),
        "response_commitment": content.add("response", exchange.response),
        "image_count": len(exchange.images),
        "image_use": reading.use.value if reading else None,
        "image_reader": reading.reader if reading else None,
        # The first picture's alone: each has its own row.
        "image_text_chars": first["text_chars"],
        "image_text_commitment": first["text_commitment"],
    }


def _verdict(record: Record, content: Content) -> Row:
    verdict, completion = record.verdict, record.completion
    return {
        "categories_requested": record.flags.categories,
        "trace_requested": record.flags.thinking,
        "trace_received": verdict.trace is not None,
        "trace_chars": _length(verdict.trace),
        "trace_commitment": content.add("trace", verdict.trace),
        "reply_chars": _length(verdict.reply),
        "reply_commitment": content.add("reply", verdict.reply),
        "served_model": completion.served_model if completion else None,
        **_ended(completion),
        **_said(verdict),
    }


def _said(verdict: Verdict | None) -> Row:
    """Return the columns of what one reply said, by side."""
    said: Row = {}
    for name in ("user", "response"):
        side: SideVerdict | None = getattr(verdict, name, None)
        said[f"{name}_label"] = side.label.value if side else None
        said[f"{name}_score"] = side.score if side else None
        said[f"{name}_cause"] = side.cause.value if side and side.cause else None
    return said


def _ended(completion: Completion | None) -> Row:
    """Return the columns of how one reply ended."""
    return {
        name: getattr(completion, name, None)
        for name in ("finish_reason", "prompt_tokens", "completion_tokens")
    }


def _decision(record: Record) -> Row:
    decision, latency = record.decision, record.latency_ms
    return {
        "outcome": decision.outcome.value,
        "cause": decision.cause.value if decision.cause else None,
        "decided_on": "+".join(side.value for side in decision.sides),
        "rule": decision.rule or None,
        "enforcement": record.enforcement.value,
        **{f"{stage}_ms": latency.get(stage) for stage in ("render", "engine", "decide")},
        "total_ms": sum(latency.values()) if latency else None,
        "rollout": record.rollout,
        "stream": record.part.stream if record.part else None,
        "stream_part": record.part.number if record.part else None,
        "stream_final": record.part.final if record.part else None,
        "repeats": record.repeats,
    }


def _categories(record: Record, key: Row) -> Iterator[Row]:
    """Yield what the model named, and then what decided by its score without being named (rule 6)."""
    verdict, decision = record.verdict, record.decision
    named = {category.name for category in verdict.categories}
    scored = [Category(name=name, said="", known=True) for name in decision.categories if name not in named]
    for position, category in enumerate((*verdict.categories, *scored)):
        yield {
            **key,
            "position": position,
            "name": category.name[:_LONGEST_NAME],
            "said": category.said[:_LONGEST_NAME],
            "known": category.known,
            "deciding": category.name in decision.categories,
            "score": verdict.category_score(category.name, decision.sides),
        }


def _notes(record: Record, key: Row) -> Iterator[Row]:
    kinds: dict[str, Sequence[str]] = {
        "note": record.verdict.notes,
        "neutralised": record.neutralised,
        "review": [review.value for review in record.reviews],
        "reasoning": [] if record.reasoning is Reasoning.OFF else [record.reasoning.value],
    }
    for kind, names in kinds.items():
        for position, name in enumerate(names):
            yield {**key, "kind": kind, "position": position, "name": name}


def _piece(piece: Piece, position: int, key: Row, content: Content) -> Row:
    user, response = piece.user_span or (None, None), piece.response_span or (None, None)
    return {
        **key,
        "position": position,
        **dict(zip(("user_from", "user_to", "response_from", "response_to"), user + response, strict=True)),
        "image_position": piece.image,
        **dict(zip(("image_text_from", "image_text_to"), piece.image_text_span or (None, None), strict=True)),
        "trace_requested": piece.thinking,
        **_said(piece.verdict),
        **_ended(piece.completion),
        "engine_ms": piece.engine_ms,
        "deciding": piece.deciding,
        "reply_chars": _length(piece.verdict.reply),
        "reply_commitment": content.add("piece_reply", piece.verdict.reply, position),
    }


def _length(text: str | None) -> int | None:
    return None if text is None else len(text)


@lru_cache(maxsize=1)
def railscribe_version() -> str:
    try:
        return version("railscribe")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "unknown"
