-- List the pipelines whose tasks wait for a slot of a step: each once, by one index probe after the other.
WITH RECURSIVE pipelines AS (
    (SELECT step_limit_queue FROM taskqueue_task WHERE step_limit_queue IS NOT NULL ORDER BY step_limit_queue, id
        LIMIT 1)
    UNION ALL
    SELECT (
        SELECT task.step_limit_queue FROM taskqueue_task task
        WHERE task.step_limit_queue > pipelines.step_limit_queue ORDER BY task.step_limit_queue, task.id LIMIT 1
    )
    FROM pipelines WHERE pipelines.step_limit_queue IS NOT NULL
)
SELECT step_limit_queue FROM pipelines WHERE step_limit_queue IS NOT NULL;
