"""How revision 0009 finds what is rare: why a person should look at a record, what failed, and what waits.

Rules

1. Like a revision this module is frozen, as ``summaries_0009`` is.
2. What is under summarised checkpoints lies in tables in the order of time (``review_reasons``, ``failures``,
   ``waiting_reviews``), the rest is found among what is not summarised. So the newest are there at once, however many
   there are, and an answer is never late.
3. A deferred trace may come, and a review be made, after a record was summarised. So the tables hold what was so
   then, and the views leave out what is not so any more. Whatever else they hold stays true.
4. SQLite puts several SELECTs in order as it goes, where their columns have the same affinity, hence the CASTs;
   PostgreSQL several tables. ``listed`` says the same either way.
5. Whether something is there is asked, but at the top of a WHERE, by ``(SELECT 1 … LIMIT 1) IS NULL``: of NOT EXISTS
   beside an OR PostgreSQL makes a list of all late traces there are.
6. The rare comes first, and of records what belongs to it, one by one, not all that a tenant or the table has. SQLite
   is told by a CROSS JOIN; PostgreSQL by a LATERAL, for it takes two columns that are alike for next to never alike.
"""

# ruff: noqa: S608 - names of tables and columns, all of them ours
from __future__ import annotations

from collections.abc import Callable

from railscribe.audit.migrations import summaries_0009 as sums
from railscribe.audit.migrations.summaries_0009 import Words

REASON_KEY = ("checked_at", "record_id", "reason", "found_by")
FAILURE_KEY = ("checked_at", "record_id", "stage")
WAITING_KEY = ("checked_at", "record_id")

_OF_RECORD = "JOIN policies p ON p.digest = r.policy_digest JOIN engines e ON e.digest = r.engine_digest"
_BAD = "(coalesce(l.disagrees, false) OR coalesce(l.contradicts, false) OR coalesce(l.trace_chars, 0) = 0)"
_LATE_REASONS = """(SELECT 'think_disagrees' AS reason UNION ALL SELECT 'trace_contradicts'
                    UNION ALL SELECT 'trace_missing') s"""
_LATE_SAYS = """CASE s.reason WHEN 'think_disagrees' THEN coalesce(l.disagrees, false)
                              WHEN 'trace_contradicts' THEN coalesce(l.contradicts, false)
                              ELSE coalesce(l.trace_chars, 0) = 0 END"""
_REVIEW = "n.kind = 'review'"
_DEFERRED = "n.kind = 'reasoning' AND n.name = 'deferred'"
_STAGES = "(SELECT 'decision' AS stage UNION ALL SELECT 'user' UNION ALL SELECT 'response') s"


def _late_of(row: str, key: str = "id", more: str = "") -> str:
    of_record = f"l.checked_at = {row}.checked_at AND l.record_id = {row}.{key}"
    return f"(SELECT 1 FROM late_traces l WHERE {of_record}{more} LIMIT 1)"


def _reviewed(row: str, key: str = "id") -> str:
    of_record = f"v.checked_at = {row}.checked_at AND v.record_id = {row}.{key}"
    return f"(SELECT 1 FROM reviews v WHERE {of_record} LIMIT 1)"


def _noted(row: str, key: str, condition: str) -> str:
    of_record = f"n.checked_at = {row}.checked_at AND n.record_id = {row}.{key}"
    return f"(SELECT 1 FROM record_notes n WHERE {of_record} AND {condition} LIMIT 1)"


# --- what is taken from records and late traces: ``r`` of *records*, ``l`` of *lates*, each a FROM clause and on


def reasons(words: Words, records: str, lates: str) -> str:
    """Return the SELECT of ``review_reasons``."""
    noted = words.probed(
        f"(SELECT r.checked_at, r.id, r.tenant {records}) b",
        "record_notes",
        "n",
        f"n.checked_at = b.checked_at AND n.record_id = b.id AND ({_REVIEW} OR {_DEFERRED})",
    )
    return f"""
            SELECT n.checked_at, n.record_id,
                   CAST(CASE WHEN {_REVIEW} THEN n.name ELSE 'trace_awaited' END AS text) AS reason,
                   CAST('check' AS text) AS found_by, b.tenant
            {noted} AND ({_REVIEW} OR {_late_of("n", "record_id")} IS NULL)
            UNION ALL
            SELECT l.checked_at, l.record_id, s.reason, 'late_trace', {_tenant("l")}
            FROM (SELECT l.* {lates}) l CROSS JOIN {_LATE_REASONS}
            WHERE {_LATE_SAYS}"""


