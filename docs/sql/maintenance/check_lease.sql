-- Check a running task's lease, without a lock.
-- Parameters: :task uuid, :worker int, :lease int
SELECT id FROM taskqueue_task
WHERE id = :task::uuid AND worker_id = :worker::int AND lease = :lease::int AND status = 'running';
