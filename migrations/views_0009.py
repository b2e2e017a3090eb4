"""The views of revision 0009, for both databases and for DuckDB over an export. Frozen, as ``summaries_0009`` is.

Rules

1. A view has the same name, columns, order of columns and answers everywhere; only its wording may differ.
2. What can be asked of ten million checks at once is answered from summaries, and from the records themselves
   where these are not in a summary yet. So an answer is never late.
3. What lists records keeps ``checked_at`` as it is stored, so that a period reaches the index.
"""

# ruff: noqa: S608 - names of tables and columns, all of them ours
from __future__ import annotations

from railscribe.audit.migrations.summaries_0009 import Words

_OF_ENGINE = (
    *("name", "model", "revision", "adapter", "adapter_digest", "template_digest"),
    *("backend", "backend_version", "dtype", "decoding"),
)


def daily(decisions: str, categories: str) -> dict[str, str]:
    """Return the views over sums by day: *decisions* and *categories* are what they select from."""
    return {
        "v_daily_decisions": f"""
            SELECT d.day, d.tenant, p.name AS policy, p.version AS policy_version, d.policy_digest,
                   e.name AS engine, e.model, d.engine_digest, d.direction, d.rail, d.outcome,
                   nullif(d.cause, '') AS cause, d.enforcement, nullif(d.image_use, '') AS image_use,
                   d.retention_class, d.checks, d.unsafe, d.traces_requested, d.traces_missing,
                   d.first_checked_at, d.last_checked_at
            FROM {decisions} d
            JOIN policies p ON p.digest = d.policy_digest
            JOIN engines e ON e.digest = d.engine_digest""",
        "v_daily_categories": f"""
            SELECT d.day, d.tenant, p.name AS policy, p.version AS policy_version, d.policy_digest, d.category,
                   d.outcome, d.enforcement, d.checks
            FROM {categories} d
            JOIN policies p ON p.digest = d.policy_digest""",
        "v_blocked_by_category_day": f"""
            SELECT d.day, d.tenant, p.name AS policy, d.category, CAST(sum(d.checks) AS bigint) AS blocked
            FROM {categories} d
            JOIN policies p ON p.digest = d.policy_digest
            WHERE d.outcome = 'block'
            GROUP BY d.day, d.tenant, p.name, d.category""",
        **_engines(decisions),
    }


def _engines(decisions: str) -> dict[str, str]:
    shown = ", ".join("e.name AS engine" if name == "name" else f"e.{name}" for name in _OF_ENGINE)
    # IS DISTINCT FROM is not in SQLite before 3.39; no field of an engine is ever ''.
    changed = " || ".join(
        f"CASE WHEN coalesce(e.{name}, '') <> coalesce(b.{name}, '') "
        f"THEN ', {'engine' if name == 'name' else name}' ELSE '' END"
        for name in _OF_ENGINE
    )
    return {
        "v_engine_days": f"""
            SELECT s.day, s.engine_digest, {shown}, s.checks, s.first_checked_at, s.last_checked_at
            FROM (SELECT d.day, d.engine_digest, CAST(sum(d.checks) AS bigint) AS checks,
                         min(d.first_checked_at) AS first_checked_at, max(d.last_checked_at) AS last_checked_at
                  FROM {decisions} d GROUP BY d.day, d.engine_digest) s
            JOIN engines e ON e.digest = s.engine_digest""",
        "v_engine_timeline": f"""
            SELECT s.engine_digest, {shown}, s.first_checked_at, s.last_checked_at, s.days, s.checks,
                   s.previous_digest,
                   CASE WHEN s.previous_digest IS NOT NULL THEN substr({changed}, 3) END AS changed
            FROM (SELECT g.*, lag(g.engine_digest) OVER (ORDER BY g.first_checked_at, g.engine_digest)
                         AS previous_digest
                  FROM (SELECT d.engine_digest, min(d.first_checked_at) AS first_checked_at,
                               max(d.last_checked_at) AS last_checked_at, count(DISTINCT d.day) AS days,
                               CAST(sum(d.checks) AS bigint) AS checks
                        FROM {decisions} d GROUP BY d.engine_digest) g) s
            JOIN engines e ON e.digest = s.engine_digest
            LEFT JOIN engines b ON b.digest = s.previous_digest""",
    }


