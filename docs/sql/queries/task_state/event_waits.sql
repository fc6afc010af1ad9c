-- Read a task's open waits for events, without those that would cancel it.
-- Parameters: :task uuid
SELECT wait."id", wait."step_key", wait."event", wait."match"
FROM taskqueue_wait wait
WHERE wait.task_id = :task::uuid AND wait.outcome = '' AND wait.step_key <> ''
ORDER BY wait.step_key, wait.position;
