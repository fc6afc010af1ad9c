-- Lock the tasks whose waits an event matches. In the order of ids, so parents before children: every transaction that
-- locks several tasks uses this order, so they cannot deadlock.
-- Parameters: :fields text[], :digests text[], :name text
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
SELECT task.id, task.finished_at IS NOT NULL FROM taskqueue_task task
WHERE task.id = ANY (ARRAY(SELECT task_id FROM matching))
ORDER BY task.id
FOR NO KEY UPDATE;