def failures(records: str, lates: str) -> str:
    """Return the SELECT of ``failures``."""
    cause = """CASE s.stage WHEN 'decision' THEN r.cause
                            WHEN 'user' THEN CASE WHEN r.cause IS NULL THEN r.user_cause END
                            ELSE CASE WHEN r.cause IS NULL THEN r.response_cause END END"""
    failed = "(r.cause IS NOT NULL OR r.user_cause IS NOT NULL OR r.response_cause IS NOT NULL)"
    return f"""
            SELECT r.checked_at, r.id AS record_id, CAST(s.stage AS text) AS stage,
                   CAST({cause} AS text) AS cause, r.tenant
            FROM (SELECT r.* {records} AND {failed}) r CROSS JOIN {_STAGES}
            WHERE {cause} IS NOT NULL
            UNION ALL
            SELECT l.checked_at, l.record_id, 'late_trace', l.cause, {_tenant("l")}
            {lates} AND l.state <> 'received'"""


def waiting(records: str, lates: str) -> str:
    """Return the SELECT of ``waiting_reviews``: what is flagged or has a reason, and no review yet.

    ``awaited`` is 1 where the one reason is that a trace has not come.
    """
    lasting = f"(r.outcome = 'flag' OR {_noted('r', 'id', _REVIEW)} IS NOT NULL)"
    awaited = f"({_noted('r', 'id', _DEFERRED)} IS NOT NULL AND {_late_of('r')} IS NULL)"
    return f"""
            SELECT w.checked_at, w.record_id, w.tenant, min(w.awaited) AS awaited
            FROM (SELECT r.checked_at, r.id AS record_id, r.tenant,
                         CASE WHEN {lasting} THEN 0 ELSE 1 END AS awaited
                  {records} AND ({lasting} OR {awaited})
                  UNION ALL
                  SELECT l.checked_at, l.record_id, {_tenant("l")}, 0
                  {lates} AND {_BAD}) w
            WHERE {_reviewed("w", "record_id")} IS NULL
            GROUP BY w.checked_at, w.record_id, w.tenant"""


def _tenant(row: str) -> str:
    return (
        f"(SELECT r.tenant FROM records r WHERE r.checked_at = {row}.checked_at AND r.id = {row}.record_id)"
    )


STILL_AWAITED = f"(x.reason <> 'trace_awaited' OR {_late_of('x', 'record_id')} IS NULL)"
"""Whether a row ``x`` of ``review_reasons`` is so still (rule 3)."""
STILL_WAITING = f"""({_reviewed("x", "record_id")} IS NULL
                 AND (x.awaited = 0 OR {_late_of("x", "record_id", f" AND NOT {_BAD}")} IS NULL))"""
"""Whether a row ``x`` of ``waiting_reviews`` is so still."""
MADE_WAITING = f"""({_reviewed("x", "record_id")} IS NULL
                 AND (x.awaited = 0 OR {_late_of("x", "record_id")} IS NULL))"""
"""Whether it would be made now, of what was summarised when it was."""


# --- the views


def listed(words: Words, select: Callable[[str], str], *sources: str) -> str:
    """Return *select* over all of *sources* (rule 4)."""
    if words.database == "sqlite":
        return " UNION ALL ".join(map(select, sources))
    return select(f"({' UNION ALL '.join(f'SELECT * FROM {source} y' for source in sources)})")


def _joined(words: Words) -> str:
    """Return the joins of the record of each row ``x`` (rule 6), its policy and its engine."""
    key = "r.checked_at = x.checked_at AND r.id = x.record_id"
    if words.database == "postgresql":
        return f"CROSS JOIN LATERAL (SELECT * FROM records r WHERE {key} OFFSET 0) r {_OF_RECORD}"
    how = "CROSS JOIN" if words.database == "sqlite" else "JOIN"
    return f"{how} records r ON {key} {_OF_RECORD}"


