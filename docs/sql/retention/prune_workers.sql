-- Delete ended workers, the oldest first, but none that still has to be recovered.
-- Parameters: :keep interval
WITH pruned AS (
    DELETE FROM taskqueue_worker WHERE id = ANY (ARRAY(
        SELECT worker.id FROM taskqueue_worker worker
        WHERE worker.ended_at < statement_timestamp() - :keep::interval
            AND NOT EXISTS (
                SELECT FROM taskqueue_task task WHERE task.worker_id = worker.id AND task.status = 'running'
            )
        ORDER BY worker.id LIMIT 100
        FOR UPDATE SKIP LOCKED
    ))
    RETURNING id
), reports AS (
    DELETE FROM taskqueue_stepreport USING pruned WHERE worker_id = pruned.id
)
SELECT 1 FROM pruned;
