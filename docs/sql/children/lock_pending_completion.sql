-- Lock an ended task whose completion is still to be handled. Of several processes the first handles it; the others
-- find no row.
-- Parameters: :task uuid
SELECT id, callback_url <> '' OR EXISTS (SELECT FROM taskqueue_subscription WHERE disabled_at IS NULL)
FROM taskqueue_task
WHERE id = :task::uuid AND completion_pending_at IS NOT NULL FOR NO KEY UPDATE;
