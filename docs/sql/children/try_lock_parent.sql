-- Lock a parent unless another transaction has.
-- Parameters: :task uuid
SELECT id FROM taskqueue_task WHERE id = :task::uuid FOR NO KEY UPDATE SKIP LOCKED;
