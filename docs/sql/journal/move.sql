-- Queue a task for the workers of another queue, that of a step, now or after a wait. It keeps its position too.
-- Parameters: :task uuid, :worker int, :lease int, :step_queue text, :wait interval
WITH leased AS (
    SELECT id FROM taskqueue_task
    WHERE id = :task::uuid AND worker_id = :worker::int AND lease = :lease::int AND status = 'running'
    FOR NO KEY UPDATE
), settled AS (
    UPDATE taskqueue_task task
    SET step_queue = :step_queue::text,
        status = CASE WHEN :wait::interval > interval '0' THEN 'waiting' ELSE 'queued' END,
        due_at = greatest(task.due_at, statement_timestamp() + nullif(:wait::interval, interval '0')),
        sort_at = greatest(task.due_at, statement_timestamp() + nullif(:wait::interval, interval '0'))
            - make_interval(secs => task.priority)
    FROM leased WHERE task.id = leased.id AND task.id = :task::uuid
    RETURNING task.id
) SELECT FROM settled;
