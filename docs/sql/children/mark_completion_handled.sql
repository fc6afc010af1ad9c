-- Record that a task's completion has been handled.
-- Parameters: :task uuid
UPDATE taskqueue_task SET notify_completion = false WHERE id = :task::uuid;
