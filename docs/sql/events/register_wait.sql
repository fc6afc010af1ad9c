-- Register that a step waits for an event or, with an empty step key, that the event cancels the task.
-- Parameters: :task uuid, :key text, :position smallint, :name text, :match jsonb, :fields text, :digest text
INSERT INTO taskqueue_wait (task_id, step_key, position, event, match, fields, digest, until, created_at, outcome)
VALUES (
    :task::uuid, :key::text, :position::smallint, :name::text, :match::jsonb, :fields::text,
    :digest::text,
    (SELECT until FROM taskqueue_step WHERE task_id = :task::uuid AND key = :key::text),
    statement_timestamp(), ''
)
ON CONFLICT (task_id, step_key, position) DO NOTHING
RETURNING id;
