-- Delete a pipeline's old skipped requests.
-- Parameters: :pipeline text, :keep interval
WITH RECURSIVE walked AS (
    (
        SELECT id, created_at FROM taskqueue_skip
        WHERE pipeline_id >= :pipeline::text AND pipeline_id <= :pipeline::text
        ORDER BY pipeline_id DESC, id LIMIT 1
    )
    UNION ALL
    SELECT following.id, following.created_at FROM walked CROSS JOIN LATERAL (
        SELECT id, created_at FROM taskqueue_skip
        WHERE pipeline_id >= :pipeline::text AND pipeline_id <= :pipeline::text AND id > walked.id
        ORDER BY pipeline_id DESC, id LIMIT 1
    ) AS following
    WHERE walked.created_at < statement_timestamp() - :keep::interval
)
DELETE FROM taskqueue_skip WHERE id = ANY (ARRAY(
    SELECT id FROM taskqueue_skip
    WHERE id = ANY (ARRAY(SELECT id FROM walked LIMIT 200))
        AND created_at < statement_timestamp() - :keep::interval AND kind <> 'deferred'
    FOR UPDATE SKIP LOCKED
))
RETURNING 1;
