-- Find events that a new wait with `match` has missed, the oldest first. The values are looked up first: in the order
-- of ids every event of the name would be read on the way to one that matches.
-- Parameters: :name text, :since uuid, :within jsonb, :created_at timestamptz, :started_by uuid, :task uuid
WITH event AS MATERIALIZED (
    SELECT id, data, received_at, routed_at FROM taskqueue_event
    WHERE name = :name::text AND id > :since::uuid AND data @> :within::jsonb
)
SELECT event.id, event.data::text, event.received_at::text
FROM event WHERE (
    event.received_at >= :created_at::timestamptz OR event.routed_at > :created_at::timestamptz
) AND event.id IS DISTINCT FROM :started_by::uuid AND event.id <> ALL (ARRAY(
    SELECT resolved_by_id FROM taskqueue_wait WHERE task_id = :task::uuid AND resolved_by_id IS NOT NULL
))
ORDER BY event.id LIMIT 20;
