-- Queue a task for the workers of another queue, that of a step. It keeps its position too.
-- Parameters: :task uuid, :worker int, :lease int, :step_queue text
WITH leased AS (
    SELECT id FROM taskqueue_task
    WHERE id = :task::uuid AND worker_id = :worker::int AND lease = :lease::int AND status = 'running'
    FOR NO KEY UPDATE
), settled AS (
    UPDATE taskqueue_task task SET status = 'queued', step_queue = :step_queue::text
    FROM leased WHERE task.id = leased.id AND task.id = :task::uuid
    RETURNING task.id
) SELECT FROM settled;
