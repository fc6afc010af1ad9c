-- Write the logs and the stack of the step that a worker executes. Without a lock: a report under a lost lease is not
-- shown.
-- Parameters: :worker int, :lease int, :step text, :logs jsonb, :stack text, :task uuid
INSERT INTO taskqueue_stepreport (worker_id, task_id, lease, step, logs, stack, reported_at)
SELECT :worker::int, id, :lease::int, :step::text, :logs::jsonb, :stack::text, statement_timestamp()
FROM taskqueue_task
WHERE id = :task::uuid AND worker_id = :worker::int AND lease = :lease::int AND status = 'running'
ON CONFLICT (task_id) DO UPDATE SET
    worker_id = excluded.worker_id, lease = excluded.lease, step = excluded.step, logs = excluded.logs,
    stack = excluded.stack, reported_at = excluded.reported_at;
