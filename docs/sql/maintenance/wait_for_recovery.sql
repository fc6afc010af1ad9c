-- Wait until another process has recovered a worker.
-- Parameters: :worker int
SELECT FROM taskqueue_worker WHERE id = :worker::int FOR NO KEY UPDATE;
