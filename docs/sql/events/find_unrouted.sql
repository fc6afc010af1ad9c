-- Find events that are still to be routed.
-- Parameters: :after uuid
SELECT id FROM taskqueue_event WHERE routed_at IS NULL AND id > :after::uuid ORDER BY id LIMIT 50;
