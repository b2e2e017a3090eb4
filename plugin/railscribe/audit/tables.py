"""The tables of the audit store, as they are at ``HEAD``. docs/schema.md says what every column means.

Rules

1. Tables come into being by migrations alone; a test compares these definitions with what migrations make.
2. Everything but ``contents`` and ``subject_keys`` is evidence: it is inserted once and never updated. Nothing is
   deleted but what an erasure or a prune names that is on record (triggers).
3. Content lies in ``contents`` alone; evidence carries its length and its salted commitment. The keys of content
   that is encrypted lie in ``subject_keys``.
4. Rows of one record share its key ``(checked_at, record_id)``, so every table can be partitioned by month.
5. Text is stored as it came, but for U+0000 and lone surrogates, which PostgreSQL cannot hold: each becomes
   "␚" and four hex digits, and so does "␚" itself. Readers get the stored form: any program can print it.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator

HEAD = "0011"
"""The revision this version reads and writes. Revisions are zero-padded, so they compare as text."""

VERSION_TABLE = "railscribe_alembic_version"

_UNSTORABLE = re.compile("[\x00\ud800-\udfff␚]")
_ESCAPED = re.compile("␚([0-9A-F]{4})")


def storable(text: str) -> str:
    """Return *text* as it is stored (rule 5)."""
    if text.isascii() and "\x00" not in text:  # nearly all is, and this is asked of every text
        return text
    return _UNSTORABLE.sub(lambda match: f"␚{ord(match.group()):04X}", text)


def restored(text: str) -> str:
    """Return what :func:`storable` was given."""
    return _ESCAPED.sub(lambda match: chr(int(match.group(1), 16)), text)


class EvidenceText(TypeDecorator[str]):
    """Text under rule 5."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else storable(value)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time, kept in UTC; SQLite holds it as text without a zone."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        return None if value is None else value.astimezone(timezone.utc)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=timezone.utc) if value.tzinfo is None else value.astimezone(timezone.utc)


metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


def _evidence(name: str, *parts: sa.schema.SchemaItem) -> sa.Table:
    # Without a rowid there is no second key by which INSERT OR REPLACE could push out a row on SQLite.
    return sa.Table(name, metadata, *parts, sqlite_with_rowid=False)


def _text(name: str, *args: Any, nullable: bool = False, **kwargs: Any) -> sa.Column[str]:
    return sa.Column(name, EvidenceText, *args, nullable=nullable, **kwargs)


def _number(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=nullable)


def _real(name: str) -> sa.Column[float]:
    return sa.Column(name, sa.Double, nullable=True)


def _flag(name: str, *, nullable: bool = False) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean, nullable=nullable)


def _time(name: str, **kwargs: Any) -> sa.Column[datetime]:
    return sa.Column(name, UtcDateTime, nullable=False, **kwargs)


def _said() -> tuple[sa.Column[Any], ...]:
    """What one reply said, by side."""
    return (
        _text("user_label", nullable=True),
        _real("user_score"),
        _text("user_cause", nullable=True),
        _text("response_label", nullable=True),
        _real("response_score"),
        _text("response_cause", nullable=True),
    )


def _ended() -> tuple[sa.Column[Any], ...]:
    """How one reply ended."""
    return (
        _text("finish_reason", nullable=True),
        _number("prompt_tokens", nullable=True),
        _number("completion_tokens", nullable=True),
        _real("engine_ms"),
    )


def _of_record() -> tuple[sa.schema.SchemaItem, ...]:
    """The part of a child's key that is its record's (rule 4)."""
    return (
        sa.Column("checked_at", UtcDateTime, primary_key=True),
        _text("record_id", primary_key=True),
        sa.ForeignKeyConstraint(["checked_at", "record_id"], ["records.checked_at", "records.id"]),
    )


def _where_given(name: str) -> sa.Index:
    """An index over the records that have *name* at all."""
    given = sa.text(f"{name} IS NOT NULL")
    return sa.Index(None, name, "checked_at", sqlite_where=given, postgresql_where=given)


