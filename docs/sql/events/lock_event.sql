-- Lock an event that is still to be routed.
-- Parameters: :event uuid
SELECT name, data::text, received_at::text, closed::text, traceparent FROM taskqueue_event
WHERE id = :event::uuid AND routed_at IS NULL
FOR NO KEY UPDATE SKIP LOCKED;
