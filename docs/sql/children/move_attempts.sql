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
    ) + row_number() OVER (ORDER BY tried.id),
    tried.outcome, tried.error_type, tried.error_message, tried.traceback, tried.logs, tried.worker_id,
    tried.lease, tried.started_at, tried.finished_at
FROM taskqueue_task ended JOIN taskqueue_attempt tried ON tried.task_id = ended.id
WHERE ended.id = :task::uuid;
