-- Lock a task whose deadline has still passed.
-- Parameters: :task uuid
SELECT pipeline_id, started_at IS NOT NULL, finish_within FROM taskqueue_task
WHERE id = :task::uuid AND deadline_at <= statement_timestamp()
FOR NO KEY UPDATE SKIP LOCKED;
