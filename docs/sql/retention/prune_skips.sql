-- Delete a pipeline's old skipped requests.
-- Parameters: :pipeline text, :keep interval
WITH RECURSIVE oldest AS (
    (
        SELECT id, created_at FROM taskqueue_skip
        WHERE pipeline_id >= :pipeline::text AND pipeline_id <= :pipeline::text
        ORDER BY pipeline_id DESC, id LIMIT 1
    )
    UNION ALL
    SELECT following.id, following.created_at FROM oldest CROSS JOIN LATERAL (
        SELECT id, created_at FROM taskqueue_skip
        WHERE pipeline_id >= :pipeline::text AND pipeline_id <= :pipeline::text AND id > oldest.id
        ORDER BY pipeline_id DESC, id LIMIT 1
    ) AS following
    WHERE oldest.created_at < statement_timestamp() - :keep::interval
)
DELETE FROM taskqueue_skip WHERE id = ANY (ARRAY(
    SELECT id FROM taskqueue_skip
    WHERE id = ANY (ARRAY(SELECT id FROM oldest LIMIT 200))
        AND created_at < statement_timestamp() - :keep::interval AND kind <> 'deferred'
    FOR UPDATE SKIP LOCKED
))
RETURNING 1;
