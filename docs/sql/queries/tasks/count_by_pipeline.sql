-- Count the tasks of each pipeline and status, among the newest of the status. Parallel steps count with their parent.
-- Parameters: :statuses text[]
SELECT statuses.status, counted.pipeline, counted.number, counted.rows
FROM unnest(:statuses::text[]) AS statuses(status)
CROSS JOIN LATERAL (
    SELECT newest.pipeline_id AS pipeline, (count(*) FILTER (WHERE newest.parallel_step = ''))::int AS number,
        count(*)::int AS rows
    FROM (
        SELECT task.pipeline_id, task.parallel_step FROM taskqueue_task task
            WHERE task.status = ANY (ARRAY[statuses.status])
        ORDER BY task.status, task.id DESC LIMIT 10000
    ) AS newest GROUP BY newest.pipeline_id
) AS counted;
