-- Count what PRUNE_TASKS would delete.
-- Parameters: :pipeline text, :after uuid, :keep interval
WITH scanned AS MATERIALIZED (
    SELECT id, created_at, finished_at FROM taskqueue_task
    WHERE pipeline_id >= :pipeline::text AND pipeline_id <= :pipeline::text AND id > :after::uuid
    ORDER BY pipeline_id DESC, id LIMIT 200
)
SELECT (
    SELECT count(*) FROM taskqueue_task task
    WHERE task.id = ANY (ARRAY(
        SELECT id FROM scanned WHERE finished_at < statement_timestamp() - :keep::interval
    )) AND task.finished_at < statement_timestamp() - :keep::interval AND NOT task.notify_completion
    AND task.finished_at < coalesce((SELECT final_until FROM taskqueue_rollupmark), 'infinity')
    AND NOT EXISTS (
        SELECT FROM taskqueue_task above WHERE above.id = task.parent_id AND above.finished_at IS NULL
    )
    AND NOT EXISTS (
        SELECT FROM taskqueue_task below WHERE below.parent_id = task.id AND below.finished_at IS NULL
    )
    AND NOT EXISTS (
        SELECT FROM taskqueue_idempotencykey idempotency_key
        WHERE idempotency_key.task_id = task.id AND idempotency_key.expires_at > statement_timestamp() - interval '1 hour'
    )
    AND NOT EXISTS (SELECT FROM taskqueue_skip skipped WHERE skipped.task_id = task.id OFFSET 1000)
), 0, (SELECT id FROM scanned ORDER BY id DESC LIMIT 1), (
    SELECT count(*) < 200 OR coalesce(max(created_at) >= statement_timestamp() - :keep::interval, true) FROM scanned
);
