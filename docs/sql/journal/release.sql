-- Release a task to the queue. It keeps its position: it was interrupted, not postponed.
-- Parameters: :task uuid, :worker int, :lease int
WITH leased AS (
    SELECT id FROM taskqueue_task
    WHERE id = :task::uuid AND worker_id = :worker::int AND lease = :lease::int AND status = 'running'
    FOR NO KEY UPDATE
), settled AS (
    UPDATE taskqueue_task task SET status = 'queued'
    FROM leased WHERE task.id = leased.id AND task.id = :task::uuid
    RETURNING task.id
) SELECT FROM settled;
