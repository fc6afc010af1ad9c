-- Record for what a task waits, one step each. Returns the new ones, whose waits and children are still to be made. A
-- plain step that is to be retried may be a suspension in the present code: it is one from here on.
-- Parameters: :task uuid, :keys text[], :names text[], :kinds text[], :inputs text[], :input_hashes text[], :untils
-- timestamptz[], :delays interval[]
INSERT INTO taskqueue_step AS known (
    task_id, key, name, kind, status, failures, input, input_hash, until, child_id, started_at, finished_at
)
SELECT
    :task::uuid, pause.key, pause.name, pause.kind, 'waiting', 0, pause.input::jsonb, pause.input_hash,
    coalesce(pause.until, statement_timestamp() + pause.delay), NULL, statement_timestamp(), statement_timestamp()
FROM unnest(
    :keys::text[], :names::text[], :kinds::text[], :inputs::text[], :input_hashes::text[],
    :untils::timestamptz[], :delays::interval[]
) WITH ORDINALITY AS pause (key, name, kind, input, input_hash, until, delay, position)
ORDER BY pause.position
ON CONFLICT (task_id, key) DO UPDATE
SET name = EXCLUDED.name, kind = EXCLUDED.kind, status = 'waiting', input = EXCLUDED.input,
    input_hash = EXCLUDED.input_hash, error = NULL, until = EXCLUDED.until, started_at = EXCLUDED.started_at,
    finished_at = EXCLUDED.finished_at
WHERE known.kind = 'step' AND known.status IN ('retrying', 'waiting')
RETURNING key;
