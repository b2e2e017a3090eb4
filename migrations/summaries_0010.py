"""How revision 0010 sums up rollouts, and lists streams. Frozen, as ``summaries_0009`` is; its rules hold."""

# ruff: noqa: S608 - names of tables and columns, all of them ours
from __future__ import annotations

from railscribe.audit.migrations.summaries_0009 import Words, waiting

__all__ = ["ROLLOUT_KEY", "ROLLOUT_SUMS", "Words", "rollout", "rollout_view", "streams"]

ROLLOUT_KEY = ("day", "tenant", "policy_digest", "rail", "rollout")
ROLLOUT_SUMS = ("checks", "refused", "would_have_been_refused")


def rollout(words: Words, source: str) -> str:
    """Return the SELECT of ``daily_rollout`` over *source*, a FROM clause and on that calls a record ``r``."""
    return f"""
        SELECT {words.day("r.checked_at")} AS day, r.tenant, r.policy_digest, r.rail,
               coalesce(r.rollout, 'enforce') AS rollout, count(*) AS checks,
               count(CASE WHEN r.enforcement = 'refused' THEN 1 END) AS refused,
               count(CASE WHEN r.enforcement = 'observed' THEN 1 END) AS would_have_been_refused
        {source}
        GROUP BY 1, 2, 3, 4, 5"""


def rollout_view(words: Words) -> str:
    """Return the SELECT of ``v_rollout``."""
    sums = ", ".join(f"CAST(sum(d.{name}) AS bigint) AS {name}" for name in ROLLOUT_SUMS)
    return f"""
        SELECT d.day, d.tenant, p.name AS policy, d.rail, d.rollout, {sums}
        FROM (SELECT * FROM daily_rollout UNION ALL {rollout(words, waiting(words))}) d
        JOIN policies p ON p.digest = d.policy_digest
        GROUP BY d.day, d.tenant, p.name, d.rail, d.rollout"""


def streams(words: Words) -> str:
    """Return the SELECT of ``v_streams``: each by its first part, so that the newest are found first."""
    joined = "records x JOIN policies q ON q.digest = x.policy_digest"
    same = "x.stream = r.stream AND x.tenant = r.tenant AND q.name = p.name"

    def of_parts(what: str) -> str:
        return f"(SELECT {what} FROM {joined} WHERE {same})"

    return f"""
        SELECT r.stream, r.checked_at AS began_at, {words.day("r.checked_at")} AS day, r.tenant, p.name AS policy,
               {of_parts("count(*)")} AS checks, {of_parts("count(x.repeats)")} AS repeats,
               {of_parts("max(CASE WHEN x.stream_final THEN 1 ELSE 0 END)")} AS judged_to_its_end,
               {of_parts("min(CASE WHEN x.enforcement = 'refused' THEN x.stream_part END)")} AS cut_at_part,
               {of_parts("min(CASE WHEN x.enforcement = 'refused' THEN x.id END)")} AS cut_by
        FROM records r
        JOIN policies p ON p.digest = r.policy_digest
        WHERE r.stream IS NOT NULL AND NOT EXISTS (
            SELECT 1 FROM {joined} WHERE {same}
            AND (x.checked_at < r.checked_at OR (x.checked_at = r.checked_at AND x.id < r.id)))"""
