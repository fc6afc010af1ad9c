-- Give up old deferred starts of pipelines without deployed code: the oldest of each.
-- Parameters: :days int
UPDATE taskqueue_skip
SET kind = 'unknown', reason = format(
    'For %s days no worker knew the pipeline %s. Has it been removed?', :days::int, left(pipeline_id, 200)
)
WHERE id = ANY (ARRAY(
    SELECT id FROM taskqueue_skip
    WHERE id = ANY (ARRAY(
        SELECT oldest.id FROM taskqueue_pipeline pipeline CROSS JOIN LATERAL (
            SELECT id, created_at FROM taskqueue_skip
            WHERE kind = 'deferred' AND pipeline_id >= pipeline.name AND pipeline_id <= pipeline.name
            ORDER BY pipeline_id, id LIMIT 200
        ) AS oldest
        WHERE created_at < statement_timestamp() - make_interval(days => :days::int) LIMIT 200
    )) AND kind = 'deferred'
    FOR UPDATE SKIP LOCKED
))
RETURNING 1;
