"""How revision 0009 sums up records: SELECTs that its views, its summary tables and ``audit summarise`` share.

Rules

1. Like a revision this module is frozen: it imports nothing of today's tables. A later revision that sums up
   otherwise brings a module of its own.
2. Each SELECT is a function of records alone, so a summary can be made anew from them and compared.
3. A percentile is the nearest rank: the smallest value that at least so many of a hundred do not exceed.
4. Sums hold the records of the checkpoints up to the last of ``summarised``; ``v_unsummarised`` lists the rest. Both
   are read in one statement, so a record is counted once, whatever is appended or summarised meanwhile.
"""

# ruff: noqa: S608 - names of tables and columns, all of them ours
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Words:
    """How one database says what SQL leaves open: ``sqlite``, ``postgresql``, or ``duckdb`` over an export."""

    database: str

    def _part(self, time: str, length: int, postgresql: str, duckdb: str) -> str:
        if self.database == "sqlite":  # times are text, such as 2026-03-14 23:59:58.123456
            return f"substr({time}, 1, {length})"
        if self.database == "postgresql":
            return f"to_char({time} AT TIME ZONE 'UTC', '{postgresql}')"
        return f"strftime({time} AT TIME ZONE 'UTC', '{duckdb}')"

    def day(self, time: str) -> str:
        """Such as ``2026-03-14``."""
        return self._part(time, 10, "YYYY-MM-DD", "%Y-%m-%d")

    def hour(self, time: str) -> str:
        """Such as ``2026-03-14 23:00``."""
        return self._part(time, 13, "YYYY-MM-DD HH24", "%Y-%m-%d %H") + " || ':00'"

    def next_hour(self, hour: str) -> str:
        """The hour after *hour*, such as ``2026-03-15 00:00``."""
        if self.database == "sqlite":
            return f"strftime('%Y-%m-%d %H:00', {hour}, '+1 hour')"
        later = f"CAST({hour} AS timestamp) + interval '1 hour'"
        if self.database == "postgresql":
            return f"to_char({later}, 'YYYY-MM-DD HH24:MI')"
        return f"strftime({later}, '%Y-%m-%d %H:%M')"

    def within(self, time: str, day: str) -> str:
        """Whether *time* is on *day*, a text, in words that reach an index on *time*."""
        if self.database == "sqlite":  # a blank, as after the day in a time, comes before 'A'
            return f"{time} >= {day} AND {time} < {day} || 'A'"
        begins = f"CAST({day} || ' 00:00:00+00' AS timestamptz)"
        return f"{time} >= {begins} AND {time} < {begins} + interval '1 day'"

    def each(self, rows: str, table: str, alias: str, condition: str, columns: Sequence[str] = ("*",)) -> str:
        """From and on: for each of *rows*, those of *table* that meet *condition*, found one by one.

        No planner knows how few are not summarised, and one that takes them for many reads the whole table: LIMIT
        and OFFSET keep conditions from outside away, for which SQLite would make a Bloom filter over all records.
        """
        if self.database == "sqlite":
            told = ", ".join(f"{alias}.{column}" for column in columns)
            found = f"SELECT {told} FROM {rows} CROSS JOIN {table} {alias} WHERE {condition} LIMIT -1"
            return f"FROM ({found}) {alias} WHERE true"
        found = f"SELECT * FROM {table} {alias} WHERE {condition} OFFSET 0"
        return f"FROM {rows} CROSS JOIN LATERAL ({found}) {alias} WHERE true"

    def probed(self, rows: str, table: str, alias: str, condition: str) -> str:
        """From and on: each of *rows* with those of *table* that meet *condition*, found one by one as by ``each``."""
        if self.database == "postgresql":
            found = f"SELECT * FROM {table} {alias} WHERE {condition} OFFSET 0"
            return f"FROM {rows} CROSS JOIN LATERAL ({found}) {alias} WHERE true"
        return f"FROM {rows} CROSS JOIN {table} {alias} WHERE {condition}"

    def unchained(self, time: str) -> str:
        """*time* (``-infinity``, ``infinity``) where there is no checkpoint, and no value where there is."""
        if self.database == "sqlite":  # times are text: the empty one comes before all, and a letter after
            time = "" if time.startswith("-") else "A"
            return f"(SELECT '{time}' WHERE NOT EXISTS (SELECT 1 FROM checkpoints))"
        return f"(SELECT CAST('{time}' AS timestamptz) WHERE NOT EXISTS (SELECT 1 FROM checkpoints))"

    def folded(self, text: str) -> str:
        """*text* with A to Z as a to z, and nothing else changed, whatever the database's locale."""
        return f'lower({text} COLLATE "C")' if self.database == "postgresql" else f"lower({text})"

    def joined(self, table: str, condition: str = "true") -> str:
        """The names in *table* of the record ``r``, in their order, separated by ", "."""
        of_record = f"x.checked_at = r.checked_at AND x.record_id = r.id AND {condition}"
        if self.database == "sqlite":  # group_concat knows no ORDER BY of its own before 3.44
            ordered = f"SELECT x.name FROM {table} x WHERE {of_record} ORDER BY x.position"
            return f"(SELECT group_concat(name, ', ') FROM ({ordered}))"
        return f"(SELECT string_agg(x.name, ', ' ORDER BY x.position) FROM {table} x WHERE {of_record})"


