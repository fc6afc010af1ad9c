-- Write a worker's heartbeat. Returns whether it drains; no row when another process has ended it.
-- Parameters: :task uuid, :step text, :executing smallint, :steps jsonb, :elapsed interval, :claim_error text, :worker
-- int
UPDATE taskqueue_worker
SET heartbeat_at = statement_timestamp(), task_id = :task::uuid, step = :step::text,
    executing = :executing::smallint, steps = :steps::jsonb,
    step_started_at = statement_timestamp() - :elapsed::interval, claim_error = :claim_error::text
WHERE id = :worker::int AND ended_at IS NULL
RETURNING draining_at IS NOT NULL;
