-- Lock the task under its lease: recovery, cancel, and what it waits for come after this transaction.
-- Parameters: :task uuid, :worker int, :lease int
WITH leased AS (
    SELECT id FROM taskqueue_task
    WHERE id = :task::uuid AND worker_id = :worker::int AND lease = :lease::int AND status = 'running'
    FOR NO KEY UPDATE
) SELECT id FROM leased;
