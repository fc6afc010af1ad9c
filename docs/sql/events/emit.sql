-- Send an event from a step. The event and the step's record are one statement: it is sent once.
-- Parameters: :task uuid, :worker int, :lease int, :key text, :step text, :data jsonb, :input_hash text, :id text,
-- :name text, :traceparent text
WITH leased AS (
    SELECT id FROM taskqueue_task
    WHERE id = :task::uuid AND worker_id = :worker::int AND lease = :lease::int AND status = 'running'
    FOR NO KEY UPDATE
), step AS (
    INSERT INTO taskqueue_step (
        task_id, key, name, kind, status, failures, input, input_hash, output, started_at, finished_at
    )
    SELECT leased.id, :key::text, :step::text, 'emit', 'succeeded', 0, :data::jsonb, :input_hash::text,
        to_jsonb(:id::text), statement_timestamp(), statement_timestamp()
    FROM leased
    ON CONFLICT (task_id, key) DO NOTHING
    RETURNING task_id
)
INSERT INTO taskqueue_event (id, name, data, external_id, unique_id, source_id, received_at, traceparent)
SELECT :id::uuid, :name::text, :data::jsonb, '', '', task_id, statement_timestamp(), :traceparent::text
FROM step
RETURNING id;
