-- Time out the overdue suspensions of a task that is about to run. A transaction that resolves one at this moment has
-- the row's lock, and this statement then finds it resolved. Steps that wait for a rate limit are not changed.
-- Parameters: :task uuid
WITH timed_out AS (
    UPDATE taskqueue_step step
    SET status = CASE WHEN kind IN ('sleep', 'wait') THEN 'succeeded' ELSE 'failed' END,
        output = CASE WHEN kind IN ('sleep', 'wait') THEN 'null'::jsonb END,
        error = CASE WHEN kind IN ('sleep', 'wait') THEN NULL ELSE jsonb_build_object(
            'type', 'TimedOut', 'message', 'It did not end within its timeout.'
        ) END,
        finished_at = greatest(step.until, step.started_at)
    WHERE task_id = :task::uuid AND status = 'waiting' AND kind <> 'step' AND until <= statement_timestamp()
    RETURNING key, kind, child_id
), closed AS (
    UPDATE taskqueue_wait SET outcome = 'timeout', resolved_at = until
    WHERE task_id = :task::uuid AND outcome = '' AND step_key IN (SELECT key FROM timed_out)
)
SELECT key, kind, child_id FROM timed_out;
