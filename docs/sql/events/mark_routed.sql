-- Record that an event has been routed.
-- Parameters: :event uuid
UPDATE taskqueue_event SET routed_at = statement_timestamp() WHERE id = :event::uuid;
