"""The views over a Parquet export, as a script for DuckDB: the same names, columns and answers as in the database.

Rules

1. Tables are views over files, with the columns that the database has; one that was not exported is there, and empty.
2. Views of revision 0009 are the migration's own text (``migrations/views_0009.py``). Those of before are said again
   here, because an earlier revision speaks two databases' SQL and no third; a test holds both against each other.
3. Sums are made from the records on the spot: DuckDB reads columns, and needs no summary.
"""

# ruff: noqa: S608 - names of tables and columns, all of them ours
from __future__ import annotations

from collections.abc import Iterator, Mapping

import sqlalchemy as sa

from railscribe.audit import tables
from railscribe.audit.migrations import reviews_0009 as rare
from railscribe.audit.migrations import summaries_0009 as sums
from railscribe.audit.migrations import views_0009 as views

_WORDS = sums.Words("duckdb")
_SUMMARIES = {
    *("daily_decisions", "daily_categories", "hourly_checks", "daily_latency", "daily_rollout", "summarised"),
    *("review_reasons", "failures", "waiting_reviews"),
}
_HEAD = """\
-- The views of a Railscribe export, for DuckDB. In the export's folder:
--
--     duckdb -init views.sql
--     D SELECT day, outcome, sum(checks) FROM v_daily_decisions GROUP BY ALL ORDER BY ALL;
--
-- From elsewhere, first say SET file_search_path = '<the export's folder>'. Spark and Trino read data/<table> as a
-- table partitioned by day and tenant; docs/schema.md says what every column means.
SET TimeZone = 'UTC';
"""


def script(counts: Mapping[str, int]) -> str:
    """Return the script for an export that holds *counts* rows of each table."""
    statements = [
        f"CREATE OR REPLACE VIEW {table.name} AS {_table(table, counts.get(table.name, 0))};"
        for table in tables.metadata.tables.values()
        if table.name not in _SUMMARIES
    ]
    made = {**dict(_older()), **_of_0009()}
    interface = " UNION ALL ".join(f"SELECT '{name}' AS name, 1 AS version" for name in made)
    made["v_interface"] = interface
    statements += [f"CREATE OR REPLACE VIEW {name} AS {select};" for name, select in made.items()]
    return "\n".join([_HEAD, *statements, ""])


def _table(table: sa.Table, count: int) -> str:
    columns = [column.name for column in table.columns]
    if not count:
        empty = ", ".join(f'CAST(NULL AS {_type(table.columns[name])}) AS "{name}"' for name in columns)
        return f"SELECT {empty} WHERE false"
    if not ({"checked_at", "record_id"} <= set(columns) or table is tables.records):
        told = ", ".join(f'"{name}"' for name in columns)
        return f"SELECT {told} FROM read_parquet('data/{table.name}/*.parquet')"
    told = ", ".join(
        "coalesce(tenant, '') AS tenant" if name == "tenant" else f'"{name}"' for name in columns
    )
    return (
        f"SELECT {told} FROM read_parquet('data/{table.name}/*/*/*.parquet', hive_partitioning = true, "
        "hive_types = {'day': VARCHAR, 'tenant': VARCHAR})"
    )


def _type(column: sa.Column[object]) -> str:
    if isinstance(column.type, tables.UtcDateTime):
        return "TIMESTAMPTZ"
    if isinstance(column.type, sa.Boolean):
        return "BOOLEAN"
    if isinstance(column.type, sa.Double):
        return "DOUBLE"
    return "BIGINT" if isinstance(column.type, sa.Integer) else "VARCHAR"


def _of_0009() -> dict[str, str]:
    source = "FROM records r WHERE true"
    decisions, categories, latency = (
        f"({of(_WORDS, source)})" for of in (sums.decisions, sums.categories, sums.latency)
    )
    lates = "FROM late_traces l WHERE true"
    return {
        "v_unsummarised": "SELECT r.checked_at, r.id FROM records r WHERE false",
        **views.daily(decisions, categories),
        **views.latency(latency),
        **views.hours(_WORDS, f"({sums.hours(_WORDS, source, 'true')})"),
        **views.coverage(_WORDS, decisions),
        **views.reasons(_WORDS),
        **views.listings(_WORDS),
        "v_failures": rare.failed(_WORDS, f"({rare.failures(source, lates)})"),
        "v_disagreements": rare.disagreements(_WORDS, f"({rare.reasons(_WORDS, source, lates)})"),
    }


