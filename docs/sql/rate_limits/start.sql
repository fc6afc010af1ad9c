-- Let a task start whose time has come, as PASS does. No row: it has not started, and waits a little longer, or, too
-- late for its time, is blocked again, as old as it is. A child that shares its parent's slot cannot be blocked, since
-- only its parent's end could free a slot: it keeps the slot and asks for another time.
-- Parameters: :task uuid, :worker int, :lease int, :rate text, :use text, :brief interval
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
), reserved AS MATERIALIZED (
    SELECT task.id, task.shares_slot FROM taskqueue_task task JOIN held USING (id)
    WHERE task.blocked_on = :rate::text
), bucket AS MATERIALIZED (
    SELECT used.id, spacing.gap, used.passes_at, reserved.shares_slot,
        greatest(statement_timestamp(), used.passes_at - spacing.slack, used.blocked_until) AS allowed_at
    FROM taskqueue_ratelimitbucket used CROSS JOIN spacing CROSS JOIN reserved
    WHERE used.rate_id = :rate::text AND used.key = :use::text
    FOR NO KEY UPDATE OF used
), passed AS (
    UPDATE taskqueue_ratelimitbucket used
    -- The others were counted when ADMIT gave them their time.
    SET passes_at = greatest(bucket.passes_at, bucket.allowed_at) + bucket.gap, last_admitted_at = bucket.allowed_at,
        admitted = used.admitted + CASE WHEN bucket.shares_slot THEN 1 ELSE 0 END,
        theoretical_arrival_at = greatest(used.theoretical_arrival_at, bucket.passes_at + bucket.gap,
            bucket.allowed_at + bucket.gap)
    FROM bucket
    WHERE used.id = bucket.id AND bucket.allowed_at <= statement_timestamp() + :brief::interval
    RETURNING bucket.allowed_at
), started AS (
    UPDATE taskqueue_task task
    SET blocked_on = '', started_at = CASE WHEN task.retried_at IS NULL THEN passed.allowed_at ELSE task.started_at END
    FROM reserved CROSS JOIN passed
    WHERE task.id = reserved.id
), later AS MATERIALIZED (
    SELECT task.id, bucket.allowed_at <= task.due_at + bucket.gap AS in_time, CASE
        WHEN bucket.allowed_at <= task.due_at + bucket.gap THEN bucket.allowed_at
        ELSE least(task.due_at, greatest(task.created_at, task.retried_at))
    END AS due_at
    FROM taskqueue_task task JOIN reserved USING (id) CROSS JOIN bucket
    WHERE bucket.allowed_at > statement_timestamp() + :brief::interval
), returned AS (
    UPDATE taskqueue_task task
    SET status = CASE WHEN later.in_time THEN 'waiting' ELSE 'queued' END,
        blocked_on = CASE
            WHEN later.in_time THEN task.blocked_on WHEN task.shares_slot THEN '+' ELSE ''
        END,
        slot_acquired_at = CASE WHEN later.in_time OR task.shares_slot THEN task.slot_acquired_at END, finish_by = NULL,
        started_at = CASE WHEN task.retried_at IS NOT NULL THEN task.started_at END,
        due_at = later.due_at, sort_at = later.due_at - make_interval(secs => task.priority)
    FROM later
    WHERE task.id = later.id
    RETURNING task.id
)
SELECT coalesce((SELECT allowed_at FROM passed), statement_timestamp()), statement_timestamp(), EXISTS (
    SELECT FROM taskqueue_task task WHERE task.id = held.id AND task.blocked_on = '+'
)
FROM held WHERE NOT EXISTS (SELECT FROM returned);
