-- Count the tasks of each status, up to a limit. The array of one status, and the status in ORDER BY, leave the planner
-- only the index of statuses: else it would walk the table by the primary key to find a rare one.
-- Parameters: :limit int, :statuses text[]
SELECT statuses.status, (
    SELECT count(*) FROM (
        SELECT FROM taskqueue_task task WHERE task.status = ANY (ARRAY[statuses.status]) AND task.parallel_step = ''
        ORDER BY task.status, task.id DESC LIMIT :limit::int
    ) AS counted
)
FROM unnest(:statuses::text[]) AS statuses(status);
