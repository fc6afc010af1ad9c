-- Find the oldest deferred starts of pipelines that this process has the code of, by one index probe each. The range,
-- which is one name, is written so that only the index of deferred starts has the order.
-- Parameters: :pipelines text[], :after bigint
SELECT deferred.id
FROM unnest(:pipelines::text[]) AS deployed (name) CROSS JOIN LATERAL (
    WITH RECURSIVE oldest AS (
        (
            SELECT id FROM taskqueue_skip
            WHERE kind = 'deferred' AND id > :after::bigint
                AND pipeline_id >= deployed.name COLLATE "C" AND pipeline_id <= deployed.name COLLATE "C"
            ORDER BY pipeline_id, id LIMIT 1
        )
        UNION ALL
        SELECT following.id FROM oldest CROSS JOIN LATERAL (
            SELECT id FROM taskqueue_skip
            WHERE kind = 'deferred' AND id > oldest.id
                AND pipeline_id >= deployed.name COLLATE "C" AND pipeline_id <= deployed.name COLLATE "C"
            ORDER BY pipeline_id, id LIMIT 1
        ) AS following
    )
    SELECT id FROM oldest LIMIT 50
) AS deferred
ORDER BY deferred.id LIMIT 50;
