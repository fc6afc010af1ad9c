-- Record the attempt of a cancelled task whose process was ended when its grace period was over. Not if the task has
-- been retried since: its lease is then another one.
-- Parameters: :step text, :outcome text, :stack text, :worker int, :lease int, :elapsed interval, :task uuid
INSERT INTO taskqueue_attempt (
    task_id, step_key, number, outcome, error_type, error_message, traceback, worker_id, lease, started_at, finished_at
)
SELECT task.id, :step::text,
    (SELECT coalesce(max(number), 0) + 1 FROM taskqueue_attempt
     WHERE task_id = task.id AND step_key = :step::text),
    :outcome::text, 'Cancelled', 'The task was cancelled, and its step had not ended when its grace was over.',
    :stack::text, :worker::int, :lease::int, statement_timestamp() - :elapsed::interval,
    statement_timestamp()
FROM taskqueue_task task
WHERE task.id = :task::uuid AND task.lease = :lease::int + 1 AND task.status = 'cancelled'
FOR NO KEY UPDATE;
