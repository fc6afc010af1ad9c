-- Reserve a time for a step. A future one is recorded with the step in this statement, so that one attempt uses the
-- rate once.
-- Parameters: :task uuid, :worker int, :lease int, :rate text, :use text, :brief interval, :key text, :name text,
-- :input jsonb, :input_hash text
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
), reservation AS (
    INSERT INTO taskqueue_ratelimitbucket AS used (rate_id, key, theoretical_arrival_at, passes_at, admitted,
        last_admitted_at, block_reason)
    SELECT :rate::text, :use::text, statement_timestamp() + spacing, statement_timestamp() + spacing, 1,
        statement_timestamp(), ''
    FROM leased CROSS JOIN rate_values
    ON CONFLICT (rate_id, key) DO UPDATE SET (theoretical_arrival_at, passes_at, admitted, last_admitted_at) = (
        SELECT next.at + rate_values.spacing,
            CASE WHEN allowed.now THEN next.at + rate_values.spacing ELSE used.passes_at END,
            CASE WHEN allowed.now THEN used.admitted + 1 ELSE used.admitted END,
            CASE WHEN allowed.now THEN greatest(allowed.at, statement_timestamp()) ELSE used.last_admitted_at END
        FROM rate_values CROSS JOIN LATERAL (
            SELECT greatest(
                used.theoretical_arrival_at, used.passes_at, statement_timestamp(),
                used.blocked_until + rate_values.tolerance
            ) AS at
        ) AS next CROSS JOIN LATERAL (
            SELECT next.at - rate_values.tolerance AS at, next.at - rate_values.tolerance <= statement_timestamp() + :brief::interval AS now
        ) AS allowed
    )
    RETURNING used.theoretical_arrival_at - (SELECT spacing + tolerance FROM rate_values) AS allowed_at
), waiting AS (
    INSERT INTO taskqueue_step AS existing (
        task_id, key, name, kind, status, failures, input, input_hash, until, started_at, finished_at
    )
    SELECT leased.id, :key::text, :name::text, 'step', 'waiting', 0, :input::jsonb, :input_hash::text,
        reservation.allowed_at, statement_timestamp(), statement_timestamp()
    FROM leased CROSS JOIN reservation
    WHERE reservation.allowed_at > statement_timestamp() + :brief::interval
    ON CONFLICT (task_id, key) DO UPDATE
    SET status = 'waiting', input = EXCLUDED.input, input_hash = EXCLUDED.input_hash, error = NULL,
        until = EXCLUDED.until, started_at = EXCLUDED.started_at, finished_at = EXCLUDED.finished_at
    WHERE existing.status <> 'succeeded'
)
SELECT reservation.allowed_at, statement_timestamp(), rate_values.changed_at, rate_values.spacing IS NOT NULL
FROM leased LEFT JOIN rate_values ON true LEFT JOIN reservation ON true;
