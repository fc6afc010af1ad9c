-- End a parallel step, and claim the next one of its limit before all other tasks; queue it if this worker does not
-- take it or is draining. The last column of the one row: whether that is done.
-- Parameters: :result jsonb, :task uuid, :worker int, :lease int, :parent uuid, :limit bigint, :logs jsonb,
-- :strict_queues text[], :pipelines text[], :codes text[], :queues text[], :queues_excluded bool, :claiming_worker int,
-- :kept jsonb
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
), passed_slot AS MATERIALIZED (
    SELECT ''::text AS ready_queue, code.fingerprint, coalesce(
            concurrency.tasks, concurrency.declared_tasks, concurrency.tasks_per_key, concurrency.declared_tasks_per_key
        ) IS NOT NULL OR concurrency.rate_id IS NOT NULL AS is_limited, coalesce(
            concurrency.steps, concurrency.declared_steps, concurrency.steps_per_key, concurrency.declared_steps_per_key
        ) IS NOT NULL AS has_step_limit,
        false AS passes_slot, statement_timestamp() - make_interval(secs => next.priority) AS sort_at,
        queue.name AS from_queue, coalesce(array_position(:strict_queues::text[], queue.name::text), 0) AS queue_rank, coalesce(nullif(pipeline.queue, ''), pipeline.declared_queue) AS pipeline_queue
    FROM next
    JOIN unnest(:pipelines::text[], :codes::text[]) AS code (name, fingerprint)
        ON code.name = next.pipeline_id COLLATE "C"
    JOIN taskqueue_pipeline pipeline ON pipeline.name = next.pipeline_id AND pipeline.paused_at IS NULL
    LEFT JOIN taskqueue_concurrencylimit concurrency ON concurrency.pipeline_id = pipeline.name
    CROSS JOIN LATERAL (SELECT coalesce(nullif(next.step_queue, ''), coalesce(nullif(pipeline.queue, ''), pipeline.declared_queue)) AS name) AS queue
    WHERE (queue.name = ANY (:queues::text[])) <> :queues_excluded::bool
), continued AS (
    UPDATE taskqueue_task task
    SET status = CASE WHEN is_taken THEN 'running' ELSE 'queued' END,
        worker_id = CASE WHEN is_taken THEN :claiming_worker::int ELSE task.worker_id END,
        lease = task.lease + is_taken::int,
        started_at = CASE WHEN is_taken THEN coalesce(task.started_at, statement_timestamp()) ELSE task.started_at END,
        due_at = statement_timestamp(), sort_at = statement_timestamp() - make_interval(secs => task.priority),
        output_bytes = (SELECT output_bytes FROM ended),
        code_began = CASE
            WHEN task.code_began <> '' OR NOT is_taken THEN task.code_began
            ELSE coalesce(:kept::jsonb #>> ARRAY[task.pipeline_id, task.version], passed_slot.fingerprint)
        END
    FROM (SELECT) AS one LEFT JOIN passed_slot ON NOT EXISTS (
        SELECT FROM taskqueue_worker WHERE id = :claiming_worker::int AND draining_at IS NOT NULL
    ) CROSS JOIN LATERAL (SELECT passed_slot.from_queue IS NOT NULL AS is_taken) AS taken
    WHERE task.id = (SELECT id FROM next)
    RETURNING task.id, task.pipeline_id, task.lease, task.payload::text, task.labels::text, task.key,
        task.failures, task.version, task.parallel_step, task.depth,
        task.notify_completion OR EXISTS (
            SELECT FROM taskqueue_subscription subscription WHERE subscription.disabled_at IS NULL
                AND task.labels @> subscription.labels AND taskqueue_covers(subscription.pipelines, task.pipeline_id)
        ) AS notify_completion, task.concurrency_key,
        passed_slot.is_limited, passed_slot.has_step_limit, passed_slot.passes_slot,
        CASE WHEN task.parallel_step = '' THEN task.cron_at ELSE (
            SELECT parent.cron_at FROM taskqueue_task parent WHERE parent.id = task.parent_id
        ) END AS cron_at,
        task.parent_id, task.parent_key, task.cancel_grace, passed_slot.from_queue, passed_slot.pipeline_queue,
        task.parallel_limit, task.traceparent, passed_slot.queue_rank, task.sort_at
)
SELECT continued.*, EXISTS (SELECT FROM settled) AS has_ended
FROM (SELECT) AS one LEFT JOIN continued ON continued.from_queue IS NOT NULL;
