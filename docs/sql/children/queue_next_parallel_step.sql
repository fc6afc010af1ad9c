-- Queue the next task of a parallel step with a limit, in place of the one that has ended.
-- Parameters: :task uuid
UPDATE taskqueue_task task
SET status = 'queued', due_at = statement_timestamp(),
    sort_at = statement_timestamp() - make_interval(secs => task.priority)
WHERE task.id = (
    SELECT next.id FROM taskqueue_task next
    WHERE next.parent_id = (SELECT parent_id FROM taskqueue_task WHERE id = :task::uuid)
        AND next.parallel_step = (SELECT parallel_step FROM taskqueue_task WHERE id = :task::uuid)
        AND next.parallel_limit IS NOT NULL AND (next.status = 'waiting') IS TRUE AND next.due_at IS NULL
        AND next.blocked_on = ''
    ORDER BY next.id LIMIT 1
)
RETURNING task.id;
