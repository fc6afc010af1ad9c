-- Count the claimable and the blocked tasks of every pipeline, for metrics: in its own queue, and in those of steps.
WITH step_queue_depth AS MATERIALIZED (
    WITH RECURSIVE heads AS (
        (SELECT queue.ready_queue, queue.step_queue, queue.pipeline_id, queue.sort_at FROM taskqueue_task queue
            WHERE queue.ready_queue > '@' AND queue.ready_queue < 'A'
            ORDER BY queue.ready_queue, queue.sort_at, queue.id LIMIT 1)
        UNION ALL
        SELECT following.* FROM heads CROSS JOIN LATERAL (
            SELECT queue.ready_queue, queue.step_queue, queue.pipeline_id, queue.sort_at FROM taskqueue_task queue
            WHERE queue.ready_queue > heads.ready_queue AND queue.ready_queue < 'A'
            ORDER BY queue.ready_queue, queue.sort_at, queue.id LIMIT 1
        ) AS following
    )
    SELECT heads.pipeline_id AS pipeline, heads.step_queue AS queue, depth.*
    FROM heads CROSS JOIN LATERAL (
        SELECT count(*) AS number, count(*) FILTER (WHERE parallel_step <> '') AS parallel_steps, min(due_at) AS oldest
        FROM (
            SELECT queue.due_at, queue.parallel_step FROM taskqueue_task queue
            -- Not an equality: only one index has this order.
            WHERE queue.ready_queue >= heads.ready_queue AND queue.ready_queue <= heads.ready_queue
            ORDER BY queue.ready_queue, queue.sort_at, queue.id LIMIT 1000
        ) AS rows
    ) AS depth
), queue_depth AS MATERIALIZED (
    SELECT pipeline.name AS pipeline, ready.number AS ready, unstarted.number AS unstarted, keyed.number AS keyed,
        ready.parallel_steps, least(ready.oldest, unstarted.oldest, keyed.oldest) AS oldest
    FROM taskqueue_pipeline pipeline
    CROSS JOIN LATERAL (
        SELECT count(*) AS number, count(*) FILTER (WHERE parallel_step <> '') AS parallel_steps, min(due_at) AS oldest
            FROM (
            SELECT queue.due_at, queue.parallel_step FROM taskqueue_task queue WHERE queue.ready_queue = pipeline.name
            ORDER BY queue.sort_at, queue.id LIMIT 1000
        ) AS rows
    ) AS ready
    CROSS JOIN LATERAL (
        SELECT count(*) AS number, min(due_at) AS oldest FROM (
            SELECT queue.due_at FROM taskqueue_task queue WHERE queue.ready_queue = (pipeline.name || '+') COLLATE "C"
            ORDER BY queue.sort_at, queue.id LIMIT 1000
        ) AS rows
    ) AS unstarted
    CROSS JOIN LATERAL (
        SELECT count(*) AS number, min(due_at) AS oldest FROM (
            SELECT queue.due_at FROM taskqueue_task queue WHERE queue.blocked_queue = pipeline.name
            ORDER BY queue.concurrency_key, queue.sort_at, queue.id LIMIT 1000
        ) AS rows
    ) AS keyed
), concurrency AS MATERIALIZED (
    SELECT queue_depth.pipeline, queue_depth.unstarted + queue_depth.keyed AS number,
        coalesce(concurrency.tasks, concurrency.declared_tasks) AS tasks,
        coalesce(concurrency.tasks_per_key, concurrency.declared_tasks_per_key) AS tasks_per_key
    FROM queue_depth JOIN taskqueue_concurrencylimit concurrency ON concurrency.pipeline_id = queue_depth.pipeline
    WHERE queue_depth.unstarted + queue_depth.keyed > 0
), blocked_at_limit AS (
    SELECT concurrency.pipeline, CASE
        WHEN concurrency.tasks <= (
            SELECT count(*) FROM (
                SELECT FROM taskqueue_task slot WHERE slot.slot_pipeline = concurrency.pipeline
                ORDER BY slot.slot_pipeline, slot.concurrency_key LIMIT concurrency.tasks
            ) AS slots
        ) THEN concurrency.number
        ELSE (
            SELECT count(*) FROM (
                SELECT queue.concurrency_key FROM taskqueue_task queue
                    WHERE queue.blocked_queue = concurrency.pipeline
                ORDER BY queue.concurrency_key, queue.sort_at, queue.id LIMIT 1000
            ) AS waiting
            WHERE concurrency.tasks_per_key <= (
                SELECT count(*) FROM (
                    SELECT FROM taskqueue_task slot
                    WHERE slot.slot_pipeline = concurrency.pipeline
                        AND slot.concurrency_key = waiting.concurrency_key
                    ORDER BY slot.slot_pipeline, slot.concurrency_key LIMIT concurrency.tasks_per_key
                ) AS slots
            )
        )
    END AS number FROM concurrency
), blocked AS (
    SELECT pipeline, number FROM blocked_at_limit
    UNION ALL
    SELECT at_step_limit.pipeline, count(*) FROM (
        SELECT task.step_limit_queue AS pipeline FROM taskqueue_task task WHERE task.step_limit_queue IS NOT NULL
        ORDER BY task.step_limit_queue, task.id LIMIT 1000
    ) AS at_step_limit GROUP BY at_step_limit.pipeline
    UNION ALL
    SELECT timers.pipeline, count(*) FROM (
        SELECT task.pipeline_id AS pipeline, task.blocked_on FROM taskqueue_task task WHERE task.timer_at IS NOT NULL
        ORDER BY task.timer_at LIMIT 1000
    ) AS timers WHERE timers.blocked_on <> '' GROUP BY timers.pipeline
), blocked_total AS (
    SELECT pipeline, sum(number)::int AS number FROM blocked GROUP BY pipeline
), readiness AS (
    SELECT pipeline.name, coalesce(nullif(pipeline.queue, ''), pipeline.declared_queue) AS queue, pipeline.paused_at IS NOT NULL AS is_paused,
        greatest(ready + unstarted + keyed - coalesce(blocked_at_limit.number, 0), 0) AS claimable,
        coalesce(blocked_total.number, 0) AS blocked, oldest
    FROM taskqueue_pipeline pipeline
    JOIN queue_depth ON queue_depth.pipeline = pipeline.name
    LEFT JOIN blocked_at_limit ON blocked_at_limit.pipeline = pipeline.name
    LEFT JOIN blocked_total ON blocked_total.pipeline = pipeline.name
    UNION ALL
    SELECT pipeline.name, step_queue_depth.queue, pipeline.paused_at IS NOT NULL, number, 0, oldest
    FROM step_queue_depth JOIN taskqueue_pipeline pipeline ON pipeline.name = step_queue_depth.pipeline
)
SELECT name, queue, is_paused, CASE WHEN is_paused THEN 0 ELSE sum(claimable) END::int, sum(blocked)::int,
    greatest(extract(epoch FROM statement_timestamp() - min(oldest)), 0)::float
FROM readiness GROUP BY name, queue, is_paused ORDER BY name, queue;