def latency(rows: str) -> dict[str, str]:
    """Return the view over percentiles by day, policy and engine: *rows* is what it selects from."""
    return {
        "v_latency": f"""
            SELECT d.day, p.name AS policy, p.version AS policy_version, d.policy_digest, e.name AS engine,
                   e.model, d.engine_digest, d.checks, d.engine_p50_ms, d.engine_p95_ms, d.engine_p99_ms,
                   d.total_p50_ms, d.total_p95_ms, d.total_p99_ms, d.total_max_ms
            FROM {rows} d
            JOIN policies p ON p.digest = d.policy_digest
            JOIN engines e ON e.digest = d.engine_digest"""
    }


def hours(words: Words, checks: str) -> dict[str, str]:
    """Return the view over all hours from the first to the last: *checks* is what it selects their checks from."""
    gaps = f"""SELECT {words.hour("g.since")} AS hour, count(*) AS gaps, CAST(sum(g.count) AS bigint) AS lost
                       FROM gaps g GROUP BY 1"""
    found = f"""SELECT t.hour, CAST(sum(t.checks) AS bigint) AS checks,
                              CAST(sum(t.checkpoints) AS bigint) AS checkpoints
                       FROM {checks} t GROUP BY t.hour"""
    return {
        "v_hours": f"""
            WITH RECURSIVE found AS ({found}), gap AS ({gaps}), span AS (
                SELECT min(hour) AS first_hour, max(hour) AS last_hour
                FROM (SELECT hour FROM found UNION ALL SELECT hour FROM gap) t
            ), hours(hour) AS (
                SELECT first_hour FROM span WHERE first_hour IS NOT NULL
                UNION ALL
                SELECT {words.next_hour("h.hour")} FROM hours h WHERE h.hour < (SELECT last_hour FROM span)
            )
            SELECT h.hour, substr(h.hour, 1, 10) AS day, coalesce(f.checks, 0) AS checks,
                   coalesce(f.checkpoints, 0) AS checkpoints, coalesce(g.gaps, 0) AS gaps,
                   coalesce(g.lost, 0) AS lost, coalesce(f.checkpoints, 0) > 0 AS covered,
                   (coalesce(f.checkpoints, 0) > 0 AND g.hour IS NULL) AS complete
            FROM hours h
            LEFT JOIN found f ON f.hour = h.hour
            LEFT JOIN gap g ON g.hour = h.hour"""
    }


def coverage(words: Words, decisions: str) -> dict[str, str]:
    """Return the view over months of the log, from ``v_hours`` and *decisions*; and the one over gaps."""
    return {
        "v_gaps": f"""
            SELECT g.id, g.at, {words.day("g.since")} AS day, g.since, g.until, g.count, g.cause, g.detail, g.writer,
                   w.host, w.railscribe_version
            FROM gaps g
            LEFT JOIN writers w ON w.id = g.writer""",
        "v_log_coverage": f"""
            SELECT h.month, m.first_checked_at, m.last_checked_at, coalesce(m.checks, 0) AS checks,
                   coalesce(m.tenants, 0) AS tenants, coalesce(m.policies, 0) AS policies,
                   coalesce(m.engines, 0) AS engines, h.hours, h.hours_covered, h.gaps, h.lost,
                   (h.hours = h.hours_covered AND h.gaps = 0) AS complete
            FROM (SELECT substr(v.hour, 1, 7) AS month, count(*) AS hours,
                         count(CASE WHEN v.covered THEN 1 END) AS hours_covered,
                         CAST(sum(v.gaps) AS bigint) AS gaps, CAST(sum(v.lost) AS bigint) AS lost
                  FROM v_hours v GROUP BY substr(v.hour, 1, 7)) h
            LEFT JOIN (SELECT substr(d.day, 1, 7) AS month, CAST(sum(d.checks) AS bigint) AS checks,
                              min(d.first_checked_at) AS first_checked_at,
                              max(d.last_checked_at) AS last_checked_at,
                              count(DISTINCT d.tenant) AS tenants, count(DISTINCT d.policy_digest) AS policies,
                              count(DISTINCT d.engine_digest) AS engines
                       FROM {decisions} d GROUP BY substr(d.day, 1, 7)) m ON m.month = h.month""",
    }


