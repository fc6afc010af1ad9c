-- Reserve the keys of a bulk request, in the order of the lists, which is sorted for every request. Each key's row is
-- locked, also one that stands for another task: of two requests that share keys one waits at the first key, and holds
-- no lock meanwhile.
-- Parameters: :window interval, :pipelines text[], :keys text[], :ids uuid[], :payload_digests text[]
INSERT INTO taskqueue_idempotencykey AS existing (pipeline_id, key, task_id, expires_at, payload_digest)
SELECT pipeline, key, id, statement_timestamp() + :window::interval, payload_digest
FROM unnest(:pipelines::text[], :keys::text[], :ids::uuid[], :payload_digests::text[])
    WITH ORDINALITY AS wanted (pipeline, key, id, payload_digest, position)
ORDER BY position
ON CONFLICT (pipeline_id, key) DO UPDATE
SET task_id = EXCLUDED.task_id, expires_at = EXCLUDED.expires_at, payload_digest = EXCLUDED.payload_digest
WHERE existing.expires_at <= statement_timestamp()
RETURNING task_id;
