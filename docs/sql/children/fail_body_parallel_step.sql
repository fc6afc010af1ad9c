-- End a task that failed outside of its steps, and record the attempt. For a parallel step, under the lock of its
-- parent.
-- Parameters: :parent uuid, :task uuid, :worker int, :lease int, :key text, :name text, :step_status text, :input
-- jsonb, :input_hash text, :step_error jsonb, :elapsed interval, :outcome text, :error_type text, :error_message text,
-- :traceback text, :logs jsonb, :error jsonb, :code text, :drift jsonb
WITH parent AS MATERIALIZED (
    SELECT id FROM taskqueue_task WHERE id = :parent::uuid FOR NO KEY UPDATE
), leased AS (
    SELECT id FROM taskqueue_task
    WHERE (SELECT count(*) FROM parent) = 1 AND id = :task::uuid AND worker_id = :worker::int AND lease = :lease::int AND status = 'running'
    FOR NO KEY UPDATE
), step AS (
    INSERT INTO taskqueue_step AS existing (
        task_id, key, name, status, failures, input, input_hash, error, started_at, finished_at
    )
    SELECT
        leased.id, :key::text, :name::text, :step_status::text, 1, :input::jsonb, :input_hash::text,
        :step_error::jsonb, statement_timestamp() - :elapsed::interval, statement_timestamp()
    FROM leased
    WHERE :key::text <> ''
    ON CONFLICT (task_id, key) DO UPDATE
    SET status = EXCLUDED.status, failures = existing.failures + 1, input = EXCLUDED.input,
        input_hash = EXCLUDED.input_hash, error = EXCLUDED.error, until = NULL,
        started_at = EXCLUDED.started_at, finished_at = EXCLUDED.finished_at
    WHERE existing.status <> 'succeeded'
    RETURNING id
), written AS (
    -- A commit that was answered with an error may have happened: then the step has succeeded, and nothing failed.
    SELECT id FROM leased WHERE :key::text = '' OR EXISTS (SELECT FROM step)
), attempt AS (
    INSERT INTO taskqueue_attempt (
        task_id, step_key, number, outcome, error_type, error_message, traceback, logs, worker_id, lease, started_at,
        finished_at
    )
    SELECT
        leased.id, :key::text,
        (SELECT coalesce(max(number), 0) + 1 FROM taskqueue_attempt
         WHERE task_id = leased.id AND step_key = :key::text),
        :outcome::text, :error_type::text, :error_message::text, :traceback::text, :logs::jsonb,
        :worker::int, :lease::int, statement_timestamp() - :elapsed::interval, statement_timestamp()
    FROM written JOIN leased USING (id)
), settled AS (
    UPDATE taskqueue_task task
    SET status = 'failed', error = :error::jsonb, failures = task.failures + 1, finished_at = statement_timestamp(),
        code_ended = :code::text, drift = coalesce(:drift::jsonb, task.drift)
    FROM leased
    WHERE task.id = leased.id AND task.id = :task::uuid
    RETURNING task.id
)
SELECT id FROM settled;