def _given(name: str, condition: str, *columns: sa.Column[Any]) -> sa.Index:
    """An index over the rows that meet *condition*, beside one over the same columns or for want of a better name."""
    given = sa.text(condition)
    return sa.Index(name, *columns, sqlite_where=given, postgresql_where=given)


policies = _evidence(
    "policies",
    _text("digest", primary_key=True),
    _text("name"),
    _text("version"),
    _text("document"),
)

policy_texts = _evidence(
    "policy_texts",
    _text("digest", primary_key=True),
    _text("text"),
)

engines = _evidence(
    "engines",
    _text("digest", primary_key=True),
    _text("name"),
    _text("model"),
    _text("revision", nullable=True),
    _text("adapter_digest", nullable=True),
    _text("template_digest", nullable=True),
    _text("backend", nullable=True),
    _text("backend_version", nullable=True),
    _text("dtype", nullable=True),
    _text("adapter", nullable=True),
    _text("decoding", nullable=True),
)

records = _evidence(
    "records",
    sa.Column("checked_at", UtcDateTime, primary_key=True),
    _text("id", primary_key=True),
    _text("tenant"),
    _text("session", nullable=True),
    _text("request", nullable=True),
    _text("subject", nullable=True),
    _text("retention_class"),
    _text("content_mode"),
    _text("railscribe_version"),
    _text("direction"),
    _text("rail"),
    _text("host"),
    _number("user_chars"),
    _text("user_commitment"),
    _number("response_chars", nullable=True),
    _text("response_commitment", nullable=True),
    _number("image_count"),
    _text("image_use", nullable=True),
    _text("image_reader", nullable=True),
    _number("image_text_chars", nullable=True),
    _text("image_text_commitment", nullable=True),
    _text("policy_digest", sa.ForeignKey("policies.digest")),
    _text("policy_text_digest", sa.ForeignKey("policy_texts.digest")),
    _text("policy_mode"),
    _text("engine_digest", sa.ForeignKey("engines.digest")),
    _text("served_model", nullable=True),
    _flag("categories_requested"),
    _flag("trace_requested"),
    _flag("trace_received"),
    _number("trace_chars", nullable=True),
    _text("trace_commitment", nullable=True),
    _number("reply_chars", nullable=True),
    _text("reply_commitment", nullable=True),
    _text("finish_reason", nullable=True),
    _number("prompt_tokens", nullable=True),
    _number("completion_tokens", nullable=True),
    _text("user_label"),
    _real("user_score"),
    _text("user_cause", nullable=True),
    _text("response_label", nullable=True),
    _real("response_score"),
    _text("response_cause", nullable=True),
    _text("outcome"),
    _text("cause", nullable=True),
    _text("decided_on"),
    _text("enforcement"),
    _real("render_ms"),
    _real("engine_ms"),
    _real("decide_ms"),
    _real("total_ms"),
    _text("rule", nullable=True),
    _text("rollout", nullable=True),
    _text("stream", nullable=True),
    _number("stream_part", nullable=True),
    _flag("stream_final", nullable=True),
    _text("repeats", nullable=True),
    sa.CheckConstraint("outcome IN ('allow', 'flag', 'block', 'undecided')", name="outcome_known"),
    sa.CheckConstraint("(outcome = 'undecided') = (cause IS NOT NULL)", name="undecided_has_cause"),
    sa.CheckConstraint("user_label IN ('safe', 'unsafe', 'unreadable')", name="user_label_known"),
    sa.CheckConstraint("response_label IN ('safe', 'unsafe', 'unreadable')", name="response_label_known"),
    sa.CheckConstraint(
        "(user_label = 'unreadable') = (user_cause IS NOT NULL)", name="user_unreadable_has_cause"
    ),
    sa.CheckConstraint(
        "(coalesce(response_label, '') = 'unreadable') = (response_cause IS NOT NULL)",
        name="response_unreadable_has_cause",
    ),
    sa.CheckConstraint("trace_received = (trace_commitment IS NOT NULL)", name="trace_received_is_committed"),
    sa.Index(None, "id", postgresql_ops={"id": "text_pattern_ops"}),  # serves the beginning of an id, too
    sa.Index(None, "tenant", "checked_at"),
    sa.Index(None, "outcome", "checked_at"),
    sa.Index(None, "policy_digest", "checked_at"),
    _where_given("subject"),
    _where_given("session"),
    _where_given("stream"),
    _where_given("repeats"),
)
_given("ix_records_refused", "enforcement = 'refused'", records.c.checked_at, records.c.tenant)
_given("ix_records_streams", "stream IS NOT NULL", records.c.checked_at, records.c.tenant)
_given("ix_records_tenant_streams", "stream IS NOT NULL", records.c.tenant, records.c.checked_at)
_given("ix_records_tenant_refused", "enforcement = 'refused'", records.c.tenant, records.c.checked_at)

