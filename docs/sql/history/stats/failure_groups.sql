-- Group the failed tasks by error, pipeline and step name, so that a parallel step is one group, as in
-- `TaskFilter.failure`. The status is filtered outside: statistics without a failed task would lead to the index of
-- statuses.
-- Parameters: :start timestamptz, :until timestamptz, :most int
SELECT error_type, pipeline, step, count(*)::int, (array_agg(message ORDER BY finished_at DESC, id))[1],
    max(finished_at), (array_agg(id ORDER BY finished_at DESC, id))[1]
FROM (
    SELECT task.id, task.status, task.pipeline_id AS pipeline, task.finished_at,
        coalesce(task.error ->> 'type', '') AS error_type, left(coalesce(task.error ->> 'message', ''), 500) AS message,
        coalesce((
            SELECT step.name FROM taskqueue_step step
            WHERE step.task_id = task.id AND step.key = task.error ->> 'step'
        ), split_part(task.error ->> 'step', '#', 1), '') AS step
    FROM taskqueue_task task
    WHERE task.error IS NOT NULL AND task.parallel_step = ''
        AND task.finished_at >= :start::timestamptz AND task.finished_at < :until::timestamptz
    ORDER BY task.finished_at DESC LIMIT 10000
) AS failed
WHERE status = 'failed'
GROUP BY error_type, pipeline, step
ORDER BY 4 DESC, 6 DESC LIMIT :most::int;
