-- Record how many tasks are queued now, and the time lost to limits in this minute.
-- Parameters: :at timestamptz
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
), sample AS (
    SELECT pipeline, (ready + unstarted + keyed)::int AS queued, 0 AS blocked_total,
        greatest(extract(epoch FROM statement_timestamp() - oldest), 0)::int AS oldest
    FROM queue_depth WHERE ready + unstarted + keyed > 0
    UNION ALL
    SELECT pipeline, number::int, 0, greatest(extract(epoch FROM statement_timestamp() - oldest), 0)::int
    FROM step_queue_depth
    UNION ALL
    SELECT pipeline, 0, number, NULL FROM blocked WHERE number > 0
)
INSERT INTO taskqueue_rollup AS existing (
    span, at, pipeline, succeeded, recovered, failed, cancelled, failed_attempts, ran, waited,
    sampled_blocked_seconds, queued, oldest_seconds
)
SELECT 1, :at::timestamptz, coalesce(pipeline, ''), 0, 0, 0, 0, 0, '{}', '{}',
    coalesce(sum(blocked_total), 0) * 60, coalesce(sum(queued), 0), max(oldest)
FROM sample GROUP BY GROUPING SETS ((pipeline), ())
ON CONFLICT (span, pipeline, at) DO UPDATE
SET sampled_blocked_seconds = EXCLUDED.sampled_blocked_seconds, queued = EXCLUDED.queued,
    oldest_seconds = EXCLUDED.oldest_seconds;
