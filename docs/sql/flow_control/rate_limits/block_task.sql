-- Block a task, without a worker, until the earliest reserved time of its steps. If an operator has changed the rate
-- since, it reserves again at once. A task that waits for a slot has no time.
-- Parameters: :task uuid, :worker int, :lease int, :blocked_on text, :is_new boolean, :changed_at timestamptz, :keys
-- text[], :wait interval
WITH leased AS (
    SELECT id FROM taskqueue_task
    WHERE id = :task::uuid AND worker_id = :worker::int AND lease = :lease::int AND status = 'running'
    FOR NO KEY UPDATE
), first AS (
    SELECT min(step.until) AS until, EXISTS (
        SELECT FROM taskqueue_ratelimit rate
        WHERE rate.name = :blocked_on::text AND :is_new::boolean
            AND rate.changed_at > coalesce(:changed_at::timestamptz, '-infinity')
    ) AS is_void
    FROM taskqueue_step step
    WHERE step.task_id = :task::uuid AND step.key = ANY (:keys::text[]) AND step.status = 'waiting'
), steps AS (
    UPDATE taskqueue_step step SET until = statement_timestamp()
    FROM first, leased
    WHERE first.is_void AND step.task_id = leased.id AND step.key = ANY (:keys::text[]) AND step.status = 'waiting'
), due AS (
    SELECT CASE
        WHEN cardinality(:keys::text[]) > 0 THEN greatest(
            CASE WHEN NOT first.is_void THEN first.until END, statement_timestamp() + :wait::interval
        )
        WHEN :wait::interval > interval '0' THEN statement_timestamp() + :wait::interval
    END AS at
    FROM first
)
UPDATE taskqueue_task task
SET status = 'waiting', blocked_on = :blocked_on::text, due_at = due.at,
    sort_at = due.at - make_interval(secs => task.priority)
FROM leased CROSS JOIN due
WHERE task.id = leased.id AND task.id = :task::uuid
RETURNING extract(epoch FROM task.due_at - statement_timestamp())::float;