def views(words: Words) -> dict[str, str]:
    """Return the views over both databases, of the tables and of what is not summarised."""
    records, lates = sums.waiting(words), sums.waiting_lates(words)
    found = ("review_reasons", f"({reasons(words, records, lates)})")
    undone = ("failures", f"({failures(records, lates)})")
    return {
        "v_reviews": _reviews(words, *found),
        "v_failures": failed(words, *undone),
        "v_disagreements": disagreements(words, *found),
        "v_review_queue": _queue(words, records, lates),
        "v_review_decisions": _decisions(words),
    }


def _reviews(words: Words, *sources: str) -> str:
    day = words.day("x.checked_at")
    return listed(
        words,
        lambda rows: (
            f"""
            SELECT x.record_id AS id, x.reason, x.found_by, x.checked_at, {day} AS day, x.tenant, r.direction, r.rail,
                   r.outcome, r.enforcement, p.name AS policy, e.name AS engine, e.model
            FROM {rows} x {_joined(words)}
            WHERE {STILL_AWAITED}"""
        ),
        *sources,
    )


def failed(words: Words, *sources: str) -> str:
    """Return the SELECT of ``v_failures`` over *sources*, of which each has the columns of ``failures``."""
    day = words.day("x.checked_at")
    return listed(
        words,
        lambda rows: (
            f"""
            SELECT x.record_id AS id, x.checked_at, {day} AS day, x.tenant, r.direction, r.rail, x.stage, x.cause,
                   r.outcome, r.enforcement, p.name AS policy, e.name AS engine, e.model, r.finish_reason
            FROM {rows} x {_joined(words)}"""
        ),
        *sources,
    )


def disagreements(words: Words, *sources: str) -> str:
    """Return where thinking came to another label than the verdict, or a trace to another than its own verdict."""

    def says(side: str, label: str) -> str:
        other = "safe" if label == "unsafe" else "unsafe"
        return f"(r.{side}_label = '{other}' AND l.{side}_label = '{label}')"

    of_late = "l.checked_at = x.checked_at AND l.record_id = x.record_id AND x.found_by = 'late_trace'"
    late = f"LEFT JOIN late_traces l ON {of_late}"
    if words.database == "postgresql":
        late = f"LEFT JOIN LATERAL (SELECT * FROM late_traces l WHERE {of_late} OFFSET 0) l ON true"
    stricter, milder = (
        f"({says('user', label)} OR {says('response', label)})" for label in ("unsafe", "safe")
    )
    day = words.day("x.checked_at")
    return listed(
        words,
        lambda rows: (
            f"""
            SELECT x.record_id AS id, x.checked_at, {day} AS day, x.tenant, r.direction, r.rail, x.reason AS kind,
                   x.found_by, r.user_label, r.response_label, l.user_label AS late_user_label,
                   l.response_label AS late_response_label,
                   CASE WHEN {stricter} THEN 'stricter' WHEN {milder} THEN 'milder' END AS thinking,
                   r.outcome, r.enforcement, p.name AS policy, e.name AS engine, e.model
            FROM {rows} x {_joined(words)}
            {late}
            WHERE x.reason IN ('think_disagrees', 'trace_contradicts')"""
        ),
        *sources,
    )


def _reasons_of(words: Words, row: str, key: str) -> str:
    """Why the record *key* of *row* was, or is, in the queue, as one text."""
    note = f"FROM record_notes n WHERE n.checked_at = {row}.checked_at AND n.record_id = {row}.{key}"
    late = f"""FROM late_traces l CROSS JOIN {_LATE_REASONS}
                      WHERE l.checked_at = {row}.checked_at AND l.record_id = {row}.{key}"""
    found = f"""SELECT 'flagged' AS reason WHERE {row}.outcome = 'flag'
                UNION SELECT n.name {note} AND {_REVIEW}
                UNION SELECT 'trace_awaited' {note} AND {_DEFERRED} AND {_late_of(row, key)} IS NULL
                UNION SELECT s.reason {late} AND {_LATE_SAYS}"""
    if words.database == "sqlite":  # group_concat knows no ORDER BY of its own before 3.44
        return f"(SELECT group_concat(reason, ', ') FROM (SELECT reason FROM ({found}) ORDER BY reason))"
    return f"(SELECT string_agg(f.reason, ', ' ORDER BY f.reason COLLATE \"C\") FROM ({found}) f)"


