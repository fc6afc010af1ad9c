-- Give free slots to the tasks that have waited longest, each concurrency key up to its limit, and queue them. Under
-- the pipeline's lock.
-- Parameters: :pipeline text
WITH live AS MATERIALIZED (
    SELECT slot.id, slot.task_id, slot.step_key, slot.concurrency_key
    FROM taskqueue_stepslot slot JOIN taskqueue_task task ON task.id = slot.task_id
    WHERE slot.pipeline_id = :pipeline::text AND task.id = ANY (ARRAY(
        SELECT task_id FROM taskqueue_stepslot WHERE pipeline_id = :pipeline::text
    )) AND (
        task.status = 'running' AND task.lease = slot.lease OR task.status = 'queued' AND task.lease = slot.lease - 1
    )
), limits AS MATERIALIZED (
    SELECT coalesce(concurrency.steps, concurrency.declared_steps) AS most,
        coalesce(concurrency.steps_per_key, concurrency.declared_steps_per_key) AS most_per_key
    FROM taskqueue_concurrencylimit concurrency WHERE concurrency.pipeline_id = :pipeline::text
), waiters AS MATERIALIZED (
    SELECT waiter.id, waiter.lease, waiter.concurrency_key FROM taskqueue_task waiter
    WHERE waiter.step_limit_queue = :pipeline::text
    ORDER BY waiter.id LIMIT 1000
), ranked AS (
    SELECT waiters.*, row_number() OVER (ORDER BY waiters.id) AS position
    FROM (
        SELECT *, row_number() OVER (PARTITION BY concurrency_key ORDER BY id) AS number FROM waiters
    ) AS waiters CROSS JOIN limits
    WHERE waiters.concurrency_key = '' OR coalesce(waiters.number <= limits.most_per_key - (
        SELECT count(*) FROM live WHERE live.concurrency_key = waiters.concurrency_key
    ), true)
), ready AS MATERIALIZED (
    SELECT task.id, task.lease, task.concurrency_key FROM taskqueue_task task
    JOIN ranked USING (id) CROSS JOIN limits
    WHERE coalesce(ranked.position <= limits.most - (SELECT count(*) FROM live), true)
        AND task.step_limit_queue IS NOT NULL
    FOR NO KEY UPDATE OF task SKIP LOCKED
), granted AS (
    INSERT INTO taskqueue_stepslot (pipeline_id, concurrency_key, task_id, lease, step_key)
    SELECT :pipeline::text, ready.concurrency_key, ready.id, ready.lease + 1, '' FROM ready
    ON CONFLICT (task_id, step_key) DO UPDATE SET lease = EXCLUDED.lease
)
UPDATE taskqueue_task task
SET status = 'queued', blocked_on = '', due_at = statement_timestamp(),
    sort_at = statement_timestamp() - make_interval(secs => task.priority)
FROM ready
WHERE task.id = ready.id AND task.id = ANY (ARRAY(SELECT id FROM ready))
RETURNING task.id;