_JOINED = "JOIN policies p ON p.digest = r.policy_digest JOIN engines e ON e.digest = r.engine_digest"


def _older() -> Iterator[tuple[str, str]]:
    day = _WORDS.day("r.checked_at")
    yield "v_checks", _checks(day)
    yield (
        "v_undecided",
        f"""
        SELECT r.id, r.checked_at, {day} AS day, r.tenant, r.direction, r.rail, r.cause, r.user_cause,
               r.response_cause, r.enforcement, p.name AS policy, e.name AS engine, e.model, r.finish_reason,
               r.image_use, r.engine_ms
        FROM records r {_JOINED}
        WHERE r.outcome = 'undecided'""",
    )
    yield "v_reviews", _reviews(day)
    yield (
        "v_late_traces",
        f"""
        SELECT r.id, r.checked_at, {day} AS day, r.tenant, r.direction, r.rail, p.name AS policy, r.outcome,
               r.user_label, r.user_score, r.response_label, r.response_score,
               coalesce(l.state, 'awaited') AS state, l.cause, l.requested_at, l.ended_at,
               l.user_label AS late_user_label, l.user_score AS late_user_score,
               l.response_label AS late_response_label, l.response_score AS late_response_score,
               l.disagrees, l.contradicts, l.finish_reason, l.prompt_tokens, l.completion_tokens, l.engine_ms,
               l.trace_chars, {_content("'late_trace'")} AS late_trace, {_content("'late_reply'")} AS late_reply
        FROM record_notes n
        JOIN records r ON r.checked_at = n.checked_at AND r.id = n.record_id
        JOIN policies p ON p.digest = r.policy_digest
        LEFT JOIN late_traces l ON l.checked_at = r.checked_at AND l.record_id = r.id
        WHERE n.kind = 'reasoning' AND n.name = 'deferred'""",
    )
    of_image = {
        kind: _content(kind, "i.position") for kind in ("i.kind", "'image_perceptual'", "'image_text'")
    }
    yield (
        "v_images",
        f"""
        SELECT r.id, i.position, r.checked_at, {day} AS day, r.tenant, r.subject, r.direction,
               r.outcome, i.kind, i.media_type, i.frame, i.frames, i.width, i.height, i.size_bytes, i.mode,
               i.orientation, i.use, i.seen_width, i.seen_height, i.reader, i.text_chars,
               {of_image["i.kind"]} AS digest, {of_image["'image_perceptual'"]} AS perceptual_digest,
               {of_image["'image_text'"]} AS image_text
        FROM record_images i
        JOIN records r ON r.checked_at = i.checked_at AND r.id = i.record_id""",
    )
    yield from _policies()


def _content(kind: str, position: str = "0") -> str:
    of_record = "c.checked_at = r.checked_at AND c.record_id = r.id"
    return (
        f"(SELECT c.body FROM contents c WHERE {of_record} AND c.kind = {kind} AND c.position = {position})"
    )