def reasons(words: Words) -> dict[str, str]:
    """Return the views that say why: of refusals, of one decision, and as the DSA wants it said."""
    clause = f"""
                LEFT JOIN policy_clauses c ON c.registration_digest = r.registration_digest
                    AND c.kind <> 'description' AND {_belongs(words, "r.category")}"""
    # The first clause, where a name has several.
    only = """
                    AND NOT EXISTS (SELECT 1 FROM policy_clauses f
                                    WHERE f.registration_digest = c.registration_digest
                                    AND f.position < c.position AND f.kind <> 'description' AND {same})"""
    first = clause + only.format(same=_belongs(words, "r.category", "f"))
    if words.database == "postgresql":  # one by one, so that the newest need no others
        first = f"""
                LEFT JOIN LATERAL (SELECT c.text, c.file, c.line FROM policy_clauses c
                                   WHERE c.registration_digest = r.registration_digest
                                   AND c.kind <> 'description' AND {_belongs(words, "r.category")}
                                   ORDER BY c.position LIMIT 1) c ON true"""
    refused = f"""(SELECT r.*, {_registration()} AS registration_digest, {_first_category()} AS category,
                          {words.joined("record_categories", "x.deciding")} AS categories
                   FROM records r WHERE r.enforcement = 'refused') r"""
    policy = "'policy ' || p.name || ' ' || p.version"
    why = f"""CASE r.outcome
                        WHEN 'block' THEN 'Blocked by ' || {policy} || ': ' || coalesce(r.rule, 'judged unsafe')
                        WHEN 'undecided' THEN 'No decision could be made (' || r.cause
                                              || '), and the rail refuses what is undecided'
                        ELSE 'Refused by the rail, although the decision of ' || {policy} || ' was: ' || r.outcome
                   END"""
    return {
        "v_refusals": f"""
            SELECT r.id, r.checked_at, {words.day("r.checked_at")} AS day, r.tenant, r.session, r.request,
                   r.subject, r.direction, r.rail, r.host, r.outcome, r.cause, r.decided_on, r.rule,
                   r.categories, {why} AS why, p.name AS policy, p.version AS policy_version, r.policy_digest,
                   c.text AS clause, c.file AS clause_file, c.line AS clause_line
            FROM {refused}
            JOIN policies p ON p.digest = r.policy_digest{first}""",
        "v_reasons": f"""
            SELECT r.id, r.checked_at, {words.day("r.checked_at")} AS day, r.tenant, r.subject, r.outcome,
                   r.cause, r.enforcement, r.decided_on, r.rule, r.category, r.said, r.known, r.deciding,
                   r.score, p.name AS policy, p.version AS policy_version, r.policy_digest,
                   r.registration_digest, c.kind AS clause_kind, c.text AS clause, c.file AS clause_file,
                   c.line AS clause_line, c.construct AS clause_construct
            FROM (SELECT r.*, {_registration()} AS registration_digest, x.name AS category, x.said, x.known,
                         x.deciding, x.score
                  FROM records r
                  LEFT JOIN record_categories x ON x.checked_at = r.checked_at AND x.record_id = r.id) r
            JOIN policies p ON p.digest = r.policy_digest{clause}""",
        "v_statements_of_reasons": f"""
            SELECT r.id AS puid, r.checked_at AS decided_at, {words.day("r.checked_at")} AS day, r.tenant,
                   'refused' AS decision, r.checked_at AS content_date,
                   CASE WHEN r.image_count > 0 THEN 'text and image' ELSE 'text' END AS content_type,
                   coalesce(r.category, 'none named') AS category, {why} AS facts,
                   CASE WHEN r.outcome = 'undecided' THEN 'undecided' ELSE 'policy' END AS ground,
                   p.name || ' ' || p.version || ' (' || r.policy_digest || ')' AS ground_reference,
                   c.text AS ground_text, c.file || ':' || c.line AS ground_source,
                   'yes' AS automated_detection, 'full' AS automated_decision,
                   CAST(NULL AS text) AS territorial_scope, CAST(NULL AS text) AS end_date,
                   CAST(NULL AS text) AS redress
            FROM {refused}
            JOIN policies p ON p.digest = r.policy_digest{first}""",
    }


