-- Record a step that has succeeded, once. Returns the recorded output, and whether the pipeline is paused.
-- Parameters: :task uuid, :worker int, :lease int, :key text, :name text, :kind text, :input jsonb, :input_hash text,
-- :output jsonb, :logs jsonb, :elapsed interval
WITH leased AS (
    SELECT id FROM taskqueue_task
    WHERE id = :task::uuid AND worker_id = :worker::int AND lease = :lease::int AND status = 'running'
    FOR NO KEY UPDATE
), step AS (
    INSERT INTO taskqueue_step AS existing (task_id, key, name, kind, status, failures, input, input_hash, output, logs, started_at, finished_at)
    SELECT
        leased.id, :key::text, :name::text, :kind::text, 'succeeded', 0, :input::jsonb,
        :input_hash::text, :output::jsonb, :logs::jsonb,
        statement_timestamp() - :elapsed::interval, statement_timestamp()
    FROM leased
    ON CONFLICT (task_id, key) DO UPDATE
    SET status = 'succeeded', input = EXCLUDED.input, input_hash = EXCLUDED.input_hash, output = EXCLUDED.output,
        logs = EXCLUDED.logs, error = NULL, until = NULL, started_at = EXCLUDED.started_at,
        finished_at = EXCLUDED.finished_at
    WHERE existing.status <> 'succeeded'
    RETURNING output::text
)
SELECT step.output, (
    -- A running task of a paused pipeline stops after this step.
    SELECT pipeline.paused_at IS NOT NULL FROM taskqueue_task task
    JOIN taskqueue_pipeline pipeline ON pipeline.name = task.pipeline_id
    WHERE task.id = :task::uuid
)
FROM step;
