-- Load the recorded inputs of a task's steps for the check of drift: of all, or of those with these keys.
-- Parameters: :task uuid, :keys text[]
SELECT key, input::text FROM taskqueue_step
WHERE task_id = :task::uuid AND (:keys::text[] IS NULL OR key = ANY (:keys::text[]));
