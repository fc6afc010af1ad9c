-- Lock a pending completion unless another transaction has.
-- Parameters: :task uuid
SELECT id, callback_url <> '' OR EXISTS (SELECT FROM taskqueue_subscription WHERE disabled_at IS NULL)
FROM taskqueue_task
WHERE id = :task::uuid AND completion_pending_at IS NOT NULL FOR NO KEY UPDATE
 SKIP LOCKED;
