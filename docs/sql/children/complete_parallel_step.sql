-- Give the result of an ended parallel step to its parent's step, queue the next one of its limit, queue the parent if
-- this was its last suspension, and delete the ended task unless more rows belong to it. Under the locks of both tasks,
-- in a statement after the one that waited for them, to see what the other parallel steps have committed. Returns
-- whether it queued a task, and whether it has deleted the ended one.
-- Parameters: :task uuid, :limit bigint, :parent uuid
WITH ended AS MATERIALIZED (
    SELECT parent_key, parallel_step, parallel_limit FROM taskqueue_task WHERE id = :task::uuid
), size AS MATERIALIZED (
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
), next AS MATERIALIZED (
    -- The tasks behind the limit have the highest ids: only the few that it allows are read before. Plain conditions
    -- on the parent and the status would lead the planner, without statistics, to other indexes or to a sort.
    -- An end that passes its slot on may have locked one for itself: then the one after it is next.
    SELECT sibling.id FROM taskqueue_task sibling
    WHERE sibling.parent_id >= :parent::uuid AND sibling.parent_id <= :parent::uuid
        AND CASE WHEN sibling.status = 'waiting' THEN sibling.parallel_step = (SELECT parallel_step FROM ended)
            AND sibling.parallel_limit IS NOT NULL AND sibling.due_at IS NULL AND sibling.blocked_on = '' END
        AND (SELECT parallel_limit FROM ended) IS NOT NULL
    ORDER BY sibling.parent_id, sibling.id LIMIT 1
    FOR NO KEY UPDATE
), changed AS MATERIALIZED (
    SELECT id, true AS is_queued, 0 AS added FROM next
    UNION ALL
    SELECT task.id, task.status = 'waiting' AND CASE WHEN (
        SELECT true FROM taskqueue_task child
        WHERE child.parent_id >= task.id AND child.parent_id <= task.id AND CASE WHEN child.finished_at IS NULL THEN (
            SELECT step.status = 'waiting' AND step.child_id = child.id FROM taskqueue_step step
            WHERE step.task_id = task.id AND step.key = child.parent_key
        ) END
        ORDER BY child.parent_id DESC, child.id DESC LIMIT 1
    ) THEN false ELSE NOT EXISTS (
        SELECT FROM taskqueue_step step
        WHERE step.task_id = task.id AND step.status = 'waiting' AND step.kind <> 'step' AND step.id IS DISTINCT FROM resolved.id
    ) END, coalesce(resolved.added, 0)
    FROM resolved JOIN taskqueue_task task ON task.id = :parent::uuid
), updated AS (
    -- One update of both: each one reads the table's constraints first.
    UPDATE taskqueue_task task
    SET output_bytes = task.output_bytes + changed.added,
        status = CASE WHEN is_queued THEN 'queued' ELSE task.status END,
        blocked_on = CASE WHEN is_queued THEN '' ELSE task.blocked_on END,
        due_at = CASE WHEN is_queued THEN statement_timestamp() ELSE task.due_at END,
        sort_at = CASE WHEN is_queued THEN statement_timestamp() - make_interval(secs => task.priority)
            ELSE task.sort_at END
    FROM changed
    WHERE task.id = changed.id AND task.id = ANY (ARRAY(SELECT id FROM changed)) AND (is_queued OR added > 0)
    RETURNING changed.is_queued
), deleted_step AS (
    DELETE FROM taskqueue_step WHERE task_id = :task::uuid AND key = (SELECT parent_key FROM ended)
), deleted AS (
    DELETE FROM taskqueue_task
    WHERE id = :task::uuid AND EXISTS (SELECT FROM resolved) AND NOT coalesce(
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
    RETURNING id
)
SELECT EXISTS (SELECT FROM updated WHERE is_queued),
    EXISTS (SELECT FROM deleted);
