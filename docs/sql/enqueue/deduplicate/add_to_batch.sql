-- Add items to the waiting batch if they fit; else start the batch as it is. Items never fit into a payload of another
-- shape, from an earlier version of the code.
-- Parameters: :field text, :pipeline text, :debounce_key text, :payload jsonb, :size int, :most_bytes int,
-- :start_within interval
WITH waiting AS MATERIALIZED (
    SELECT id, payload -> :field::text AS items FROM taskqueue_task
    WHERE unique_debounce = :pipeline::text || ' ' || :debounce_key::text
    FOR NO KEY UPDATE
), merged AS MATERIALIZED (
    SELECT id, CASE WHEN jsonb_typeof(items) = 'array' THEN
        jsonb_build_object(:field::text, items || (:payload::jsonb -> :field::text))
    END AS payload
    FROM waiting
), checked AS MATERIALIZED (
    SELECT id, payload, coalesce(
        jsonb_array_length(payload -> :field::text) <= :size::int
        AND octet_length(payload::text) <= :most_bytes::int, false
    ) AS fits, coalesce(jsonb_array_length(payload -> :field::text) >= :size::int, true) AS is_full
    FROM merged
)
UPDATE taskqueue_task task
SET payload = CASE WHEN fits THEN checked.payload ELSE task.payload END,
    status = CASE WHEN fits AND NOT is_full THEN task.status ELSE 'queued' END,
    due_at = CASE WHEN fits AND NOT is_full THEN task.due_at ELSE statement_timestamp() END,
    sort_at = CASE WHEN fits AND NOT is_full THEN task.sort_at
        ELSE statement_timestamp() - make_interval(secs => task.priority) END,
    start_by = CASE WHEN fits AND NOT is_full THEN task.start_by
        ELSE statement_timestamp() + :start_within::interval END
FROM checked
WHERE task.id = checked.id AND task.id = (SELECT id FROM checked)
RETURNING task.id, fits, task.status = 'queued';
