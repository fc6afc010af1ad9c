-- Reserve a time for the start of a child that shares its parent's slot. It keeps the slot.
-- Parameters: :task uuid, :worker int, :lease int, :rate text, :use text, :brief interval
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
), start AS MATERIALIZED (
    SELECT leased.id, greatest(reservation.allowed_at, statement_timestamp()) AS allowed_at
    FROM leased LEFT JOIN reservation ON true
), started AS (
    UPDATE taskqueue_task task
    SET blocked_on = '', started_at = CASE WHEN task.retried_at IS NULL THEN start.allowed_at ELSE task.started_at END
    FROM start
    WHERE task.id = start.id AND task.id = :task::uuid AND start.allowed_at <= statement_timestamp() + :brief::interval
), later AS (
    UPDATE taskqueue_task task
    SET status = 'waiting', blocked_on = :rate::text, finish_by = NULL,
        started_at = CASE WHEN task.retried_at IS NOT NULL THEN task.started_at END,
        due_at = start.allowed_at, sort_at = start.allowed_at - make_interval(secs => task.priority)
    FROM start
    WHERE task.id = start.id AND task.id = :task::uuid AND start.allowed_at > statement_timestamp() + :brief::interval
)
SELECT start.allowed_at, statement_timestamp() FROM start WHERE start.allowed_at <= statement_timestamp() + :brief::interval;
