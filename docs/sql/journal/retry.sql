-- Record a failed attempt, and retry the task after its wait; at once when the step has succeeded after all.
-- Parameters: :task uuid, :worker int, :lease int, :key text, :name text, :step_status text, :input jsonb, :input_hash
-- text, :step_error jsonb, :elapsed interval, :outcome text, :error_type text, :error_message text, :traceback text,
-- :logs jsonb, :body_failures smallint, :wait interval
WITH leased AS (
    SELECT id FROM taskqueue_task
    WHERE id = :task::uuid AND worker_id = :worker::int AND lease = :lease::int AND status = 'running'
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
    SET status = CASE WHEN later.due_at IS NULL THEN 'queued' ELSE 'retrying' END,
        failures = task.failures + :body_failures::smallint,
        due_at = coalesce(later.due_at, task.due_at), blocked_on = '',
        sort_at = coalesce(later.due_at, task.due_at) - make_interval(secs => task.priority)
    FROM leased LEFT JOIN (
        SELECT id, statement_timestamp() + :wait::interval AS due_at FROM written
    ) AS later USING (id)
    WHERE task.id = leased.id AND task.id = :task::uuid
    RETURNING task.id
) SELECT FROM settled;
