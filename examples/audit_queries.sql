-- Thirty questions that an auditor asks, in SQL that runs unchanged on SQLite, on PostgreSQL, and on an export:
--
--     sqlite3 -box railscribe.db < examples/audit_queries.sql
--     psql "$AUDIT_DATABASE" -f examples/audit_queries.sql
--     python examples/duckdb_questions.py export/
--
-- Put your own tenant, person, record and period in the place of acme, user-42 and March 2026. Days and times are
-- UTC; a period is written with +00, which all three read alike. docs/schema.md says what each view and column means.

-- 1. How many checks ended how, day by day?
SELECT day, outcome, enforcement, sum(checks) AS checks
FROM v_daily_decisions
GROUP BY day, outcome, enforcement
ORDER BY day, outcome, enforcement;

-- 2. What was blocked, by policy and category?
SELECT policy, category, sum(blocked) AS blocked
FROM v_blocked_by_category_day
GROUP BY policy, category
ORDER BY blocked DESC, policy, category;

-- 3. How does each tenant fare: what share of its checks is refused, month by month?
SELECT substr(day, 1, 7) AS month, tenant, sum(checks) AS checks,
       sum(CASE WHEN enforcement = 'refused' THEN checks ELSE 0 END) AS refused,
       round(CAST(100.0 * sum(CASE WHEN enforcement = 'refused' THEN checks ELSE 0 END) / sum(checks) AS numeric), 2)
           AS refused_percent
FROM v_daily_decisions
GROUP BY substr(day, 1, 7), tenant
ORDER BY month, tenant;

-- 4. Which categories led to blocks and flags for one tenant, day by day?
SELECT day, category, outcome, sum(checks) AS checks
FROM v_daily_categories
WHERE tenant = 'acme' AND day BETWEEN '2026-03-01' AND '2026-03-31'
GROUP BY day, category, outcome
ORDER BY day, category, outcome;

-- 5. Who was refused on a day, and why, in words?
SELECT checked_at, id, tenant, subject, direction, why, clause, clause_file, clause_line
FROM v_refusals
WHERE checked_at >= '2026-03-14 00:00:00+00' AND checked_at < '2026-03-15 00:00:00+00'
ORDER BY checked_at, id
LIMIT 100;

-- 6. What was one person refused, under which clause of which policy?
SELECT checked_at, id, categories, why, policy, policy_version, policy_digest, clause
FROM v_refusals
WHERE tenant = 'acme' AND subject = 'user-42'
ORDER BY checked_at, id;

-- 7. Why was this one decision made, and where does the policy say so?
SELECT outcome, enforcement, rule, category, said, known, deciding, score, policy, policy_version,
       clause, clause_file, clause_line
FROM v_reasons
WHERE id = '019ced4f-0000-7000-8000-000000000000'
ORDER BY deciding DESC NULLS LAST, category NULLS FIRST, clause_line NULLS FIRST;

-- 8. In whose words was it? (a text is NULL where it was erased, or never kept)
SELECT checked_at, tenant, subject, outcome, deciding_categories, user_text, response_text, trace
FROM v_checks
WHERE outcome = 'block'
ORDER BY checked_at DESC, id DESC
LIMIT 20;

-- 9. What could not be decided, why, and what was done all the same?
SELECT cause, enforcement, engine, sum(checks) AS checks
FROM v_daily_decisions
WHERE outcome = 'undecided'
GROUP BY cause, enforcement, engine
ORDER BY checks DESC, cause, enforcement, engine;

-- 10. Was anything let through that was neither judged safe nor flagged by a policy?
SELECT day, tenant, rail, policy, cause, sum(checks) AS checks
FROM v_daily_decisions
WHERE enforcement = 'passed' AND outcome NOT IN ('allow', 'flag')
GROUP BY day, tenant, rail, policy, cause
ORDER BY day, tenant, rail, policy, cause NULLS FIRST;

-- 11. What did the model call unsafe and the policy let pass?
SELECT policy, policy_version, outcome, sum(unsafe) AS passed_although_unsafe, sum(checks) AS checks
FROM v_daily_decisions
WHERE enforcement = 'passed'
GROUP BY policy, policy_version, outcome
HAVING sum(unsafe) > 0
ORDER BY passed_although_unsafe DESC, policy, policy_version, outcome;

-- 12. Which single checks failed on a day, at which stage, and how did the engine's reply end?
SELECT checked_at, id, stage, cause, outcome, enforcement, engine, finish_reason
FROM v_failures
WHERE checked_at >= '2026-03-14 00:00:00+00' AND checked_at < '2026-03-15 00:00:00+00'
ORDER BY checked_at, id, stage
LIMIT 100;

-- 13. What was flagged for a person, the oldest first?
SELECT checked_at, id, tenant, policy, deciding_categories, rule
FROM v_checks
WHERE outcome = 'flag'
ORDER BY checked_at, id
LIMIT 50;

-- 14. What should a person look at for other reasons?
SELECT reason, found_by, policy, outcome, count(*) AS checks
FROM v_reviews
WHERE checked_at >= '2026-03-14 00:00:00+00' AND checked_at < '2026-03-15 00:00:00+00'
GROUP BY reason, found_by, policy, outcome
ORDER BY checks DESC, reason, found_by, policy, outcome;

