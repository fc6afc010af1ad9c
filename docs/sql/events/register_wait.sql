-- Register that a step waits for an event or, with an empty step key, that the event cancels the task.
-- Parameters: :task uuid, :key text, :position smallint, :name text, :match jsonb, :fields text, :digest text,
-- :assignees text[], :question text, :answer_schema jsonb, :answer_model text
INSERT INTO taskqueue_wait (
    task_id, step_key, position, event, match, fields, digest, until, created_at, outcome,
    assignees, question, answer_schema, answer_model, answered_by
)
VALUES (
    :task::uuid, :key::text, :position::smallint, :name::text, :match::jsonb, :fields::text,
    :digest::text,
    (SELECT until FROM taskqueue_step WHERE task_id = :task::uuid AND key = :key::text),
    statement_timestamp(), '',
    :assignees::text[], :question::text, :answer_schema::jsonb, :answer_model::text, ''
)
ON CONFLICT (task_id, step_key, position) DO NOTHING
RETURNING id;
