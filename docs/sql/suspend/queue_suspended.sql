-- Queue a suspended task when all its suspensions are resolved. Run by the transaction that resolved the last one,
-- under the task's lock. IS TRUE, so that no plan reads all waiting tasks by the index of statuses.
-- Parameters: :task uuid
UPDATE taskqueue_task task
SET status = 'queued', blocked_on = '', due_at = statement_timestamp(),
    sort_at = statement_timestamp() - make_interval(secs => task.priority)
WHERE task.id = :task::uuid AND (task.status = 'waiting') IS TRUE AND NOT EXISTS (
    SELECT FROM taskqueue_step WHERE task_id = task.id AND status = 'waiting' AND kind <> 'step'
)
RETURNING task.id;
