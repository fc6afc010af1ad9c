-- Correct the lost attempt of a worker that was presumed dead and is alive.
-- Parameters: :task uuid, :worker int, :lease int
UPDATE taskqueue_attempt
SET error_type = 'WorkerSilent',
    error_message = error_message || ' It was not dead: it has answered since, and so this does not count as a death.'
WHERE task_id = :task::uuid AND worker_id = :worker::int AND lease = :lease::int AND outcome = 'lost'
    AND error_type IN ('WorkerLost', 'WorkerLostWithOthers');
