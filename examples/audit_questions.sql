-- Audit questions, in SQL that runs on SQLite and on PostgreSQL as it stands:
--
--     sqlite3 railscribe.db < examples/audit_questions.sql
--     psql "$AUDIT_DATABASE" -f examples/audit_questions.sql
--
-- docs/schema.md says what each view and column means. Days and times are UTC.

-- 1. How many checks ended how, day by day?
SELECT day, outcome, enforcement, count(*) AS checks
FROM v_checks
GROUP BY day, outcome, enforcement
ORDER BY day, outcome, enforcement;

-- 2. What was blocked, by policy and category?
SELECT policy, category, sum(blocked) AS blocked
FROM v_blocked_by_category_day
GROUP BY policy, category
ORDER BY blocked DESC, policy, category;

-- 3. Who was refused, why, and in whose words? (text is NULL once it was erased)
SELECT checked_at, tenant, subject, policy, deciding_categories, user_text, trace
FROM v_checks
WHERE outcome = 'block'
ORDER BY checked_at DESC, id
LIMIT 20;

-- 4. What could not be decided, and what happened to it all the same?
SELECT cause, enforcement, engine, count(*) AS checks
FROM v_undecided
GROUP BY cause, enforcement, engine
ORDER BY checks DESC, cause, enforcement, engine;

-- 5. Was anything let through that was neither judged safe nor flagged by a policy?
SELECT id, checked_at, rail, outcome, cause, user_label, response_label
FROM v_checks
WHERE enforcement = 'passed' AND outcome NOT IN ('allow', 'flag')
ORDER BY checked_at, id;

-- 6. What waits for a reviewer?
SELECT checked_at, tenant, policy, deciding_categories, user_text, response_text
FROM v_checks
WHERE outcome = 'flag'
ORDER BY checked_at, id;

-- 7. Under which exact policy was each decision made, from when to when?
SELECT policy, policy_version, policy_digest, min(checked_at) AS first_check, max(checked_at) AS last_check,
       count(*) AS checks
FROM v_checks
GROUP BY policy, policy_version, policy_digest
ORDER BY first_check, policy_digest;

-- 8. Which machinery gave the verdicts?
SELECT engine, model, model_revision, served_model, backend, backend_version, dtype, count(*) AS checks
FROM v_checks
GROUP BY engine, model, model_revision, served_model, backend, backend_version, dtype
ORDER BY checks DESC, engine, model, served_model;

-- 9. Where was reasoning asked for and not given?
SELECT id, checked_at, engine, outcome, cause, finish_reason
FROM v_checks
WHERE trace_requested AND NOT trace_received
ORDER BY checked_at, id;

-- 10. Who tried to forge the conversation's structure?
SELECT checked_at, tenant, subject, session, neutralised, outcome
FROM v_checks
WHERE neutralised IS NOT NULL
ORDER BY checked_at, id;

-- 11. Which pictures were judged, and how did the verdict come to know them?
SELECT image_use, image_reader, outcome, count(*) AS checks
FROM v_checks
WHERE image_count > 0
GROUP BY image_use, image_reader, outcome
ORDER BY image_use, image_reader, outcome;

-- 12. How long did the model take, and the whole check, by engine?
SELECT engine, count(engine_ms) AS calls, round(CAST(avg(engine_ms) AS numeric), 1) AS mean_engine_ms,
       max(engine_ms) AS slowest_engine_ms, max(total_ms) AS slowest_total_ms
FROM v_checks
WHERE engine_ms IS NOT NULL
GROUP BY engine
ORDER BY engine;

-- 13. What should a person look at, and why?
SELECT reason, found_by, policy, outcome, count(*) AS checks
FROM v_reviews
GROUP BY reason, found_by, policy, outcome
ORDER BY checks DESC, reason, found_by, policy, outcome;

-- 14. What became of reasoning that was deferred?
SELECT state, cause, count(*) AS checks, count(CASE WHEN disagrees THEN 1 END) AS disagreeing,
       max(engine_ms) AS slowest_engine_ms
FROM v_late_traces
GROUP BY state, cause
ORDER BY checks DESC, state, cause;
