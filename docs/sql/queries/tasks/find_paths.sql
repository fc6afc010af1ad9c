-- Find paths, at most two names deep, at which the payloads of the newest tasks hold a word. Large payloads are skipped
-- before they are read, and so are pipelines that the reader may not see.
-- Parameters: :newest int, :word unknown, :closed text[], :limit int
SELECT DISTINCT found.path
FROM (
    SELECT payload, pg_column_size(payload) AS size, pipeline_id FROM taskqueue_task WHERE parallel_step = ''
    ORDER BY id DESC LIMIT :newest::int
) AS task
CROSS JOIN LATERAL (
    SELECT upper.key, upper.value
    FROM jsonb_each(CASE jsonb_typeof(task.payload) WHEN 'object' THEN task.payload ELSE '{}'::jsonb END) AS upper
) AS upper
CROSS JOIN LATERAL (
    SELECT upper.key AS path WHERE upper.value #>> '{}' = :word
    UNION ALL
    SELECT upper.key || '.' || lower.key
    FROM jsonb_each_text(CASE jsonb_typeof(upper.value) WHEN 'object' THEN upper.value ELSE '{}'::jsonb END) AS lower
    WHERE lower.value = :word
) AS found
WHERE task.size < 8192 AND NOT task.pipeline_id = ANY (:closed::text[]) AND found.path !~ '[\s":]'
ORDER BY found.path LIMIT :limit::int;