def _checks(day: str) -> str:
    of_note = "x.checked_at = r.checked_at AND x.record_id = r.id"
    texts = (
        "(SELECT string_agg(c.body, chr(10) ORDER BY c.position) FROM contents c "
        "WHERE c.checked_at = r.checked_at AND c.record_id = r.id AND c.kind = 'image_text')"
    )
    return f"""
        SELECT r.id, r.checked_at, {day} AS day, r.tenant, r.session, r.request, r.subject,
               r.retention_class, r.content_mode, r.railscribe_version, r.direction, r.rail, r.host,
               r.outcome, r.cause, r.decided_on, r.enforcement,
               {_WORDS.joined("record_categories")} AS categories,
               {_WORDS.joined("record_categories", "x.deciding")} AS deciding_categories,
               r.user_label, r.user_score, r.user_cause, r.response_label, r.response_score, r.response_cause,
               r.trace_requested, r.trace_received, r.categories_requested,
               {_WORDS.joined("record_notes", "x.kind = 'note'")} AS notes,
               {_WORDS.joined("record_notes", "x.kind = 'neutralised'")} AS neutralised,
               p.name AS policy, p.version AS policy_version, r.policy_digest, r.policy_mode,
               r.policy_text_digest, t.text AS policy_text,
               e.name AS engine, e.model, e.revision AS model_revision, e.adapter_digest, e.template_digest,
               e.backend, e.backend_version, e.dtype, r.engine_digest, r.served_model,
               r.finish_reason, r.prompt_tokens, r.completion_tokens,
               r.image_count, r.image_use, r.image_reader,
               r.render_ms, r.engine_ms, r.decide_ms, r.total_ms,
               r.user_chars, r.response_chars,
               {_content("'user'")} AS user_text, {_content("'response'")} AS response_text, {texts} AS image_text,
               {_content("'trace'")} AS trace, {_content("'reply'")} AS reply, e.adapter, e.decoding,
               (SELECT count(*) FROM record_pieces x WHERE {of_note}) AS piece_count,
               coalesce((SELECT x.name FROM record_notes x WHERE {of_note}
                         AND x.kind = 'reasoning' AND x.position = 0), 'off') AS reasoning, r.rule
        FROM records r {_JOINED}
        JOIN policy_texts t ON t.digest = r.policy_text_digest"""


def _reviews(day: str) -> str:
    awaited = """x.kind = 'reasoning' AND x.name = 'deferred' AND NOT EXISTS (
                SELECT 1 FROM late_traces l WHERE l.checked_at = x.checked_at AND l.record_id = x.record_id)"""
    reasons = (
        ("x.name", "check", "record_notes", "x.kind = 'review'"),
        ("'think_disagrees'", "late_trace", "late_traces", "x.disagrees"),
        ("'trace_contradicts'", "late_trace", "late_traces", "x.contradicts"),
        ("'trace_missing'", "late_trace", "late_traces", "coalesce(x.trace_chars, 0) = 0"),
        ("'trace_awaited'", "check", "record_notes", awaited),
    )
    return " UNION ALL ".join(
        f"""
        SELECT r.id, {reason} AS reason, '{found_by}' AS found_by, r.checked_at, {day} AS day, r.tenant,
               r.direction, r.rail, r.outcome, r.enforcement, p.name AS policy, e.name AS engine, e.model
        FROM {rows} x
        JOIN records r ON r.checked_at = x.checked_at AND r.id = x.record_id {_JOINED}
        WHERE {condition}"""
        for reason, found_by, rows, condition in reasons
    )


def _policies() -> Iterator[tuple[str, str]]:
    later = "l.name = m.name AND l.tag = m.tag AND l.tenant = m.tenant"
    yield (
        "v_policy_tags",
        f"""
        SELECT m.name AS policy, m.tag, nullif(m.tenant, '') AS tenant, m.policy_digest,
               p.version AS policy_version, m.moved_at, m.moved_by, m.reason, m.previous_digest,
               m.number AS moves
        FROM policy_moves m
        JOIN policies p ON p.digest = m.policy_digest
        WHERE NOT EXISTS (SELECT 1 FROM policy_moves l WHERE {later} AND l.number > m.number)""",
    )
    yield (
        "v_policy_timeline",
        f"""
        SELECT m.moved_at AS happened_at, {_WORDS.day("m.moved_at")} AS day, 'moved' AS event, m.name AS policy,
               m.tag, nullif(m.tenant, '') AS tenant, m.policy_digest, p.version AS policy_version,
               m.previous_digest, m.moved_by AS by_whom, m.reason, l.moved_at AS until
        FROM policy_moves m
        JOIN policies p ON p.digest = m.policy_digest
        LEFT JOIN policy_moves l ON {later} AND l.number = m.number + 1
        UNION ALL
        SELECT g.registered_at, {_WORDS.day("g.registered_at")}, 'registered', p.name, NULL, NULL, g.policy_digest,
               p.version, NULL, g.registered_by, g.reason, NULL
        FROM policy_registrations g
        JOIN policies p ON p.digest = g.policy_digest""",
    )
