-- Delete finished bulk operations.
-- Parameters: :keep interval
DELETE FROM taskqueue_bulkoperation WHERE id = ANY (ARRAY(
    SELECT id FROM taskqueue_bulkoperation
    WHERE finished_at < statement_timestamp() - :keep::interval
    ORDER BY finished_at LIMIT 100
    FOR UPDATE SKIP LOCKED
))
RETURNING 1;