NONE_NAMED = "(none named)"
"""The category of a block or a flag that no category led to."""

DECISION_KEY = (
    *("day", "tenant", "policy_digest", "engine_digest", "direction", "rail", "outcome", "cause"),
    *("enforcement", "image_use", "retention_class"),
)
"""Of ``daily_decisions``; a key holds no NULL, so what has no cause or no picture says ''."""
CATEGORY_KEY = ("day", "tenant", "policy_digest", "category", "outcome", "enforcement")
HOUR_KEY = ("hour",)
LATENCY_KEY = ("day", "policy_digest", "engine_digest")

DECISION_SUMS = ("checks", "unsafe", "traces_requested", "traces_missing")
SPAN = ("first_checked_at", "last_checked_at")
PERCENTS = (50, 95, 99)
LATENCY_TOLD = (
    *(f"{stage}_p{percent}_ms" for stage in ("engine", "total") for percent in PERCENTS),
    "total_max_ms",
)


def decisions(words: Words, source: str) -> str:
    """Return the SELECT of ``daily_decisions`` over *source*, a FROM clause and on that calls a record ``r``."""
    unsafe = "r.user_label = 'unsafe' OR r.response_label = 'unsafe'"
    return f"""
        SELECT {words.day("r.checked_at")} AS day, r.tenant, r.policy_digest, r.engine_digest, r.direction, r.rail,
               r.outcome, coalesce(r.cause, '') AS cause, r.enforcement, coalesce(r.image_use, '') AS image_use,
               r.retention_class, count(*) AS checks, count(CASE WHEN {unsafe} THEN 1 END) AS unsafe,
               count(CASE WHEN r.trace_requested THEN 1 END) AS traces_requested,
               count(CASE WHEN r.trace_requested AND NOT r.trace_received THEN 1 END) AS traces_missing,
               min(r.checked_at) AS first_checked_at, max(r.checked_at) AS last_checked_at
        {source}
        GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11"""


def categories(words: Words, source: str) -> str:
    """Return the SELECT of ``daily_categories``: blocks and flags, once for each category that decided them."""
    return f"""
        SELECT b.day, b.tenant, b.policy_digest, coalesce(x.name, '{NONE_NAMED}') AS category, b.outcome,
               b.enforcement, count(*) AS checks
        FROM (SELECT {words.day("r.checked_at")} AS day, r.tenant, r.policy_digest, r.outcome, r.enforcement,
                     r.checked_at, r.id {source} AND r.outcome IN ('block', 'flag')) b
        LEFT JOIN record_categories x ON x.checked_at = b.checked_at AND x.record_id = b.id AND x.deciding
        GROUP BY 1, 2, 3, 4, 5, 6"""


