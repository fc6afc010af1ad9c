-- Record a new child in its parent's step. Below a task with its own pipeline and key it shares that task's slot, else
-- the two would wait for each other. Its rate limit still counts: it asks for a time when it is claimed.
-- Parameters: :task uuid, :child uuid, :key text
WITH RECURSIVE ancestors AS (
    SELECT id, parent_id, pipeline_id, concurrency_key FROM taskqueue_task WHERE id = :task::uuid
    UNION ALL
    -- Only ancestors that hold a slot.
    SELECT parent.* FROM ancestors CROSS JOIN LATERAL (
        SELECT task.id, task.parent_id, task.pipeline_id, task.concurrency_key FROM taskqueue_task task
        WHERE task.id = ancestors.parent_id AND task.slot_acquired_at IS NOT NULL AND task.finished_at IS NULL
        OFFSET 0
    ) AS parent
), step AS (
    UPDATE taskqueue_step SET child_id = :child::uuid WHERE task_id = :task::uuid AND key = :key::text
)
UPDATE taskqueue_task child SET shares_slot = true, slot_acquired_at = statement_timestamp(), blocked_on = CASE
    WHEN EXISTS (
        SELECT FROM taskqueue_concurrencylimit concurrency WHERE concurrency.pipeline_id = child.pipeline_id
            AND concurrency.rate_id IS NOT NULL
    ) THEN '+' ELSE ''
END
WHERE child.id = :child::uuid AND EXISTS (
    SELECT FROM ancestors WHERE ancestors.pipeline_id = child.pipeline_id
        AND ancestors.concurrency_key = child.concurrency_key
);
