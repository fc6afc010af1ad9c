-- Record the suspensions of a task, one step each. Returns the new ones, whose waits and children are still to be
-- created. A plain step that is to be retried may be a suspension in the deployed code: it becomes one.
-- Parameters: :task uuid, :keys text[], :names text[], :kinds text[], :inputs text[], :input_hashes text[], :untils
-- timestamptz[], :delays interval[]
INSERT INTO taskqueue_step AS existing (
    task_id, key, name, kind, status, failures, input, input_hash, until, child_id, started_at, finished_at
)
SELECT
    :task::uuid, suspension.key, suspension.name, suspension.kind, 'waiting', 0,
    suspension.input::jsonb, suspension.input_hash,
    coalesce(suspension.until, statement_timestamp() + suspension.delay), NULL,
    statement_timestamp(), statement_timestamp()
FROM unnest(
    :keys::text[], :names::text[], :kinds::text[], :inputs::text[], :input_hashes::text[],
    :untils::timestamptz[], :delays::interval[]
) WITH ORDINALITY AS suspension (key, name, kind, input, input_hash, until, delay, position)
ORDER BY suspension.position
ON CONFLICT (task_id, key) DO UPDATE
SET name = EXCLUDED.name, kind = EXCLUDED.kind, status = 'waiting', input = EXCLUDED.input,
    input_hash = EXCLUDED.input_hash, error = NULL, until = EXCLUDED.until, started_at = EXCLUDED.started_at,
    finished_at = EXCLUDED.finished_at
WHERE existing.kind = 'step' AND existing.status IN ('retrying', 'waiting')
RETURNING key;
