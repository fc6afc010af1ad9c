-- Write a task's progress, under its lease.
-- Parameters: :task uuid, :worker int, :lease int, :progress float, :note text
WITH leased AS (
    SELECT id FROM taskqueue_task
    WHERE id = :task::uuid AND worker_id = :worker::int AND lease = :lease::int AND status = 'running'
    FOR NO KEY UPDATE
)
UPDATE taskqueue_task task SET progress = :progress::float, progress_note = :note::text
FROM leased WHERE task.id = leased.id AND task.id = :task::uuid;
