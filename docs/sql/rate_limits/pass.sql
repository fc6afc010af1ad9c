-- Let a step pass whose time has come, unless the rate is blocked or the step before it has passed just now. Then it
-- waits a little longer if that is before the next step's time; no row: it reserves a new time.
-- Parameters: :task uuid, :worker int, :lease int, :rate text, :use text, :brief interval, :key text
WITH held AS (
    SELECT id FROM taskqueue_task
    WHERE id = :task::uuid AND worker_id = :worker::int AND lease = :lease::int AND status = 'running'
    FOR NO KEY UPDATE
), spacing AS MATERIALIZED (
    SELECT rounded.gap, rounded.gap * (coalesce(rate.burst, rate.declared_burst) - 1) AS slack, rate.changed_at
    FROM taskqueue_ratelimit rate CROSS JOIN LATERAL (SELECT (
        ceil(extract(epoch FROM coalesce(rate.per, rate.declared_per)) * 1000000
            / coalesce(rate.count, rate.declared_count))::bigint * interval '1 microsecond'
    ) AS gap) AS rounded
    WHERE rate.name = :rate::text
), bucket AS MATERIALIZED (
    SELECT used.id, spacing.gap, used.passes_at,
        greatest(statement_timestamp(), used.passes_at - spacing.slack, used.blocked_until) AS allowed_at
    FROM taskqueue_ratelimitbucket used CROSS JOIN spacing CROSS JOIN held
    WHERE used.rate_id = :rate::text AND used.key = :use::text
    FOR NO KEY UPDATE OF used
), passed AS (
    UPDATE taskqueue_ratelimitbucket used
    SET passes_at = greatest(bucket.passes_at, bucket.allowed_at) + bucket.gap, admitted = used.admitted + 1,
        last_admitted_at = bucket.allowed_at,
        theoretical_arrival_at = greatest(used.theoretical_arrival_at, bucket.passes_at + bucket.gap,
            bucket.allowed_at + bucket.gap)
    FROM bucket
    WHERE used.id = bucket.id AND bucket.allowed_at <= statement_timestamp() + :brief::interval
    RETURNING bucket.allowed_at
), later AS (
    UPDATE taskqueue_step step SET until = bucket.allowed_at
    FROM bucket CROSS JOIN held
    WHERE step.task_id = held.id AND step.key = :key::text AND step.status = 'waiting'
        AND bucket.allowed_at > statement_timestamp() + :brief::interval AND bucket.allowed_at <= step.until + bucket.gap
    RETURNING step.until
)
SELECT passed.allowed_at, statement_timestamp() FROM passed
UNION ALL
SELECT later.until, statement_timestamp() FROM later;
