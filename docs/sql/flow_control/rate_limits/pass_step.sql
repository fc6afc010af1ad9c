-- Let a step pass when its reserved time has come, unless the rate is blocked or the step before it has passed just
-- now. Then it waits a little longer if that is before the next step's time. Without a row the caller reserves a new
-- time.
-- Parameters: :task uuid, :worker int, :lease int, :rate text, :use text, :brief interval, :key text
WITH leased AS (
    SELECT id FROM taskqueue_task
    WHERE id = :task::uuid AND worker_id = :worker::int AND lease = :lease::int AND status = 'running'
    FOR NO KEY UPDATE
), rate_values AS MATERIALIZED (
    SELECT rounded.spacing, rounded.spacing * (coalesce(rate.burst, rate.declared_burst) - 1) AS tolerance,
        rate.changed_at
    FROM taskqueue_ratelimit rate CROSS JOIN LATERAL (SELECT (
        ceil(extract(epoch FROM coalesce(rate.per, rate.declared_per)) * 1000000
            / coalesce(rate.count, rate.declared_count))::bigint * interval '1 microsecond'
    ) AS spacing) AS rounded
    WHERE rate.name = :rate::text
), bucket AS MATERIALIZED (
    SELECT used.id, rate_values.spacing, used.passes_at,
        greatest(statement_timestamp(), used.passes_at - rate_values.tolerance, used.blocked_until) AS allowed_at
    FROM taskqueue_ratelimitbucket used CROSS JOIN rate_values CROSS JOIN leased
    WHERE used.rate_id = :rate::text AND used.key = :use::text
    FOR NO KEY UPDATE OF used
), passed AS (
    UPDATE taskqueue_ratelimitbucket used
    SET passes_at = greatest(bucket.passes_at, bucket.allowed_at) + bucket.spacing, admitted = used.admitted + 1,
        last_admitted_at = bucket.allowed_at,
        theoretical_arrival_at = greatest(used.theoretical_arrival_at, bucket.passes_at + bucket.spacing,
            bucket.allowed_at + bucket.spacing)
    FROM bucket
    WHERE used.id = bucket.id AND bucket.allowed_at <= statement_timestamp() + :brief::interval
    RETURNING bucket.allowed_at
), later AS (
    UPDATE taskqueue_step step SET until = bucket.allowed_at
    FROM bucket CROSS JOIN leased
    WHERE step.task_id = leased.id AND step.key = :key::text AND step.status = 'waiting'
        AND bucket.allowed_at > statement_timestamp() + :brief::interval AND bucket.allowed_at <= step.until + bucket.spacing
    RETURNING step.until
)
SELECT passed.allowed_at, statement_timestamp() FROM passed
UNION ALL
SELECT later.until, statement_timestamp() FROM later;
