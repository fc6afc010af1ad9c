-- Queue suspended tasks, as QUEUE_SUSPENDED does for one.
-- Parameters: :tasks uuid[]
UPDATE taskqueue_task task
SET status = 'queued', blocked_on = '', due_at = statement_timestamp(),
    sort_at = statement_timestamp() - make_interval(secs => task.priority)
WHERE task.id = ANY (:tasks::uuid[]) AND (task.status = 'waiting') IS TRUE AND NOT EXISTS (
    SELECT FROM taskqueue_step WHERE task_id = task.id AND status = 'waiting' AND kind <> 'step'
)
RETURNING task.id;