def _queue(words: Words, records: str, lates: str) -> str:
    """What waits: not reviewed, or escalated by the latest review of it, which is told by an ``awaited`` of 2."""
    key = "w.checked_at = y.checked_at AND w.record_id = y.record_id"
    fresh = f"""(SELECT y.checked_at, y.record_id, y.tenant, y.awaited FROM ({waiting(records, lates)}) y
                 WHERE NOT EXISTS (SELECT 1 FROM waiting_reviews w WHERE {key}))"""
    later = "n.checked_at = {0}.checked_at AND n.record_id = {0}.record_id AND n.number > {0}.number".format
    due = f"""(EXISTS (SELECT 1 FROM records r WHERE r.checked_at = x.checked_at AND r.id = x.record_id
                        AND r.outcome = 'flag')
                OR {_noted("x", "record_id", _REVIEW)} IS NOT NULL
                OR {_late_of("x", "record_id", f" AND {_BAD}")} IS NOT NULL
                OR ({_noted("x", "record_id", _DEFERRED)} IS NOT NULL AND {_late_of("x", "record_id")} IS NULL))"""
    escalated = f"""(SELECT x.checked_at, x.record_id, x.tenant, CAST(2 AS integer) AS awaited FROM reviews x
             WHERE x.decision = 'escalate' AND (SELECT 1 FROM reviews n WHERE {later("x")} LIMIT 1) IS NULL
             AND {due})"""
    of_row = "l.checked_at = x.checked_at AND l.record_id = x.record_id AND x.awaited = 2"
    last = f"LEFT JOIN reviews l ON {of_row} AND NOT EXISTS (SELECT 1 FROM reviews n WHERE {later('l')})"
    if words.database == "postgresql":
        latest = f"SELECT * FROM reviews l WHERE {of_row} ORDER BY l.number DESC LIMIT 1"
        last = f"LEFT JOIN LATERAL ({latest}) l ON true"
    shown, day = _reasons_of(words, "r", "id"), words.day("x.checked_at")
    return listed(
        words,
        lambda rows: (
            f"""
            SELECT x.record_id AS id, x.checked_at, {day} AS day, x.tenant, r.direction, r.rail, r.outcome, r.cause,
                   r.enforcement, p.name AS policy, p.version AS policy_version, r.policy_digest, e.name AS engine,
                   e.model, {shown} AS reasons, r.rule,
                   {words.joined("record_categories", "x.deciding")} AS deciding_categories,
                   CASE WHEN x.awaited < 2 THEN 'new' ELSE 'escalated' END AS state, l.number AS last_review,
                   l.reviewed_by AS last_reviewed_by, l.reviewed_at AS last_reviewed_at
            FROM {rows} x {_joined(words)}
            {last}
            WHERE x.awaited = 2 OR {STILL_WAITING}"""
        ),
        "waiting_reviews",
        fresh,
        escalated,
    )


def _decisions(words: Words) -> str:
    def seconds(time: str) -> str:
        if words.database == "sqlite":
            return f"CAST(strftime('%s', {time}) AS INTEGER)"
        return f"CAST(extract(epoch FROM date_trunc('second', {time})) AS bigint)"

    return f"""
            SELECT v.record_id AS id, v.number, v.checked_at, v.reviewed_at,
                   {words.day("v.reviewed_at")} AS day, v.tenant, r.direction, r.rail, p.name AS policy,
                   p.version AS policy_version, r.policy_digest, {_reasons_of(words, "v", "record_id")} AS reasons,
                   v.outcome, v.answers, b.decision AS answered_decision, b.reviewed_by AS answered_by, v.decision,
                   v.reason, v.reviewed_by,
                   ({seconds("v.reviewed_at")} - {seconds("v.checked_at")}) / 60 AS minutes_open,
                   v.railscribe_version
            FROM reviews v
            LEFT JOIN records r ON r.checked_at = v.checked_at AND r.id = v.record_id
            LEFT JOIN policies p ON p.digest = r.policy_digest
            LEFT JOIN reviews b ON b.checked_at = v.checked_at AND b.record_id = v.record_id
                 AND b.number = v.answers"""