def _registration() -> str:
    """The registration of ``r``'s policy: the latest at the time, or else the first that came after it."""
    of_policy = "SELECT g.digest FROM policy_registrations g WHERE g.policy_digest = r.policy_digest"
    before = f"{of_policy} AND g.registered_at <= r.checked_at ORDER BY g.registered_at DESC, g.digest DESC LIMIT 1"
    return f"coalesce(({before}), ({of_policy} ORDER BY g.registered_at, g.digest LIMIT 1))"


def _first_category() -> str:
    of_record = "x.checked_at = r.checked_at AND x.record_id = r.id AND x.deciding"
    return f"(SELECT x.name FROM record_categories x WHERE {of_record} ORDER BY x.position LIMIT 1)"


def _belongs(words: Words, name: str, clause: str = "c") -> str:
    """Whether *clause* is that of the category or behaviour *name*, as ``registration.belongs`` says it."""
    text, wanted = words.folded(f"{clause}.text"), words.folded(name)
    named = f"{clause}.kind = 'category' AND substr({text}, 1, length({name}) + 2) = {wanted} || ': '"
    return f"({text} = {wanted} OR {named})"


def listings(words: Words) -> dict[str, str]:
    """Return the views that list notes, and what is held for whom."""
    key = "r.checked_at = n.checked_at AND r.id = n.record_id"
    shown, of_note = "r.id", f"JOIN records r ON {key}"
    if words.database == "postgresql":  # one by one, so that the newest need no others
        shown = "n.record_id AS id"
        of_note = f"CROSS JOIN LATERAL (SELECT * FROM records r WHERE {key} OFFSET 0) r"
    return {
        "v_notes": f"""
            SELECT {shown}, n.checked_at, {words.day("n.checked_at")} AS day, r.tenant, r.session, r.subject,
                   r.direction, r.rail, r.outcome, r.enforcement, n.kind, n.position, n.name
            FROM record_notes n
            {of_note}""",
        "v_held": _held(),
    }


def _held() -> str:
    """What is held for whom: the record itself, and each kind of content beside it."""
    grouped = """
            GROUP BY r.tenant, r.subject, r.retention_class, r.content_mode"""
    shown = "r.tenant, r.subject, r.retention_class, r.content_mode"
    span = "min(r.checked_at) AS first_checked_at, max(r.checked_at) AS last_checked_at"
    return f"""
            SELECT {shown}, 'record' AS kind, count(*) AS records, count(*) AS items, {span}
            FROM records r
            WHERE r.subject IS NOT NULL{grouped}
            UNION ALL
            SELECT {shown}, c.kind, count(DISTINCT r.id), count(*), {span}
            FROM records r
            JOIN contents c ON c.checked_at = r.checked_at AND c.record_id = r.id
            WHERE r.subject IS NOT NULL{grouped}, c.kind"""