def hours(words: Words, source: str, sealed: str) -> str:
    """Return the SELECT of ``hourly_checks``: of *source*, and of the checkpoints ``c`` that *sealed* lets in."""
    checks = f"SELECT {words.hour('r.checked_at')} AS hour, count(*) AS checks, 0 AS checkpoints {source} GROUP BY 1"
    signed = f"""SELECT {words.hour("c.at")} AS hour, 0 AS checks, count(*) AS checkpoints
                   FROM checkpoints c WHERE {sealed} GROUP BY 1"""
    return f"""
        SELECT t.hour, CAST(sum(t.checks) AS bigint) AS checks, CAST(sum(t.checkpoints) AS bigint) AS checkpoints
        FROM ({checks} UNION ALL {signed}) t
        GROUP BY t.hour"""


def latency(words: Words, source: str) -> str:
    """Return the SELECT of ``daily_latency``: exact percentiles (rule 3) of the checks of a day, policy and engine."""
    if words.database == "sqlite":
        return _latency_on_sqlite(words, source)
    key = f"{words.day('r.checked_at')}, r.policy_digest, r.engine_digest"
    told = ", ".join(
        f"percentile_disc({percent / 100}) WITHIN GROUP (ORDER BY r.{stage}_ms) AS {stage}_p{percent}_ms"
        for stage in ("engine", "total")
        for percent in PERCENTS
    )
    return f"""
        SELECT {words.day("r.checked_at")} AS day, r.policy_digest, r.engine_digest, count(*) AS checks, {told},
               max(r.total_ms) AS total_max_ms
        {source}
        GROUP BY {key}"""


def _latency_on_sqlite(words: Words, source: str) -> str:
    """In places by number, because SQLite sorts by one number in a third of the time that two digests take.

    A number is of a day (20260314), a policy and an engine: of a million and a hundred thousand of these at most.
    """
    numbered = "(SELECT digest, row_number() OVER (ORDER BY digest) AS number FROM {})".format
    day = f"CAST(replace({words.day('r.checked_at')}, '-', '') AS integer)"
    of_day = "CAST(c.number >> 37 AS text)"
    places = " UNION ALL ".join(
        f"SELECT number, (c.{{stage}}_count * {percent} + 99) / 100 FROM of_number c" for percent in PERCENTS
    )

    def percentile(stage: str, percent: int) -> str:
        place = f"(c.{stage}_count * {percent} + 99) / 100"
        return (
            f"max(CASE WHEN x.stage = '{stage}' AND x.place = {place} THEN x.ms END) AS {stage}_p{percent}_ms"
        )

    def placed(stage: str) -> str:
        order = f"PARTITION BY number ORDER BY {stage}_ms NULLS LAST"
        return f"""
              SELECT '{stage}' AS stage, number, place, {stage}_ms AS ms
              FROM (SELECT number, {stage}_ms, row_number() OVER ({order}) AS place FROM of_records)
              WHERE (number, place) IN ({places.format(stage=stage)})"""

    told = ", ".join(percentile(stage, percent) for stage in ("engine", "total") for percent in PERCENTS)
    return f"""
        SELECT * FROM (
            WITH policy AS MATERIALIZED {numbered("policies")}, engine AS MATERIALIZED {numbered("engines")},
            of_records AS MATERIALIZED (
                SELECT ({day} << 37) + (p.number << 17) + e.number AS number, r.engine_ms, r.total_ms
                FROM (SELECT r.checked_at, r.policy_digest, r.engine_digest, r.engine_ms, r.total_ms {source}) r
                CROSS JOIN policy p CROSS JOIN engine e
                WHERE p.digest = r.policy_digest AND e.digest = r.engine_digest
            ), of_number AS MATERIALIZED (
                SELECT number, count(*) AS checks, count(engine_ms) AS engine_count, count(total_ms) AS total_count,
                       max(total_ms) AS total_max_ms
                FROM of_records GROUP BY number
            ), found AS ({placed("engine")} UNION ALL {placed("total")})
            SELECT substr({of_day}, 1, 4) || '-' || substr({of_day}, 5, 2) || '-' || substr({of_day}, 7, 2) AS day,
                   p.digest AS policy_digest, e.digest AS engine_digest, c.checks, {told}, c.total_max_ms
            FROM of_number c
            JOIN policy p ON p.number = (c.number >> 17) & 1048575
            JOIN engine e ON e.number = c.number & 131071
            LEFT JOIN found x ON x.number = c.number
            GROUP BY c.number)"""


