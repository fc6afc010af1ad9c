-- End a task: succeeded, or failed by a step whose attempt is recorded. For a parallel step, under the lock of its
-- parent.
-- Parameters: :parent uuid, :task uuid, :worker int, :lease int, :status text, :result jsonb, :error jsonb, :code text,
-- :drift jsonb
WITH parent AS MATERIALIZED (
    SELECT id FROM taskqueue_task WHERE id = :parent::uuid FOR NO KEY UPDATE
), leased AS (
    SELECT id FROM taskqueue_task
    WHERE (SELECT count(*) FROM parent) = 1 AND id = :task::uuid AND worker_id = :worker::int AND lease = :lease::int AND status = 'running'
    FOR NO KEY UPDATE
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
)
SELECT id FROM settled;
