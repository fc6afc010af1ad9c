-- The leases of all tasks that a worker executes, without a lock.
-- Parameters: :worker int
SELECT id, lease FROM taskqueue_task
WHERE worker_id = :worker::int AND status = 'running' AND started_at IS NOT NULL;
