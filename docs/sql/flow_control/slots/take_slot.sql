-- Take a slot for a step, if one is free. Under the pipeline's lock, in a statement after the one that took it. A slot
-- that GRANT_SLOTS has given to the task is used first.
-- Parameters: :task uuid, :worker int, :lease int, :pipeline text, :key text, :concurrency_key text
WITH leased AS (
    SELECT id FROM taskqueue_task
    WHERE id = :task::uuid AND worker_id = :worker::int AND lease = :lease::int AND status = 'running'
    FOR NO KEY UPDATE
), live AS MATERIALIZED (
    SELECT slot.id, slot.task_id, slot.step_key, slot.concurrency_key
    FROM taskqueue_stepslot slot JOIN taskqueue_task task ON task.id = slot.task_id
    WHERE slot.pipeline_id = :pipeline::text AND task.id = ANY (ARRAY(
        SELECT task_id FROM taskqueue_stepslot WHERE pipeline_id = :pipeline::text
    )) AND (
        task.status = 'running' AND task.lease = slot.lease OR task.status = 'queued' AND task.lease = slot.lease - 1
    )
), limits AS MATERIALIZED (
    SELECT coalesce(concurrency.steps, concurrency.declared_steps) AS most,
        coalesce(concurrency.steps_per_key, concurrency.declared_steps_per_key) AS most_per_key
    FROM taskqueue_concurrencylimit concurrency WHERE concurrency.pipeline_id = :pipeline::text
), granted AS (
    UPDATE taskqueue_stepslot slot SET step_key = :key::text
    FROM leased
    WHERE slot.task_id = leased.id AND slot.lease = :lease::int AND slot.step_key = ''
    RETURNING slot.id
), void AS (
    -- Slots that no longer count.
    DELETE FROM taskqueue_stepslot slot
    WHERE slot.pipeline_id = :pipeline::text AND slot.id NOT IN (SELECT id FROM live)
        AND NOT (slot.task_id = :task::uuid AND slot.step_key = :key::text)
), acquired AS (
    INSERT INTO taskqueue_stepslot AS slot (pipeline_id, concurrency_key, task_id, lease, step_key)
    SELECT :pipeline::text, :concurrency_key::text, leased.id, :lease::int, :key::text
    FROM leased LEFT JOIN limits ON true
    WHERE NOT EXISTS (SELECT FROM granted)
        AND coalesce((SELECT count(*) FROM live) < limits.most, true)
        AND (:concurrency_key::text = '' OR coalesce(
            (SELECT count(*) FROM live WHERE live.concurrency_key = :concurrency_key::text) < limits.most_per_key,
            true
        ))
    ON CONFLICT (task_id, step_key) DO UPDATE SET lease = EXCLUDED.lease
    RETURNING slot.id
)
SELECT EXISTS (SELECT FROM granted UNION ALL SELECT FROM acquired) FROM leased;
