-- Reserve an idempotency key before it is known which task it will stand for; ENQUEUE does the same for requests that
-- share no task.
-- Parameters: :pipeline text, :key text, :id uuid, :window interval, :payload_digest text, :force boolean
INSERT INTO taskqueue_idempotencykey AS existing (pipeline_id, key, task_id, expires_at, payload_digest)
    SELECT :pipeline::text, :key::text, :id::uuid, statement_timestamp() + :window::interval,
        :payload_digest::text
    WHERE (:force::boolean OR (
        SELECT true FROM taskqueue_idempotencykey taken
        WHERE (taken.pipeline_id, taken.key) >= (:pipeline::text, :key::text)
            AND (taken.pipeline_id, taken.key) <= (:pipeline::text, :key::text) AND taken.expires_at > statement_timestamp()
        ORDER BY taken.pipeline_id, taken.key LIMIT 1
    ) IS NULL)
    ON CONFLICT (pipeline_id, key) DO UPDATE SET task_id = EXCLUDED.task_id, expires_at = EXCLUDED.expires_at,
        payload_digest = EXCLUDED.payload_digest
    WHERE existing.expires_at <= statement_timestamp() OR :force::boolean
    RETURNING 1;
