-- Lock the oldest unfinished bulk operation, in the transaction of one of its batches. Another process skips it.
SELECT id FROM taskqueue_bulkoperation
WHERE finished_at IS NULL
ORDER BY id LIMIT 1
FOR NO KEY UPDATE SKIP LOCKED;
