-- Cancel tasks, and close their waits. The new lease fences off the workers that run them.
-- Parameters: :tasks uuid[], :reason text
WITH unfinished AS (
    SELECT id, status FROM taskqueue_task
    WHERE id = ANY (:tasks::uuid[]) AND finished_at IS NULL
    ORDER BY id FOR NO KEY UPDATE
), closed AS (
    UPDATE taskqueue_wait SET outcome = 'closed', resolved_at = statement_timestamp()
    WHERE task_id IN (SELECT id FROM unfinished) AND task_id = ANY (:tasks::uuid[])
        AND (outcome = '') IS TRUE
)
UPDATE taskqueue_task task
SET status = 'cancelled', finished_at = statement_timestamp(), lease = task.lease + 1,
    cancel_reason = :reason::text
FROM unfinished WHERE task.id = unfinished.id AND task.id = ANY (:tasks::uuid[])
RETURNING task.id, task.parallel_step, task.notify_completion;
