"""The views over what a person should look at, as 0002 and 0006 make them. 0009 says them otherwise, and undoes that.

Frozen, as a revision is.
"""

# ruff: noqa: S608 - names of tables and columns, all of them ours
from __future__ import annotations


def reviews(*, on_sqlite: bool) -> str:
    """Return the SELECT of ``v_reviews``."""
    late, day = "late_traces x", _day("r.checked_at", on_sqlite=on_sqlite)
    awaited = """x.kind = 'reasoning' AND x.name = 'deferred' AND NOT EXISTS (
                SELECT 1 FROM late_traces l WHERE l.checked_at = x.checked_at AND l.record_id = x.record_id)"""
    reasons = [
        ("x.name", "check", "record_notes x", "x.kind = 'review'"),
        ("'think_disagrees'", "late_trace", late, "x.disagrees"),
        ("'trace_contradicts'", "late_trace", late, "x.contradicts"),
        ("'trace_missing'", "late_trace", late, "coalesce(x.trace_chars, 0) = 0"),
        ("'trace_awaited'", "check", "record_notes x", awaited),
    ]
    # Whole SELECTs, so that a question about some records reaches the indexes of each table on SQLite, too.
    selects = [
        f"""
        SELECT r.id, {reason} AS reason, '{found_by}' AS found_by, r.checked_at, {day} AS day, r.tenant,
               r.direction, r.rail, r.outcome, r.enforcement, p.name AS policy, e.name AS engine, e.model
        FROM {rows}
        JOIN records r ON r.checked_at = x.checked_at AND r.id = x.record_id
        JOIN policies p ON p.digest = r.policy_digest
        JOIN engines e ON e.digest = r.engine_digest
        WHERE {condition}
        """
        for reason, found_by, rows, condition in reasons
    ]
    return " UNION ALL ".join(selects)


def _day(time: str, *, on_sqlite: bool) -> str:
    if on_sqlite:
        return f"substr({time}, 1, 10)"
    return f"to_char({time} AT TIME ZONE 'UTC', 'YYYY-MM-DD')"


def _reasons(row: str, key: str, *, on_sqlite: bool) -> str:
    """Why the record *key* of *row* was, or is, in the queue, as one text."""
    # What is flagged comes from here, not from v_reviews, whose meaning stays what it was.
    found = (
        f"SELECT 'flagged' AS reason WHERE {row}.outcome = 'flag' "
        f"UNION SELECT w.reason FROM v_reviews w WHERE w.id = {row}.{key}"
    )
    if on_sqlite:  # group_concat knows no ORDER BY of its own before 3.44
        return f"(SELECT group_concat(reason, ', ') FROM (SELECT reason FROM ({found}) ORDER BY reason))"
    return f"(SELECT string_agg(f.reason, ', ' ORDER BY f.reason COLLATE \"C\") FROM ({found}) f)"


def decisions(*, on_sqlite: bool) -> str:
    """Return the SELECT of ``v_review_decisions``."""

    def seconds(time: str) -> str:
        if on_sqlite:
            return f"CAST(strftime('%s', {time}) AS INTEGER)"
        return f"CAST(extract(epoch FROM date_trunc('second', {time})) AS bigint)"

    reasons = _reasons("v", "record_id", on_sqlite=on_sqlite)
    return f"""
        SELECT v.record_id AS id, v.number, v.checked_at, v.reviewed_at,
               {_day("v.reviewed_at", on_sqlite=on_sqlite)} AS day, v.tenant, r.direction, r.rail, p.name AS policy,
               p.version AS policy_version, r.policy_digest, {reasons} AS reasons,
               v.outcome, v.answers, b.decision AS answered_decision, b.reviewed_by AS answered_by, v.decision,
               v.reason, v.reviewed_by,
               ({seconds("v.reviewed_at")} - {seconds("v.checked_at")}) / 60 AS minutes_open,
               v.railscribe_version
        FROM reviews v
        LEFT JOIN records r ON r.checked_at = v.checked_at AND r.id = v.record_id
        LEFT JOIN policies p ON p.digest = r.policy_digest
        LEFT JOIN reviews b ON b.checked_at = v.checked_at AND b.record_id = v.record_id AND b.number = v.answers"""


def queue(*, on_sqlite: bool) -> str:
    """Return the SELECT of ``v_review_queue``."""
    named = "x.checked_at = r.checked_at AND x.record_id = r.id AND x.deciding"
    if on_sqlite:
        ordered = f"SELECT x.name FROM record_categories x WHERE {named} ORDER BY x.position"
        deciding = f"(SELECT group_concat(name, ', ') FROM ({ordered}))"
    else:
        joined = "string_agg(x.name, ', ' ORDER BY x.position)"
        deciding = f"(SELECT {joined} FROM record_categories x WHERE {named})"
    later = "n.checked_at = l.checked_at AND n.record_id = l.record_id AND n.number > l.number"
    return f"""
        SELECT r.id, r.checked_at, {_day("r.checked_at", on_sqlite=on_sqlite)} AS day, r.tenant, r.direction, r.rail,
               r.outcome, r.cause, r.enforcement, p.name AS policy, p.version AS policy_version, r.policy_digest,
               e.name AS engine, e.model, {_reasons("r", "id", on_sqlite=on_sqlite)} AS reasons, r.rule,
               {deciding} AS deciding_categories,
               CASE WHEN l.number IS NULL THEN 'new' ELSE 'escalated' END AS state,
               l.number AS last_review, l.reviewed_by AS last_reviewed_by, l.reviewed_at AS last_reviewed_at
        FROM (SELECT f.checked_at, f.id FROM records f WHERE f.outcome = 'flag'
              UNION SELECT w.checked_at, w.id FROM v_reviews w) q
        JOIN records r ON r.checked_at = q.checked_at AND r.id = q.id
        JOIN policies p ON p.digest = r.policy_digest
        JOIN engines e ON e.digest = r.engine_digest
        LEFT JOIN reviews l ON l.checked_at = r.checked_at AND l.record_id = r.id
             AND NOT EXISTS (SELECT 1 FROM reviews n WHERE {later})
        WHERE l.number IS NULL OR l.decision = 'escalate'"""
