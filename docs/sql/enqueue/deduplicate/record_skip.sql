-- Record a request that created no task, because an existing one serves it.
-- Parameters: :pipeline text, :kind text, :reason text, :key text, :task uuid, :event uuid
INSERT INTO taskqueue_skip (pipeline_id, kind, reason, key, task_id, event_id, created_at)
VALUES (:pipeline::text, :kind::text, :reason::text, :key::text, :task::uuid, :event::uuid,
    statement_timestamp());
