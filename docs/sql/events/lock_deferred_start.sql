-- Lock a deferred start unless another transaction has.
-- Parameters: :skip bigint
SELECT skip.event_id, skip.pipeline_id, event.name, event.data::text
FROM taskqueue_skip skip JOIN taskqueue_event event ON event.id = skip.event_id
WHERE skip.id = :skip::bigint AND skip.kind = 'deferred'
FOR UPDATE OF skip SKIP LOCKED;
