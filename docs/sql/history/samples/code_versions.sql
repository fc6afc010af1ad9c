-- List the versions of the code that a pipeline's newest tasks began or ended with.
-- Parameters: :pipeline text
WITH newest AS MATERIALIZED (
    SELECT id, created_at, version, code_began, code_ended FROM (
        SELECT task.id, task.pipeline_id, task.created_at, task.version, task.code_began, task.code_ended,
            task.parallel_step
        FROM taskqueue_task task WHERE task.pipeline_id >= :pipeline::text COLLATE "C"
        ORDER BY task.pipeline_id, task.id DESC LIMIT 2000
    ) AS from_pipeline
    WHERE pipeline_id = :pipeline::text AND parallel_step = '' ORDER BY id DESC LIMIT 500
)
SELECT code, max(version), count(*), max(created_at)
FROM (
    SELECT unnest(ARRAY[code_began] || CASE WHEN code_ended NOT IN ('', code_began) THEN ARRAY[code_ended] END) AS code,
        version, created_at
    FROM newest
) AS versions
WHERE code <> '' GROUP BY code ORDER BY max(created_at) DESC LIMIT 10;