-- 15. Where did reasoning come to another label than the verdict, and was it stricter?
SELECT kind, found_by, policy, engine, thinking, count(*) AS checks
FROM v_disagreements
WHERE checked_at >= '2026-03-14 00:00:00+00' AND checked_at < '2026-03-16 00:00:00+00'
GROUP BY kind, found_by, policy, engine, thinking
ORDER BY checks DESC, kind, found_by, policy, engine, thinking NULLS FIRST;

-- 16. How often was reasoning asked for, and how often was it not given?
SELECT engine, model, policy, sum(traces_requested) AS requested, sum(traces_missing) AS missing
FROM v_daily_decisions
WHERE traces_requested > 0
GROUP BY engine, model, policy
ORDER BY missing DESC, engine, model, policy;

-- 17. What became of reasoning that was deferred?
SELECT state, cause, count(*) AS checks, count(CASE WHEN disagrees THEN 1 END) AS disagreeing
FROM v_late_traces
WHERE checked_at >= '2026-03-14 00:00:00+00' AND checked_at < '2026-03-15 00:00:00+00'
GROUP BY state, cause
ORDER BY checks DESC, state, cause NULLS FIRST;

-- 18. Under which exact policy was each decision made, from when to when?
SELECT policy, policy_version, policy_digest, min(first_checked_at) AS first_check,
       max(last_checked_at) AS last_check, sum(checks) AS checks
FROM v_daily_decisions
GROUP BY policy, policy_version, policy_digest
ORDER BY first_check, policy_digest;

-- 19. Who changed which policy, when, and why?
SELECT happened_at, event, policy, tag, tenant, policy_version, policy_digest, previous_digest, by_whom, reason
FROM v_policy_timeline
ORDER BY happened_at, event, policy, tag NULLS FIRST, tenant NULLS FIRST;

-- 20. Which policy did each tag point to at noon on 14 March?
SELECT policy, tag, tenant, policy_version, policy_digest, happened_at AS since, until
FROM v_policy_timeline
WHERE event = 'moved' AND happened_at <= '2026-03-14 12:00:00+00'
      AND (until IS NULL OR until > '2026-03-14 12:00:00+00')
ORDER BY policy, tag, tenant NULLS FIRST;

-- 21. Which machinery gave the verdicts, since when, and what was changed in it?
SELECT engine, model, revision, adapter, backend, backend_version, dtype, first_checked_at, last_checked_at,
       days, checks, changed
FROM v_engine_timeline
ORDER BY first_checked_at, engine_digest;

-- 22. Which machinery judged on one day?
SELECT engine, model, revision, adapter_digest, template_digest, backend, backend_version, checks
FROM v_engine_days
WHERE day = '2026-03-15'
ORDER BY checks DESC, engine_digest;

-- 23. How long did a check take, by day, policy and engine?
SELECT day, policy, engine, checks, engine_p50_ms, engine_p95_ms, engine_p99_ms, total_p50_ms, total_p95_ms,
       total_p99_ms
FROM v_latency
WHERE day BETWEEN '2026-03-01' AND '2026-03-31'
ORDER BY day, policy, policy_digest, engine, engine_digest;

-- 24. Which were the slowest days?
SELECT day, policy, engine, checks, total_p95_ms, total_max_ms
FROM v_latency
WHERE total_p95_ms IS NOT NULL
ORDER BY total_p95_ms DESC, day, policy_digest, engine_digest
LIMIT 10;

-- 25. Who tried to forge the conversation's structure?
SELECT checked_at, id, tenant, subject, session, name AS marker, outcome
FROM v_notes
WHERE kind = 'neutralised'
ORDER BY checked_at DESC, id DESC, position
LIMIT 100;

-- 26. Which pictures were judged, and how did the verdict come to know them?
SELECT image_use, outcome, sum(checks) AS checks
FROM v_daily_decisions
WHERE image_use IS NOT NULL
GROUP BY image_use, outcome
ORDER BY image_use, outcome;

-- 27. What is held about one person, in which form, for how long? (GDPR Art. 15)
SELECT retention_class, content_mode, kind, records, items, first_checked_at, last_checked_at
FROM v_held
WHERE tenant = 'acme' AND subject = 'user-42'
ORDER BY retention_class, content_mode, kind;

-- 28. What would a statement of reasons say? (DSA Art. 17)
SELECT puid, decided_at, decision, content_type, category, facts, ground, ground_reference, ground_text,
       automated_detection, automated_decision
FROM v_statements_of_reasons
WHERE decided_at >= '2026-03-14 00:00:00+00' AND decided_at < '2026-03-15 00:00:00+00' AND tenant = 'acme'
ORDER BY decided_at, puid
LIMIT 100;

-- 29. Which hours of a month cannot be vouched for: without a checkpoint, or with checks that were not recorded?
SELECT hour, checks, checkpoints, gaps, lost
FROM v_hours
WHERE NOT complete AND day BETWEEN '2026-03-01' AND '2026-03-31'
ORDER BY hour;

-- 30. What does the log cover, month by month? (AI Act Art. 12, 19)
SELECT month, first_checked_at, last_checked_at, checks, tenants, policies, engines, hours, hours_covered, gaps, lost
FROM v_log_coverage
ORDER BY month;
