-- Load all recorded steps of a task.
-- Parameters: :task uuid
SELECT key, kind, status, failures, input_hash, output::text, error::text,
    extract(epoch FROM until - statement_timestamp())::float
FROM taskqueue_step WHERE task_id = :task::uuid;
