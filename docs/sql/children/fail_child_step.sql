-- Fail the step whose child could not be created.
-- Parameters: :error jsonb, :task uuid, :key text
UPDATE taskqueue_step
SET status = 'failed', error = :error::jsonb, until = NULL,
    finished_at = greatest(statement_timestamp(), started_at)
WHERE task_id = :task::uuid AND key = :key::text AND status = 'waiting';
