-- Reserve a time for a step. A future one is recorded with the step in this statement, so that one attempt uses the
-- rate once.
-- Parameters: :task uuid, :worker int, :lease int, :rate text, :use text, :brief interval, :key text, :name text,
-- :input jsonb, :input_hash text
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
), given AS (
    INSERT INTO taskqueue_ratelimitbucket AS used (rate_id, key, theoretical_arrival_at, passes_at, admitted,
        last_admitted_at, block_reason)
    SELECT :rate::text, :use::text, statement_timestamp() + gap, statement_timestamp() + gap, 1,
        statement_timestamp(), ''
    FROM held CROSS JOIN spacing
    ON CONFLICT (rate_id, key) DO UPDATE SET (theoretical_arrival_at, passes_at, admitted, last_admitted_at) = (
        SELECT next.at + spacing.gap,
            CASE WHEN allowed.now THEN next.at + spacing.gap ELSE used.passes_at END,
            CASE WHEN allowed.now THEN used.admitted + 1 ELSE used.admitted END,
            CASE WHEN allowed.now THEN greatest(allowed.at, statement_timestamp()) ELSE used.last_admitted_at END
        FROM spacing CROSS JOIN LATERAL (
            SELECT greatest(
                used.theoretical_arrival_at, used.passes_at, statement_timestamp(), used.blocked_until + spacing.slack
            ) AS at
        ) AS next CROSS JOIN LATERAL (
            SELECT next.at - spacing.slack AS at, next.at - spacing.slack <= statement_timestamp() + :brief::interval AS now
        ) AS allowed
    )
    RETURNING used.theoretical_arrival_at - (SELECT gap + slack FROM spacing) AS allowed_at
), waiting AS (
    INSERT INTO taskqueue_step AS known (
        task_id, key, name, kind, status, failures, input, input_hash, until, started_at, finished_at
    )
    SELECT held.id, :key::text, :name::text, 'step', 'waiting', 0, :input::jsonb, :input_hash::text,
        given.allowed_at, statement_timestamp(), statement_timestamp()
    FROM held CROSS JOIN given
    WHERE given.allowed_at > statement_timestamp() + :brief::interval
    ON CONFLICT (task_id, key) DO UPDATE
    SET status = 'waiting', input = EXCLUDED.input, input_hash = EXCLUDED.input_hash, error = NULL,
        until = EXCLUDED.until, started_at = EXCLUDED.started_at, finished_at = EXCLUDED.finished_at
    WHERE known.status <> 'succeeded'
)
SELECT given.allowed_at, statement_timestamp(), spacing.changed_at, spacing.gap IS NOT NULL
FROM held LEFT JOIN spacing ON true LEFT JOIN given ON true;
