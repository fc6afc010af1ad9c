-- Queue the next task of a parallel step with a limit, in place of the one that has ended.
-- Parameters: :task uuid
UPDATE taskqueue_task task
SET status = 'queued', due_at = statement_timestamp(),
    sort_at = statement_timestamp() - make_interval(secs => task.priority)
WHERE task.id = (
    SELECT next.id FROM taskqueue_task next
    JOIN taskqueue_task ended ON ended.id = :task::uuid AND ended.parent_id = next.parent_id
        AND ended.parallel_step = next.parallel_step
    WHERE next.parallel_limit IS NOT NULL AND next.status = 'waiting' AND next.due_at IS NULL AND next.blocked_on = ''
    ORDER BY next.id LIMIT 1
)
RETURNING task.id;
