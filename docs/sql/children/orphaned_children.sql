-- Find the unfinished children for which no step of their parent waits any more.
-- Parameters: :task uuid
SELECT task.id FROM taskqueue_task task
WHERE task.parent_id = :task::uuid AND task.finished_at IS NULL AND task.parent_key NOT IN (
    SELECT key FROM taskqueue_step WHERE task_id = :task::uuid AND status = 'waiting'
)
ORDER BY task.id;
