-- Delete old events, but none since the oldest unfinished task was created, which may still wait for it, and none that
-- a task, a wait or a skipped request points at.
-- Parameters: :after uuid, :keep interval, :oldest timestamptz, :window interval
WITH scanned AS MATERIALIZED (
    SELECT id, received_at AS created_at FROM taskqueue_event WHERE id > :after::uuid ORDER BY id LIMIT 200
), to_delete AS MATERIALIZED (
    SELECT event.id FROM taskqueue_event event
    WHERE event.id = ANY (ARRAY(SELECT id FROM scanned))
        AND greatest(event.received_at, event.routed_at) < statement_timestamp() - :keep::interval
        AND greatest(event.received_at, event.routed_at)
            < coalesce(:oldest::timestamptz - interval '1 hour', 'infinity')
        AND event.routed_at IS NOT NULL
        AND (event.unique_id = '' OR event.received_at < statement_timestamp() - :window::interval)
        AND NOT EXISTS (SELECT FROM taskqueue_task started WHERE started.event_id = event.id)
        AND NOT EXISTS (SELECT FROM taskqueue_wait resolved WHERE resolved.resolved_by_id = event.id)
        AND NOT EXISTS (SELECT FROM taskqueue_skip skipped WHERE skipped.event_id = event.id)
    FOR UPDATE OF event SKIP LOCKED
), deleted AS (
    DELETE FROM taskqueue_event WHERE id = ANY (ARRAY(SELECT id FROM to_delete)) RETURNING 1
)
SELECT 0, (SELECT count(*) FROM deleted), (SELECT id FROM scanned ORDER BY id DESC LIMIT 1), (
    SELECT count(*) < 200 OR coalesce(max(created_at) >= statement_timestamp() - :keep::interval, true) FROM scanned
);