UPTO = "(SELECT coalesce(max(d.checkpoint_number), 0) FROM summarised d)"
"""The last checkpoint that is summed up."""


def unsummarised(words: Words, kind: str = "record") -> str:
    """Return the SELECT of ``v_unsummarised`` (rule 4): records in segments that are open, or sealed since.

    A writer's open segments have the numbers after its last sealed one, without a hole. Where nothing is sealed at
    all, these are all records. The same of late traces, for another *kind*. Ranges have two ends because PostgreSQL
    takes one with one end for a third of the table where it knows no better, and one with two for little.
    """
    left = words.each("waiting w", "entries", "x", "x.segment_id = w.segment_id")
    key, table = ("id", "records r") if kind == "record" else ("record_id", "late_traces r")
    return f"""
        WITH RECURSIVE begun(writer, number) AS (
            SELECT w.id, coalesce((SELECT max(s.number) + 1 FROM segments s WHERE s.writer = w.id), 0)
            FROM writers w
            WHERE NOT EXISTS (SELECT 1 FROM checkpoints c WHERE c.ends = w.id)
            UNION ALL
            SELECT b.writer, b.number + 1 FROM begun b
            WHERE (SELECT 1 FROM entries x WHERE x.segment_id = b.writer || '.' || b.number LIMIT 1) IS NOT NULL
        ), waiting(segment_id) AS (
            SELECT b.writer || '.' || b.number FROM begun b
            UNION ALL
            SELECT s.id FROM segments s
            WHERE s.checkpoint_number > {UPTO} AND s.checkpoint_number <= (SELECT max(c.number) FROM checkpoints c)
        )
        SELECT x.at AS checked_at, x.id {left} AND x.kind = '{kind}'
        UNION ALL
        SELECT r.checked_at, r.{key} FROM {table}
        WHERE r.checked_at >= {words.unchained("-infinity")} AND r.checked_at <= {words.unchained("infinity")}"""


def waiting(words: Words) -> str:
    """Return the source of the records that are not summarised."""
    return words.each("v_unsummarised u", "records", "r", "r.checked_at = u.checked_at AND r.id = u.id")


def waiting_lates(words: Words) -> str:
    """Return the source of the late traces ``l`` that are not summarised."""
    return _lates(words, f"({unsummarised(words, 'late_trace')}) u")


def between(words: Words, first: str, last: str) -> str:
    """Return the source of the records under the checkpoints after *first*, up to *last*, both SQL."""
    sealed = _sealed(words, first, last, "record")
    return words.each(sealed, "records", "r", "r.checked_at = u.checked_at AND r.id = u.id")


def lates_between(words: Words, first: str, last: str) -> str:
    """Return the source of the late traces ``l`` under the checkpoints after *first*, up to *last*, both SQL."""
    return _lates(words, _sealed(words, first, last, "late_trace"))


def _sealed(words: Words, first: str, last: str, kind: str) -> str:
    chosen = f"(SELECT c.id FROM segments c WHERE c.checkpoint_number > {first} AND c.checkpoint_number <= {last}) s"
    entries = words.each(chosen, "entries", "x", "x.segment_id = s.id")
    return f"(SELECT x.at AS checked_at, x.id {entries} AND x.kind = '{kind}') u"


def _lates(words: Words, keys: str) -> str:
    return words.each(keys, "late_traces", "l", "l.checked_at = u.checked_at AND l.record_id = u.id")


def of_day(words: Words, days: str) -> str:
    """Return the source of what ``latency`` needs of the records of *days*: a FROM item ``d`` with a ``day``."""
    needed = ("checked_at", "policy_digest", "engine_digest", "engine_ms", "total_ms")
    return words.each(days, "records", "r", words.within("r.checked_at", "d.day"), needed)
