-- Find the oldest starts by event that were deferred, of pipelines that this process has the code of, by one index
-- probe each. The range, which is one name, is written so that only the index of deferred starts has the order.
-- Parameters: :pipelines text[], :after bigint
SELECT deferred.id
FROM unnest(:pipelines::text[]) AS known (name) CROSS JOIN LATERAL (
    WITH RECURSIVE walked AS (
        (
            SELECT id FROM taskqueue_skip
            WHERE kind = 'deferred' AND id > :after::bigint
                AND pipeline_id >= known.name COLLATE "C" AND pipeline_id <= known.name COLLATE "C"
            ORDER BY pipeline_id, id LIMIT 1
        )
        UNION ALL
        SELECT following.id FROM walked CROSS JOIN LATERAL (
            SELECT id FROM taskqueue_skip
            WHERE kind = 'deferred' AND id > walked.id
                AND pipeline_id >= known.name COLLATE "C" AND pipeline_id <= known.name COLLATE "C"
            ORDER BY pipeline_id, id LIMIT 1
        ) AS following
    )
    SELECT id FROM walked LIMIT 50
) AS deferred
ORDER BY deferred.id LIMIT 50;
