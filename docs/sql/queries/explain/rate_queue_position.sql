-- Count the timers before a task's that wait for the same rate, and tell whether all of them were read.
-- Parameters: :rate text, :concurrency_key text, :pipeline text, :due_at timestamptz
SELECT count(*) FILTER (WHERE blocked_on = :rate::text AND (
    :concurrency_key::text IS NULL OR pipeline_id = :pipeline::text
        AND concurrency_key = :concurrency_key::text
)), count(*) <= 500
FROM (
    SELECT task.blocked_on, task.pipeline_id, task.concurrency_key, task.timer_at FROM taskqueue_task task
    WHERE task.timer_at IS NOT NULL
    ORDER BY task.timer_at LIMIT 501
) AS timers
WHERE timer_at < :due_at::timestamptz;
