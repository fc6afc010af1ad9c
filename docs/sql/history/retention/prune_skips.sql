-- Delete a pipeline's old skipped requests.
-- Parameters: :pipeline text, :keep interval
DELETE FROM taskqueue_skip WHERE id = ANY (ARRAY(
    SELECT id FROM taskqueue_skip
    WHERE id = ANY (ARRAY(
        SELECT id FROM taskqueue_skip
        WHERE pipeline_id >= :pipeline::text AND pipeline_id <= :pipeline::text
        ORDER BY pipeline_id DESC, id LIMIT 200
    )) AND created_at < statement_timestamp() - :keep::interval AND kind <> 'deferred'
    FOR UPDATE SKIP LOCKED
))
RETURNING 1;
