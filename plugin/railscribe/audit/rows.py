"""From a record to the rows that keep it: evidence, and the content it commits to. Pure but for fresh salts.

Rules

1. Evidence carries lengths and commitments, never text, response, trace, reply or what was read in a picture.
2. A commitment is over the whole content, also where only its beginning is kept.
3. A picture is content by its digest, or by its address where it came as one; its bytes are not kept.
4. The model's own words for categories are verdict, not content; they are cut at 200 characters, which no
   policy's names reach.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import sqlalchemy as sa

from railscribe.audit import tables
from railscribe.audit.commitments import commit, new_salt
from railscribe.values import EngineInfo, Image, Record

Row = dict[str, Any]

_LONGEST_NAME = 200  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What one record becomes, in the order in which it must be inserted."""

    shared: dict[sa.Table, Row]
    """Rows kept once by digest, whichever record came first."""
    own: dict[sa.Table, list[Row]]


@dataclass(slots=True)
class _Content:
    """Collects content beside the evidence about it."""

    key: Row
    keep_chars: int
    rows: list[Row] = field(default_factory=list)

    def add(self, kind: str, text: str | None, position: int = 0) -> str | None:
        """Keep *text* and return the commitment to it (rule 2)."""
        if text is None:
            return None
        salt = new_salt()
        kept = {"salt": salt, "body": text[: self.keep_chars], "truncated": len(text) > self.keep_chars}
        self.rows.append({**self.key, "kind": kind, "position": position, **kept})
        return commit(kind, salt, text)


def rows_of(record: Record, *, retention_class: str, keep_chars: int) -> Rows:
    """Return the rows of *record*; of each content the first *keep_chars* characters are kept."""
    key: Row = {"checked_at": record.checked_at, "record_id": record.id}
    content = _Content(key, keep_chars)
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
    }
    evidence: Row = {
        "checked_at": record.checked_at,
        "id": record.id,
        **asdict(record.identity),
        "retention_class": retention_class,
        "content_mode": "full",
        "railscribe_version": _railscribe_version(),
        "direction": record.direction.value,
        "rail": record.rail,
        "host": record.host,
        "policy_digest": rendering.policy_digest,
        "policy_text_digest": rendering.text_digest,
        "policy_mode": rendering.mode.value,
        "engine_digest": engine_digest,
        **_exchange(record, content),
        **_verdict(record, content),
        **_decision(record),
    }
    own = {
        tables.records: [evidence],
        tables.record_categories: list(_categories(record, key)),
        tables.record_notes: list(_notes(record, key)),
        tables.record_images: [
            _image(image, place, key, content) for place, image in enumerate(record.exchange.images)
        ],
        tables.contents: content.rows,
    }
    return Rows(shared=shared, own=own)


def fingerprint(engine: EngineInfo) -> str:
    """Return the digest that *engine* is stored under: of its fields as JSON, sorted keys, no white space."""
    return hashlib.sha256(
        json.dumps(asdict(engine), sort_keys=True, separators=(",", ":")).encode()
    ).hexdigest()


def _exchange(record: Record, content: _Content) -> Row:
    exchange, reading = record.exchange, record.image
    image_text = reading.text if reading else None
    return {
        "user_chars": len(exchange.user),
        "user_commitment": content.add("user", exchange.user),
        "response_chars": _length(exchange.response),
        "response_commitment": content.add("response", exchange.response),
        "image_count": len(exchange.images),
        "image_use": reading.use.value if reading else None,
        "image_reader": reading.reader if reading else None,
        "image_text_chars": _length(image_text),
        "image_text_commitment": content.add("image_text", image_text),
    }


def _verdict(record: Record, content: _Content) -> Row:
    verdict, completion, response = record.verdict, record.completion, record.verdict.response
    return {
        "categories_requested": record.flags.categories,
        "trace_requested": record.flags.thinking,
        "trace_received": verdict.trace is not None,
        "trace_chars": _length(verdict.trace),
        "trace_commitment": content.add("trace", verdict.trace),
        "reply_chars": _length(verdict.reply),
        "reply_commitment": content.add("reply", verdict.reply),
        "served_model": completion.served_model if completion else None,
        "finish_reason": completion.finish_reason if completion else None,
        "prompt_tokens": completion.prompt_tokens if completion else None,
        "completion_tokens": completion.completion_tokens if completion else None,
        "user_label": verdict.user.label.value,
        "user_score": verdict.user.score,
        "user_cause": verdict.user.cause.value if verdict.user.cause else None,
        "response_label": response.label.value if response else None,
        "response_score": response.score if response else None,
        "response_cause": response.cause.value if response and response.cause else None,
    }


def _decision(record: Record) -> Row:
    decision, latency = record.decision, record.latency_ms
    return {
        "outcome": decision.outcome.value,
        "cause": decision.cause.value if decision.cause else None,
        "decided_on": "+".join(side.value for side in decision.sides),
        "enforcement": record.enforcement.value,
        **{f"{stage}_ms": latency.get(stage) for stage in ("render", "engine", "decide")},
        "total_ms": sum(latency.values()) if latency else None,
    }


def _categories(record: Record, key: Row) -> Iterator[Row]:
    for position, category in enumerate(record.verdict.categories):
        yield {
            **key,
            "position": position,
            "name": category.name[:_LONGEST_NAME],
            "said": category.said[:_LONGEST_NAME],
            "known": category.known,
            "deciding": category.name in record.decision.categories,
        }


def _notes(record: Record, key: Row) -> Iterator[Row]:
    for kind, names in (("note", record.verdict.notes), ("neutralised", record.neutralised)):
        for position, name in enumerate(names):
            yield {**key, "kind": kind, "position": position, "name": name}


def _image(image: Image, position: int, key: Row, content: _Content) -> Row:
    kind, what = ("image", image.digest) if image.url is None else ("image_url", image.url)
    return {
        **key,
        "position": position,
        "kind": kind,
        "media_type": image.media_type,
        "width": image.width,
        "height": image.height,
        "size_bytes": None if image.data is None else len(image.data),
        "commitment": content.add(kind, what or "", position),
    }


def _length(text: str | None) -> int | None:
    return None if text is None else len(text)


@lru_cache(maxsize=1)
def _railscribe_version() -> str:
    try:
        return version("railscribe")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "unknown"
