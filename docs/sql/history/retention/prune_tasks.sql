-- Delete old tasks with all rows that belong to them, and clear references to them. A batch is bounded by its steps and
-- chunks, but has at least one task. Foreign keys are checked at the commit.
-- Parameters: :pipeline text, :after uuid, :keep interval
WITH scanned AS MATERIALIZED (
    SELECT id, created_at, finished_at FROM taskqueue_task
    WHERE pipeline_id >= :pipeline::text AND pipeline_id <= :pipeline::text AND id > :after::uuid
    ORDER BY pipeline_id DESC, id LIMIT 200
), free AS MATERIALIZED (
    SELECT task.id,
        (SELECT count(*) FROM (SELECT FROM taskqueue_step WHERE task_id = task.id LIMIT 2000) AS own)
            + (SELECT count(*) FROM (SELECT FROM taskqueue_chunk WHERE task_id = task.id LIMIT 2000) AS own) AS weight
    FROM taskqueue_task task
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
    ORDER BY task.id LIMIT 100
    FOR UPDATE OF task SKIP LOCKED
), to_delete AS MATERIALIZED (
    SELECT id FROM (
        SELECT id, sum(weight) OVER (ORDER BY id) - weight AS before FROM free
    ) AS weighed WHERE before < 2000
), steps AS (
    DELETE FROM taskqueue_step WHERE task_id = ANY (ARRAY(SELECT id FROM to_delete)) RETURNING 1
), attempts AS (
    DELETE FROM taskqueue_attempt WHERE task_id = ANY (ARRAY(SELECT id FROM to_delete)) RETURNING 1
), chunks AS (
    DELETE FROM taskqueue_chunk WHERE task_id = ANY (ARRAY(SELECT id FROM to_delete)) RETURNING 1
), waits AS (
    DELETE FROM taskqueue_wait WHERE task_id = ANY (ARRAY(SELECT id FROM to_delete)) RETURNING 1
), keys AS (
    DELETE FROM taskqueue_idempotencykey WHERE task_id = ANY (ARRAY(SELECT id FROM to_delete)) RETURNING 1
), skips AS (
    DELETE FROM taskqueue_skip WHERE task_id = ANY (ARRAY(SELECT id FROM to_delete)) RETURNING 1
), slots AS (
    DELETE FROM taskqueue_stepslot WHERE task_id = ANY (ARRAY(SELECT id FROM to_delete))
), parent_steps AS (
    UPDATE taskqueue_step SET child_id = NULL
    WHERE child_id = ANY (ARRAY(SELECT id FROM to_delete)) AND NOT task_id = ANY (ARRAY(SELECT id FROM to_delete))
), events AS (
    UPDATE taskqueue_event SET source_id = NULL WHERE source_id = ANY (ARRAY(SELECT id FROM to_delete))
), relatives AS (
    UPDATE taskqueue_task task
    SET parent_id = CASE WHEN task.parent_id = ANY (ARRAY(SELECT id FROM to_delete)) THEN NULL ELSE task.parent_id END,
        rerun_of_id = CASE
            WHEN task.rerun_of_id = ANY (ARRAY(SELECT id FROM to_delete)) THEN NULL ELSE task.rerun_of_id
        END
    WHERE task.id = ANY (ARRAY(
        SELECT id FROM taskqueue_task WHERE parent_id = ANY (ARRAY(SELECT id FROM to_delete))
        UNION SELECT id FROM taskqueue_task WHERE rerun_of_id = ANY (ARRAY(SELECT id FROM to_delete))
        EXCEPT SELECT id FROM to_delete
    ))
), deleted AS (
    DELETE FROM taskqueue_task WHERE id = ANY (ARRAY(SELECT id FROM to_delete)) RETURNING 1
)
SELECT (SELECT count(*) FROM deleted),
    (SELECT count(*) FROM deleted) + (SELECT count(*) FROM steps) + (SELECT count(*) FROM attempts)
    + (SELECT count(*) FROM chunks) + (SELECT count(*) FROM waits) + (SELECT count(*) FROM keys)
    + (SELECT count(*) FROM skips),
    CASE WHEN is_full THEN (SELECT id FROM to_delete ORDER BY id DESC LIMIT 1) ELSE (SELECT id FROM scanned ORDER BY id DESC LIMIT 1) END,
    NOT is_full AND (
    SELECT count(*) < 200 OR coalesce(max(created_at) >= statement_timestamp() - :keep::interval, true) FROM scanned
)
FROM (
    SELECT count(*) = 100 OR count(*) > (SELECT count(*) FROM to_delete) AS is_full FROM free
) AS batch;
