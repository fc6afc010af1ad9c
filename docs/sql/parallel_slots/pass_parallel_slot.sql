-- End a parallel step, and queue the next one of its limit. Returns a row if that is done.
-- Parameters: :result jsonb, :task uuid, :worker int, :lease int, :parent uuid, :limit bigint, :logs jsonb
WITH ended AS MATERIALIZED (
    SELECT parent_key, parallel_step, parallel_limit, started_at,
        output_bytes + octet_length((:result::jsonb)::text) AS output_bytes
    FROM taskqueue_task
    WHERE id = :task::uuid AND worker_id = :worker::int AND lease = :lease::int AND status = 'running'
        AND parallel_limit IS NOT NULL
    FOR UPDATE
), recording AS MATERIALIZED (
    SELECT step.id FROM taskqueue_step step
    WHERE step.task_id = :parent::uuid AND step.key = (SELECT parent_key FROM ended)
        AND step.child_id = :task::uuid AND step.status = 'waiting'
        AND (SELECT output_bytes <= :limit::bigint / 16 / parallel_limit FROM ended)
        AND (
            SELECT parent.output_bytes <= :limit::bigint - :limit::bigint / 16
            FROM taskqueue_task parent WHERE parent.id = :parent::uuid
        )
        AND NOT coalesce(
        (SELECT true FROM taskqueue_attempt WHERE task_id >= :task::uuid AND task_id <= :task::uuid
            ORDER BY task_id, step_key LIMIT 1),
        (SELECT true FROM taskqueue_stepslot WHERE task_id >= :task::uuid AND task_id <= :task::uuid
            ORDER BY task_id, step_key LIMIT 1),
        (SELECT true FROM taskqueue_event WHERE source_id >= :task::uuid AND source_id <= :task::uuid
            ORDER BY source_id LIMIT 1),
        (SELECT true FROM taskqueue_step WHERE task_id >= :task::uuid AND task_id <= :task::uuid
            AND key <> (SELECT parent_key FROM ended) ORDER BY task_id, key LIMIT 1),
        false
    )
    FOR NO KEY UPDATE SKIP LOCKED
), next AS MATERIALIZED (
    SELECT sibling.id, sibling.pipeline_id, sibling.step_queue, sibling.priority FROM taskqueue_task sibling
    WHERE sibling.parent_id >= :parent::uuid AND sibling.parent_id <= :parent::uuid
        AND CASE WHEN sibling.status = 'waiting' THEN sibling.parallel_step = (SELECT parallel_step FROM ended)
            AND sibling.parallel_limit IS NOT NULL AND sibling.due_at IS NULL AND sibling.blocked_on = '' END
        AND EXISTS (SELECT FROM recording)
    ORDER BY sibling.parent_id, sibling.id LIMIT 1
    FOR NO KEY UPDATE SKIP LOCKED
), own_step AS (
    -- It has one unless it ends with the call of its step.
    DELETE FROM taskqueue_step WHERE task_id = :task::uuid
        AND key = (SELECT parent_key FROM ended) AND EXISTS (SELECT FROM next)
    RETURNING failures, logs
), resolved AS (
    UPDATE taskqueue_step step
    SET status = 'succeeded', output = :result::jsonb, error = NULL, child_id = NULL, until = NULL,
        failures = coalesce((SELECT failures FROM own_step), 0),
        logs = coalesce(:logs::jsonb, (SELECT logs FROM own_step)),
        started_at = coalesce((SELECT started_at FROM ended), step.started_at),
        finished_at = greatest(statement_timestamp(), step.started_at)
    WHERE step.id = (SELECT id FROM recording) AND EXISTS (SELECT FROM next)
), settled AS (
    DELETE FROM taskqueue_task
    WHERE id = :task::uuid AND EXISTS (SELECT FROM next)
    RETURNING id
), queued AS (
    UPDATE taskqueue_task task
    SET status = 'queued', due_at = statement_timestamp(),
        sort_at = statement_timestamp() - make_interval(secs => task.priority),
        output_bytes = (SELECT output_bytes FROM ended)
    WHERE task.id = (SELECT id FROM next)
    RETURNING task.id
)
SELECT id FROM settled;
