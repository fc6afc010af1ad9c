-- Give an event to the steps whose waits it matches: one wait per task, none of a task that has received it. The first
-- of two events counts, and of an event and a timeout: the timeout is first when the task has gone on, or when the
-- event came later.
-- Parameters: :fields text[], :digests text[], :name text, :received_at timestamptz, :event uuid, :arrival jsonb
WITH matching AS MATERIALIZED (
    SELECT wait.id, wait.task_id, wait.step_key, wait.position
    FROM unnest(:fields::text[], :digests::text[]) AS sought (fields, digest)
    CROSS JOIN LATERAL (
        SELECT id, task_id, step_key, position FROM taskqueue_wait
        WHERE outcome = '' AND event = :name::text
            AND fields = sought.fields COLLATE "C" AND digest = sought.digest
        ORDER BY event, fields, digest OFFSET 0
    ) AS wait
), chosen AS MATERIALIZED (
    SELECT DISTINCT ON (matching.task_id) matching.task_id, matching.step_key, matching.position, step.id AS step_id
    FROM matching
    JOIN taskqueue_step step ON step.task_id = matching.task_id AND step.key = matching.step_key
    WHERE step.status = 'waiting' AND (step.until IS NULL OR step.until > :received_at::timestamptz)
        AND NOT EXISTS (
            SELECT FROM taskqueue_wait used
            WHERE used.task_id = matching.task_id AND used.resolved_by_id = :event::uuid
        )
    ORDER BY matching.task_id, step.id, matching.position
), step AS (
    UPDATE taskqueue_step step
    SET status = 'succeeded', finished_at = greatest(statement_timestamp(), step.started_at),
        output = :arrival::jsonb || jsonb_build_object('index', chosen.position)
    FROM chosen WHERE step.id = chosen.step_id AND step.status = 'waiting'
    RETURNING step.task_id, step.key, chosen.position
), resolved AS (
    UPDATE taskqueue_wait wait
    SET outcome = CASE WHEN wait.position = step.position THEN 'event' ELSE 'closed' END,
        resolved_by_id = CASE WHEN wait.position = step.position THEN :event::uuid END,
        resolved_at = statement_timestamp()
    FROM step WHERE wait.task_id = step.task_id AND wait.step_key = step.key AND wait.outcome = ''
)
SELECT task_id FROM step;