record_categories = _evidence(
    "record_categories",
    *_of_record(),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    _text("name"),
    _text("said"),
    _flag("known"),
    _flag("deciding"),
    _real("score"),
    sa.Index(None, "name", "checked_at"),
)

record_notes = _evidence(
    "record_notes",
    *_of_record(),
    _text("kind", primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    _text("name"),
    sa.Index(None, "kind", "checked_at"),
)

record_images = _evidence(
    "record_images",
    *_of_record(),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    _text("kind"),
    _text("media_type", nullable=True),
    _number("width", nullable=True),
    _number("height", nullable=True),
    _number("size_bytes", nullable=True),
    _text("commitment"),
    _number("frame", nullable=True),
    _number("frames", nullable=True),
    _text("mode", nullable=True),
    _number("orientation", nullable=True),
    _text("perceptual_commitment", nullable=True),
    _text("use", nullable=True),
    _number("seen_width", nullable=True),
    _number("seen_height", nullable=True),
    _text("reader", nullable=True),
    _number("text_chars", nullable=True),
    _text("text_commitment", nullable=True),
)

record_pieces = _evidence(
    "record_pieces",
    *_of_record(),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    _number("user_from", nullable=True),
    _number("user_to", nullable=True),
    _number("response_from", nullable=True),
    _number("response_to", nullable=True),
    _number("image_position", nullable=True),
    _flag("trace_requested"),
    *_said(),
    *_ended(),
    _flag("deciding"),
    _number("reply_chars", nullable=True),
    _text("reply_commitment", nullable=True),
    _number("image_text_from", nullable=True),
    _number("image_text_to", nullable=True),
)

late_traces = _evidence(
    "late_traces",
    *_of_record(),
    _time("requested_at"),
    _time("ended_at"),
    _text("state"),
    _text("cause", nullable=True),
    *_said(),
    _flag("disagrees", nullable=True),
    _flag("contradicts", nullable=True),
    *_ended(),
    _number("trace_chars", nullable=True),
    _text("trace_commitment", nullable=True),
    _number("reply_chars", nullable=True),
    _text("reply_commitment", nullable=True),
    sa.CheckConstraint("state IN ('received', 'failed', 'lost')", name="state_known"),
    sa.CheckConstraint("state = 'received' OR cause IS NOT NULL", name="cause_unless_received"),
)

engine_probes = _evidence(
    "engine_probes",
    _time("probed_at", primary_key=True),
    _text("engine_digest", sa.ForeignKey("engines.digest"), primary_key=True),
    _text("probe", primary_key=True),
    _text("address", nullable=True),
    _text("result"),
    _text("detail"),
    _text("railscribe_version"),
    sa.Index(None, "engine_digest", "probed_at"),
)

policy_registrations = _evidence(
    "policy_registrations",
    _text("digest", primary_key=True),
    _text("policy_digest", sa.ForeignKey("policies.digest")),
    _text("policy_text_digest", sa.ForeignKey("policy_texts.digest")),
    _text("policy_mode"),
    _time("registered_at"),
    _text("registered_by"),
    _text("reason", nullable=True),
    _text("compiler"),
    _text("railscribe_version"),
    sa.Index(None, "policy_digest", "registered_at"),
)


def _of_registration() -> tuple[sa.schema.SchemaItem, ...]:
    """The key of a row that is one of several of a registration."""
    return (
        _text("registration_digest", sa.ForeignKey("policy_registrations.digest"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    )


policy_sources = _evidence(
    "policy_sources", *_of_registration(), _text("file"), _text("digest"), _text("body")
)

policy_clauses = _evidence(
    "policy_clauses",
    *_of_registration(),
    _text("kind"),
    _text("text"),
    _text("file", nullable=True),
    _number("line", nullable=True),
    _text("construct", nullable=True),
)

policy_diagnostics = _evidence(
    "policy_diagnostics",
    *_of_registration(),
    _text("code"),
    _text("severity"),
    _text("message"),
    _text("file", nullable=True),
    _number("line", nullable=True),
    _text("hint", nullable=True),
)

policy_allowances = _evidence("policy_allowances", *_of_registration(), _text("allowance"))

policy_moves = _evidence(
    "policy_moves",
    _text("name", primary_key=True),
    _text("tag", primary_key=True),
    _text("tenant", primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    _text("policy_digest", sa.ForeignKey("policies.digest")),
    _text("previous_digest", sa.ForeignKey("policies.digest"), nullable=True),
    _time("moved_at"),
    _text("moved_by"),
    _text("reason", nullable=True),
    _text("railscribe_version"),
    sa.Index(None, "policy_digest", "moved_at"),
)

reviews = _evidence(
    "reviews",
    sa.Column("checked_at", UtcDateTime, primary_key=True),
    # No foreign key: a review outlives its record, which may be pruned. A trigger wants the record to be there.
    _text("record_id", primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    _text("tenant"),
    _text("outcome"),
    _text("decision"),
    _text("reason"),
    _text("reviewed_by"),
    _time("reviewed_at"),
    _number("answers", nullable=True),
    _text("railscribe_version"),
    sa.CheckConstraint("reviewed_by <> ''", name="has_reviewer"),
    sa.CheckConstraint("reason <> ''", name="has_reason"),
    sa.CheckConstraint("(number = 1) = (answers IS NULL)", name="first_answers_none"),
    sa.CheckConstraint("number >= 1 AND answers < number", name="answers_an_earlier"),
    sa.Index(None, "tenant", "reviewed_at"),
    sa.Index(None, "record_id", "number"),  # an entry of the chain knows these two
    sa.Index(None, "reviewed_at"),
)
_given("ix_reviews_escalated", "decision = 'escalate'", reviews.c.checked_at)

contents = sa.Table(
    "contents",
    metadata,
    *_of_record(),
    _text("kind", primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    _text("salt"),
    _text("body"),
    _flag("truncated"),
)

subject_keys = sa.Table(
    "subject_keys",
    metadata,
    _text("digest", primary_key=True),
    _text("tenant"),
    _text("subject", nullable=True),
    _text("record_id", nullable=True),
    _text("wrapped"),
    _text("wrapped_by"),
    _time("made_at"),
    sa.CheckConstraint("(subject IS NULL) <> (record_id IS NULL)", name="of_one"),
    sa.Index(None, "tenant", "subject"),
    sa.Index(None, "record_id"),
)


def _kept(name: str) -> sa.Table:
    """What is kept of contents that are not kept as they are."""
    return _evidence(
        name,
        *_of_record(),
        _text("kind", primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        _text("form"),
        _text("commitment", nullable=True),
        _text("redactions", nullable=True),
        sa.CheckConstraint(
            "form IN ('full', 'redacted', 'digest', 'encrypted', 'withheld')",
            name="form_known",
        ),
        sa.CheckConstraint("(form = 'withheld') = (commitment IS NULL)", name="committed_unless_withheld"),
    )


record_kept, late_kept = _kept("record_kept"), _kept("late_kept")

erasures = _evidence(
    "erasures",
    _text("id", primary_key=True),
    _time("erased_at"),
    _text("tenant"),
    _text("subject_commitment"),
    _text("erased_by"),
    _text("reason"),
    _number("records"),
    _number("contents"),
    _number("keys"),
    _text("railscribe_version"),
    sa.Index(None, "erased_at"),
)


def _of_erasure() -> sa.Column[str]:
    return _text("erasure_id", sa.ForeignKey("erasures.id"), primary_key=True)


erased_records = _evidence(
    "erased_records",
    _of_erasure(),
    _time("checked_at", primary_key=True),
    _text("record_id", primary_key=True),  # no foreign key: the record may be pruned one day
    sa.Index(None, "record_id"),
)

erased_keys = _evidence(
    "erased_keys", _of_erasure(), _text("key_digest", primary_key=True), sa.Index(None, "key_digest")
)

holds = _evidence(
    "holds",
    _text("id", primary_key=True),
    _time("held_at"),
    _text("tenant", nullable=True),
    _text("subject", nullable=True),
    _text("retention_class", nullable=True),
    _text("record_id", nullable=True),
    _text("held_by"),
    _text("reason"),
    _text("railscribe_version"),
)

hold_releases = _evidence(
    "hold_releases",
    _text("hold_id", sa.ForeignKey("holds.id"), primary_key=True),
    _time("released_at"),
    _text("released_by"),
    _text("reason"),
    _text("railscribe_version"),
)

entries = _evidence(
    "entries",
    _time("at", primary_key=True),
    _text("kind", primary_key=True),
    _text("id", primary_key=True),
    _text("segment_id"),
    _number("position"),
    _text("leaf"),
    sa.Index(None, "segment_id", "position"),
)

signing_keys = _evidence(
    "signing_keys",
    _text("id", primary_key=True),
    _text("public_key"),
)

writers = _evidence(
    "writers",
    _text("id", primary_key=True),
    _time("opened_at"),
    _text("host"),
    _number("pid"),
    _number("quiet_s"),
    _text("railscribe_version"),
)

checkpoints = _evidence(
    "checkpoints",
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    _time("at"),
    _text("writer", sa.ForeignKey("writers.id")),
    _text("reason"),
    _text("ends", sa.ForeignKey("writers.id"), nullable=True),
    _text("key_id", sa.ForeignKey("signing_keys.id")),
    _text("hash"),
    _text("body"),
    _text("signature"),
    sa.Index(None, "writer", "number"),
    sa.Index(
        None, "ends", sqlite_where=sa.text("ends IS NOT NULL"), postgresql_where=sa.text("ends IS NOT NULL")
    ),
)

segments = _evidence(
    "segments",
    _text("id", primary_key=True),
    _text("writer", sa.ForeignKey("writers.id")),
    _number("number"),
    _text("retention_class"),
    _text("month"),
    _number("entry_count"),
    _text("root"),
    sa.Column("checkpoint_number", sa.Integer, sa.ForeignKey("checkpoints.number"), nullable=False),
    sa.Index(None, "writer", "number"),
    sa.Index(None, "checkpoint_number"),
)

gaps = _evidence(
    "gaps",
    _time("at", primary_key=True),
    _text("id", primary_key=True),
    _text("writer"),
    _number("count"),
    _time("since"),
    _time("until"),
    _text("cause"),
    _text("detail", nullable=True),
)
tenant_auditors = sa.Table(
    "tenant_auditors",
    metadata,
    _text("role", primary_key=True),
    _text("tenant", primary_key=True),
    _time("bound_at"),
    _text("bound_by"),
)
"""Whose records a database role sees, on PostgreSQL. No evidence: it says how things are, not how they were."""


def _summary(name: str, key: tuple[str, ...], *parts: sa.schema.SchemaItem) -> sa.Table:
    """Sums over records, which can be thrown away and made again (``summaries.py``)."""
    return sa.Table(
        name, metadata, *(_text(part, primary_key=True) for part in key), *parts, sqlite_with_rowid=False
    )


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False)


daily_decisions = _summary(
    "daily_decisions",
    (
        *("day", "tenant", "policy_digest", "engine_digest", "direction", "rail", "outcome", "cause"),
        *("enforcement", "image_use", "retention_class"),
    ),
    *map(_count, ("checks", "unsafe", "traces_requested", "traces_missing")),
    _time("first_checked_at"),
    _time("last_checked_at"),
)

daily_categories = _summary(
    "daily_categories",
    ("day", "tenant", "policy_digest", "category", "outcome", "enforcement"),
    _count("checks"),
)

daily_rollout = _summary(
    "daily_rollout",
    ("day", "tenant", "policy_digest", "rail", "rollout"),
    *map(_count, ("checks", "refused", "would_have_been_refused")),
)

hourly_checks = _summary("hourly_checks", ("hour",), _count("checks"), _count("checkpoints"))

daily_latency = _summary(
    "daily_latency",
    ("day", "policy_digest", "engine_digest"),
    _count("checks"),
    *map(_real, ("engine_p50_ms", "engine_p95_ms", "engine_p99_ms")),
    *map(_real, ("total_p50_ms", "total_p95_ms", "total_p99_ms", "total_max_ms")),
)


def _marks(name: str, key: tuple[str, ...], *parts: sa.schema.SchemaItem) -> sa.Table:
    """What is rare among records, in the order of time; no evidence, as sums are not."""
    columns = [_text(part, primary_key=True) for part in key]
    return sa.Table(
        name,
        metadata,
        sa.Column("checked_at", UtcDateTime, primary_key=True),
        *columns,
        *parts,
        sqlite_with_rowid=False,
    )


review_reasons = _marks("review_reasons", ("record_id", "reason", "found_by"), _text("tenant"))
failures = _marks("failures", ("record_id", "stage"), _text("cause"), _text("tenant"))
waiting_reviews = _marks("waiting_reviews", ("record_id",), _text("tenant"), _number("awaited"))

summarised = sa.Table(
    "summarised",
    metadata,
    sa.Column("checkpoint_number", sa.Integer, primary_key=True, autoincrement=False),
    _time("summarised_at"),
    sqlite_with_rowid=False,
)

prunes = _evidence(
    "prunes",
    _text("id", primary_key=True),
    _time("pruned_at"),
    _text("retention_class"),
    _number("term_days"),
    _time("before"),
    _text("pruned_by"),
    _text("reason"),
    _number("segments"),
    _number("entries"),
    _number("records"),
    _number("checkpoint_number"),
    _text("checkpoint_hash"),
    _text("railscribe_version"),
)


def _of_prune() -> sa.Column[str]:
    return _text("prune_id", sa.ForeignKey("prunes.id"), primary_key=True)


pruned_segments = _evidence(
    "pruned_segments",
    _of_prune(),
    _text("segment_id", sa.ForeignKey("segments.id"), primary_key=True),
    _text("root"),
    _number("entry_count"),
    sa.Index(None, "segment_id"),
)

pruned_entries = _evidence(
    "pruned_entries",
    _of_prune(),
    _time("at", primary_key=True),
    _text("kind", primary_key=True),
    _text("id", primary_key=True),
    sa.Index(None, "id"),
)

EVIDENCE = (
    *(policies, policy_texts, engines),
    *(records, record_categories, record_notes, record_images, record_pieces),
    *(late_traces, engine_probes),
    *(policy_registrations, policy_sources, policy_clauses, policy_diagnostics, policy_allowances),
    policy_moves,
    *(entries, signing_keys, writers, checkpoints, segments, gaps),
    *(record_kept, late_kept, erasures, erased_records, erased_keys, holds, hold_releases),
    *(prunes, pruned_segments, pruned_entries),
    reviews,
)
"""Tables whose rows can never be changed, and are deleted where a prune names them or not at all."""

VIEWS = (
    *("v_checks", "v_blocked_by_category_day", "v_undecided", "v_reviews", "v_late_traces", "v_images"),
    *("v_policy_tags", "v_policy_timeline"),
    *("v_contents", "v_erasures", "v_holds", "v_prunes"),
    *("v_streams", "v_rollout"),
    *("v_review_decisions", "v_review_queue"),
    *("v_daily_decisions", "v_daily_categories", "v_engine_days", "v_engine_timeline", "v_latency"),
    *("v_refusals", "v_reasons", "v_statements_of_reasons"),
    *("v_failures", "v_disagreements", "v_notes", "v_held", "v_interface"),
    *("v_unsummarised", "v_hours", "v_gaps", "v_log_coverage"),
)
