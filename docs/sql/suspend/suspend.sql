-- Suspend a running task, and delete the suspensions that its body no longer asks for. It is queued at once if all of
-- them are resolved, or one has timed out.
-- Parameters: :task uuid, :keys text[], :output_bytes bigint
WITH dropped AS (
    DELETE FROM taskqueue_step
    WHERE task_id = :task::uuid AND status = 'waiting' AND kind <> 'step'
        AND key NOT IN (SELECT unnest(:keys::text[]))
    RETURNING key
), waits AS (
    DELETE FROM taskqueue_wait WHERE task_id = :task::uuid AND step_key IN (SELECT key FROM dropped)
), state AS (
    SELECT count(*) = 0 OR coalesce(min(until) <= statement_timestamp(), false) AS is_over, min(until) AS until
    FROM taskqueue_step
    WHERE task_id = :task::uuid AND status = 'waiting' AND key IN (SELECT unnest(:keys::text[]))
)
UPDATE taskqueue_task task
SET status = CASE WHEN state.is_over THEN 'queued' ELSE 'waiting' END, blocked_on = '',
    output_bytes = :output_bytes::bigint,
    due_at = CASE WHEN state.is_over THEN statement_timestamp() ELSE state.until END,
    sort_at = CASE WHEN state.is_over THEN statement_timestamp() ELSE state.until END
        - make_interval(secs => task.priority)
FROM state
WHERE task.id = :task::uuid AND task.status = 'running'
RETURNING task.status;
