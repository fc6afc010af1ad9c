-- Count the tasks of each status and pipeline, among the newest of the status. Branches of parallel steps count with
-- their parent.
-- Parameters: :statuses text[]
SELECT known.status, counted.pipeline, counted.number, counted.rows
FROM unnest(:statuses::text[]) AS known(status)
CROSS JOIN LATERAL (
    SELECT newest.pipeline_id AS pipeline, (count(*) FILTER (WHERE newest.parallel_step = ''))::int AS number,
        count(*)::int AS rows
    FROM (
        SELECT task.pipeline_id, task.parallel_step FROM taskqueue_task task
            WHERE task.status = ANY (ARRAY[known.status])
        ORDER BY task.status, task.id DESC LIMIT 10000
    ) AS newest GROUP BY newest.pipeline_id
) AS counted;
