-- Give a step's slot back. A row when another task waits for one.
-- Parameters: :task uuid, :key text, :lease int, :pipeline text
WITH freed AS (
    DELETE FROM taskqueue_stepslot
    WHERE task_id = :task::uuid AND step_key = :key::text AND lease = :lease::int
)
SELECT true FROM taskqueue_task WHERE step_limit_queue = :pipeline::text ORDER BY id LIMIT 1;
