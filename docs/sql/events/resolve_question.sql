-- Give an answer to a step whose wait is open, under the task's lock. No row if the wait has ended, or its time is
-- over.
-- Parameters: :data jsonb, :by text, :wait bigint
WITH step AS (
    UPDATE taskqueue_step step
    SET status = 'succeeded', finished_at = greatest(statement_timestamp(), step.started_at),
        output = jsonb_build_object(
            'id', NULL, 'name', wait.event, 'data', :data::jsonb, 'received_at', statement_timestamp()::text,
            'answered_by', :by::text, 'index', wait.position
        )
    FROM taskqueue_wait wait
    WHERE wait.id = :wait::bigint AND wait.outcome = '' AND wait.assignees IS NOT NULL
        AND step.task_id = wait.task_id AND step.key = wait.step_key AND step.status = 'waiting'
        AND (step.until IS NULL OR step.until > statement_timestamp())
    RETURNING step.task_id, step.key
)
UPDATE taskqueue_wait wait
SET outcome = CASE WHEN wait.id = :wait::bigint THEN 'answer' ELSE 'closed' END,
    answered_by = CASE WHEN wait.id = :wait::bigint THEN :by::text ELSE '' END,
    resolved_at = statement_timestamp()
FROM step WHERE wait.task_id = step.task_id AND wait.step_key = step.key AND wait.outcome = ''
RETURNING wait.id;
