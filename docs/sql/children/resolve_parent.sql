-- Give a child's result to the step that waits for it.
-- Parameters: :limit bigint, :parent uuid, :task uuid
WITH size AS MATERIALIZED (
    SELECT result.bytes, carried.bytes AS carried, parent.output_bytes + carried.bytes + CASE
        WHEN task.parallel_limit IS NOT NULL AND parent.output_bytes + carried.bytes + result.bytes
                > :limit::bigint - :limit::bigint / 16
            THEN (
                SELECT sum(sibling.output_bytes) FROM taskqueue_task sibling
                WHERE sibling.parent_id >= :parent::uuid AND sibling.parent_id <= :parent::uuid
            ) - task.output_bytes
        ELSE 0
    END AS used
    FROM taskqueue_task task
    CROSS JOIN LATERAL (SELECT coalesce(octet_length(task.result::text), 0) AS bytes) AS result
    CROSS JOIN LATERAL (
        SELECT CASE WHEN task.parallel_step = '' THEN 0 ELSE task.output_bytes END AS bytes
    ) AS carried
    JOIN taskqueue_task parent ON parent.id = :parent::uuid
    WHERE task.id = :task::uuid
), resolved AS (
    UPDATE taskqueue_step step
    SET status = CASE WHEN ended.status = 'succeeded' AND used + bytes <= :limit::bigint
            THEN 'succeeded' ELSE 'failed' END,
        output = CASE WHEN ended.status = 'succeeded' AND used + bytes <= :limit::bigint THEN ended.result END,
        error = CASE
            WHEN ended.status = 'succeeded' AND used + bytes <= :limit::bigint THEN NULL
            WHEN ended.status = 'succeeded' THEN jsonb_build_object('type', 'TooLarge', 'message', format(
                'The sum of this task''s outputs, with that of step ''%s'', is %s bytes; the limit is %s '
                    '(setting TASK_OUTPUT_MAX_BYTES).',
                step.key, to_char(used + bytes, 'FM999,999,999,999,999'),
                to_char(:limit::bigint, 'FM999,999,999,999,999')
            ))
            WHEN ended.parallel_step <> '' AND ended.error IS NOT NULL THEN jsonb_build_object(
                'type', ended.error ->> 'type', 'message', ended.error ->> 'message'
            )
            WHEN ended.status = 'cancelled' THEN jsonb_build_object(
                'type', 'ChildCancelled',
                'message', format('Child task %s was cancelled. %s', ended.id, ended.cancel_reason)
            )
            ELSE jsonb_build_object(
                'type', ended.error ->> 'type',
                'message', format('Child task %s failed: %s', ended.id, ended.error ->> 'message')
            )
        END,
        -- The task of a parallel step is deleted afterwards: its step takes over its failures, logs and times.
        child_id = CASE WHEN ended.parallel_step = '' THEN step.child_id END, until = NULL,
        failures = CASE WHEN ended.parallel_step = '' THEN step.failures ELSE coalesce((
            SELECT own_step.failures FROM taskqueue_step own_step
            WHERE own_step.task_id = ended.id AND own_step.key = ended.parent_key
        ), 0) END,
        logs = (
            SELECT own_step.logs FROM taskqueue_step own_step
            WHERE ended.parallel_step <> '' AND own_step.task_id = ended.id AND own_step.key = ended.parent_key
        ),
        started_at = CASE
            WHEN ended.parallel_step = '' THEN step.started_at ELSE coalesce(ended.started_at, step.started_at)
        END,
        finished_at = greatest(ended.finished_at, step.started_at, ended.started_at)
    FROM taskqueue_task ended CROSS JOIN size
    WHERE ended.id = :task::uuid AND step.task_id = :parent::uuid AND step.child_id = :task::uuid
        -- A subquery, so that the index finds the step by its key too: a plan that was made while the table was small
        -- could read all steps of the parent to join them.
        AND step.key = (SELECT child.parent_key FROM taskqueue_task child WHERE child.id = :task::uuid)
        AND step.status = 'waiting'
    RETURNING step.id, nullif(CASE WHEN step.status = 'succeeded' THEN size.bytes ELSE 0 END + size.carried, 0) AS added
), counted AS (
    UPDATE taskqueue_task parent SET output_bytes = parent.output_bytes + resolved.added
    FROM resolved WHERE parent.id = :parent::uuid AND resolved.added IS NOT NULL
)
SELECT id FROM resolved;
