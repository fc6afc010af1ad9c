-- Queue suspended tasks, as QUEUE_SUSPENDED does for one.
-- Parameters: :tasks uuid[]
UPDATE taskqueue_task task
SET status = 'queued', blocked_on = '', due_at = statement_timestamp(),
    sort_at = statement_timestamp() - make_interval(secs => task.priority)
WHERE task.id = ANY (:tasks::uuid[]) AND (task.status = 'waiting') IS TRUE AND CASE WHEN (
    SELECT true FROM taskqueue_task child
    WHERE child.parent_id >= task.id AND child.parent_id <= task.id AND CASE WHEN child.finished_at IS NULL THEN (
        SELECT step.status = 'waiting' AND step.child_id = child.id FROM taskqueue_step step
        WHERE step.task_id = task.id AND step.key = child.parent_key
    ) END
    ORDER BY child.parent_id DESC, child.id DESC LIMIT 1
) THEN false ELSE NOT EXISTS (
    SELECT FROM taskqueue_step step
    WHERE step.task_id = task.id AND step.status = 'waiting' AND step.kind <> 'step' AND step.id IS DISTINCT FROM NULL
) END
RETURNING task.id;
