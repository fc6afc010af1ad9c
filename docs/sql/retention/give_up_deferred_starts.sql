-- Give up old deferred starts of pipelines without deployed code: the oldest of each, by one index probe each.
-- Parameters: :days int
UPDATE taskqueue_skip
SET kind = 'unknown', reason = format(
    'For %s days no worker knew the pipeline %s. Has it been removed?', :days::int, left(pipeline_id, 200)
)
WHERE id = ANY (ARRAY(
    SELECT id FROM taskqueue_skip
    WHERE id = ANY (ARRAY(
        SELECT oldest.id FROM taskqueue_pipeline pipeline CROSS JOIN LATERAL (
            WITH RECURSIVE oldest AS (
                (
                    SELECT id, created_at FROM taskqueue_skip
                    WHERE kind = 'deferred' AND pipeline_id >= pipeline.name AND pipeline_id <= pipeline.name
                    ORDER BY pipeline_id, id LIMIT 1
                )
                UNION ALL
                SELECT following.id, following.created_at FROM oldest CROSS JOIN LATERAL (
                    SELECT id, created_at FROM taskqueue_skip
                    WHERE kind = 'deferred' AND pipeline_id >= pipeline.name AND pipeline_id <= pipeline.name
                        AND id > oldest.id
                    ORDER BY pipeline_id, id LIMIT 1
                ) AS following
                WHERE oldest.created_at < statement_timestamp() - make_interval(days => :days::int)
            )
            SELECT id FROM oldest
            WHERE created_at < statement_timestamp() - make_interval(days => :days::int)
            LIMIT 200
        ) AS oldest
        LIMIT 200
    )) AND kind = 'deferred'
    FOR UPDATE SKIP LOCKED
))
RETURNING 1;
