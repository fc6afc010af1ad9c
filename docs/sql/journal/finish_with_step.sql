-- Record the last step of a task, and end the task.
-- Parameters: :task uuid, :worker int, :lease int, :key text, :name text, :kind text, :input jsonb, :input_hash text,
-- :output jsonb, :logs jsonb, :elapsed interval, :status text, :result jsonb, :error jsonb, :code text, :drift jsonb
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
), settled AS (
    UPDATE taskqueue_task task
    SET status = :status::text, result = :result::jsonb, error = :error::jsonb,
        finished_at = statement_timestamp(), code_ended = :code::text,
        drift = coalesce(:drift::jsonb, task.drift),
        progress = CASE WHEN :status::text = 'succeeded' AND progress IS NOT NULL THEN 1 ELSE progress END,
        progress_note = CASE WHEN :status::text = 'succeeded' THEN '' ELSE progress_note END
    FROM leased
    WHERE task.id = leased.id AND task.id = :task::uuid
    RETURNING task.id
) SELECT FROM settled;
