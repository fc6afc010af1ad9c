-- Give an event that came earlier to a step that has just registered its wait, under the task's lock.
-- Parameters: :arrival jsonb, :position int, :task uuid, :key text, :event uuid
WITH step AS (
    UPDATE taskqueue_step
    SET status = 'succeeded', finished_at = greatest(statement_timestamp(), started_at),
        output = :arrival::jsonb || jsonb_build_object('index', :position::int)
    WHERE task_id = :task::uuid AND key = :key::text AND status = 'waiting'
    RETURNING task_id
)
UPDATE taskqueue_wait wait
SET outcome = CASE WHEN wait.position = :position::int THEN 'event' ELSE 'closed' END,
    resolved_by_id = CASE WHEN wait.position = :position::int THEN :event::uuid END,
    resolved_at = statement_timestamp()
FROM step
WHERE wait.task_id = step.task_id AND wait.step_key = :key::text AND wait.outcome = '';
