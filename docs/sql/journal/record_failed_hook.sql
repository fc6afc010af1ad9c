-- Record a failed attempt of a hook, without its step, which has succeeded.
-- Parameters: :task uuid, :worker int, :lease int, :key text, :outcome text, :error_type text, :error_message text,
-- :traceback text, :logs jsonb, :elapsed interval
WITH leased AS (
    SELECT id FROM taskqueue_task
    WHERE id = :task::uuid AND worker_id = :worker::int AND lease = :lease::int AND status = 'running'
    FOR NO KEY UPDATE
), written AS (SELECT id FROM leased), attempt AS (
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
) SELECT id FROM written;
