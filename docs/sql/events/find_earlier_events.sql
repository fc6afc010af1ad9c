-- Find events that a new wait has missed, the oldest first.
-- Parameters: :name text, :since uuid, :created_at timestamptz, :started_by uuid, :task uuid
SELECT event.id, event.data::text, event.received_at::text
FROM taskqueue_event event
WHERE event.name = :name::text AND event.id > :since::uuid AND (
    event.received_at >= :created_at::timestamptz OR event.routed_at > :created_at::timestamptz
) AND event.id IS DISTINCT FROM :started_by::uuid AND event.id <> ALL (ARRAY(
    SELECT resolved_by_id FROM taskqueue_wait WHERE task_id = :task::uuid AND resolved_by_id IS NOT NULL
))
ORDER BY event.name, event.id LIMIT 20;
