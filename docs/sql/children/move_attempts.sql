-- Copy the attempts of an ended parallel step to its parent's step.
-- Parameters: :task uuid
INSERT INTO taskqueue_attempt (
    task_id, step_key, number, outcome, error_type, error_message, traceback, logs, worker_id, lease, started_at,
    finished_at
)
SELECT ended.parent_id, ended.parent_key,
    (
        SELECT coalesce(max(number), 0) FROM taskqueue_attempt
        WHERE task_id = ended.parent_id AND step_key = ended.parent_key
    ) + row_number() OVER (ORDER BY attempt.id),
    attempt.outcome, attempt.error_type, attempt.error_message, attempt.traceback, attempt.logs, attempt.worker_id,
    attempt.lease, attempt.started_at, attempt.finished_at
FROM taskqueue_task ended JOIN taskqueue_attempt attempt ON attempt.task_id = ended.id
WHERE ended.id = :task::uuid;
