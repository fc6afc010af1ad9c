-- Resolve the waits of `cancel_on` that an event matches, and return the tasks to cancel.
-- Parameters: :fields text[], :digests text[], :name text, :event uuid, :spared uuid[]
WITH matching AS MATERIALIZED (
    SELECT wait.id, wait.task_id, wait.step_key, wait.position
    FROM unnest(:fields::text[], :digests::text[]) AS sought (fields, digest)
    CROSS JOIN LATERAL (
        SELECT id, task_id, step_key, position FROM taskqueue_wait
        WHERE outcome = '' AND event = :name::text
            AND fields = sought.fields COLLATE "C" AND digest = sought.digest
        ORDER BY event, fields, digest OFFSET 0
    ) AS wait
)
UPDATE taskqueue_wait wait
SET outcome = 'event', resolved_by_id = :event::uuid, resolved_at = statement_timestamp()
FROM matching WHERE wait.id = matching.id AND wait.step_key = '' AND wait.task_id <> ALL (:spared::uuid[])
RETURNING wait.task_id;
