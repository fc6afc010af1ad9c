-- Let a task start when its reserved time has come, as PASS_STEP does. Without a row it has not started: it waits a
-- little longer or, too late for its time, is blocked again and keeps its age. A child that shares its parent's slot
-- cannot be blocked, since only its parent's end could free a slot: it keeps the slot and reserves another time.
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
), reserved AS MATERIALIZED (
    SELECT task.id, task.shares_slot FROM taskqueue_task task JOIN leased USING (id)
    WHERE task.id = :task::uuid AND task.blocked_on = :rate::text
), bucket AS MATERIALIZED (
    SELECT used.id, rate_values.spacing, used.passes_at, reserved.shares_slot,
        greatest(statement_timestamp(), used.passes_at - rate_values.tolerance, used.blocked_until) AS allowed_at
    FROM taskqueue_ratelimitbucket used CROSS JOIN rate_values CROSS JOIN reserved
    WHERE used.rate_id = :rate::text AND used.key = :use::text
    FOR NO KEY UPDATE OF used
), passed AS (
    UPDATE taskqueue_ratelimitbucket used
    -- Other tasks were counted when ADMIT reserved their time.
    SET passes_at = greatest(bucket.passes_at, bucket.allowed_at) + bucket.spacing,
        last_admitted_at = bucket.allowed_at,
        admitted = used.admitted + CASE WHEN bucket.shares_slot THEN 1 ELSE 0 END,
        theoretical_arrival_at = greatest(used.theoretical_arrival_at, bucket.passes_at + bucket.spacing,
            bucket.allowed_at + bucket.spacing)
    FROM bucket
    WHERE used.id = bucket.id AND bucket.allowed_at <= statement_timestamp() + :brief::interval
    RETURNING bucket.allowed_at
), started AS (
    UPDATE taskqueue_task task
    SET blocked_on = '', started_at = CASE WHEN task.retried_at IS NULL THEN passed.allowed_at ELSE task.started_at END
    FROM reserved CROSS JOIN passed
    WHERE task.id = reserved.id AND task.id = :task::uuid
), later AS MATERIALIZED (
    SELECT task.id, bucket.allowed_at <= task.due_at + bucket.spacing AS in_time, CASE
        WHEN bucket.allowed_at <= task.due_at + bucket.spacing THEN bucket.allowed_at
        ELSE least(task.due_at, greatest(task.created_at, task.retried_at))
    END AS due_at
    FROM taskqueue_task task JOIN reserved USING (id) CROSS JOIN bucket
    WHERE task.id = :task::uuid AND bucket.allowed_at > statement_timestamp() + :brief::interval
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
    WHERE task.id = later.id AND task.id = :task::uuid
    RETURNING task.id
)
SELECT coalesce((SELECT allowed_at FROM passed), statement_timestamp()), statement_timestamp(), EXISTS (
    SELECT FROM taskqueue_task task WHERE task.id = leased.id AND task.blocked_on = '+'
)
FROM leased WHERE NOT EXISTS (SELECT FROM returned);
