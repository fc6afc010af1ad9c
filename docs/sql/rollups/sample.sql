-- Record how many tasks are queued now, and the time lost to limits in this minute.
-- Parameters: :at timestamptz
WITH standing AS MATERIALIZED (
    SELECT pipeline.name AS pipeline, going.number AS going, fresh.number AS fresh, grouped.number AS grouped,
        going.parallel_steps, least(going.oldest, fresh.oldest, grouped.oldest) AS oldest
    FROM taskqueue_pipeline pipeline
    CROSS JOIN LATERAL (
        SELECT count(*) AS number, count(*) FILTER (WHERE parallel_step <> '') AS parallel_steps, min(due_at) AS oldest
            FROM (
            SELECT queue.due_at, queue.parallel_step FROM taskqueue_task queue WHERE queue.ready_queue = pipeline.name
            ORDER BY queue.sort_at, queue.id LIMIT 1000
        ) AS rows
    ) AS going
    CROSS JOIN LATERAL (
        SELECT count(*) AS number, min(due_at) AS oldest FROM (
            SELECT queue.due_at FROM taskqueue_task queue WHERE queue.ready_queue = (pipeline.name || '+') COLLATE "C"
            ORDER BY queue.sort_at, queue.id LIMIT 1000
        ) AS rows
    ) AS fresh
    CROSS JOIN LATERAL (
        SELECT count(*) AS number, min(due_at) AS oldest FROM (
            SELECT queue.due_at FROM taskqueue_task queue WHERE queue.blocked_queue = pipeline.name
            ORDER BY queue.concurrency_key, queue.sort_at, queue.id LIMIT 1000
        ) AS rows
    ) AS grouped
), concurrency AS MATERIALIZED (
    SELECT standing.pipeline, standing.fresh + standing.grouped AS number,
        coalesce(concurrency.tasks, concurrency.declared_tasks) AS most,
        coalesce(concurrency.tasks_per_key, concurrency.declared_tasks_per_key) AS most_per_key
    FROM standing JOIN taskqueue_concurrencylimit concurrency ON concurrency.pipeline_id = standing.pipeline
    WHERE standing.fresh + standing.grouped > 0
), held_at_gate AS (
    SELECT concurrency.pipeline, CASE
        WHEN concurrency.most <= (
            SELECT count(*) FROM (
                SELECT FROM taskqueue_task place WHERE place.slot_pipeline = concurrency.pipeline
                ORDER BY place.slot_pipeline, place.concurrency_key LIMIT concurrency.most
            ) AS places
        ) THEN concurrency.number
        ELSE (
            SELECT count(*) FROM (
                SELECT queue.concurrency_key FROM taskqueue_task queue
                    WHERE queue.blocked_queue = concurrency.pipeline
                ORDER BY queue.concurrency_key, queue.sort_at, queue.id LIMIT 1000
            ) AS waiting
            WHERE concurrency.most_per_key <= (
                SELECT count(*) FROM (
                    SELECT FROM taskqueue_task place
                    WHERE place.slot_pipeline = concurrency.pipeline
                        AND place.concurrency_key = waiting.concurrency_key
                    ORDER BY place.slot_pipeline, place.concurrency_key LIMIT concurrency.most_per_key
                ) AS places
            )
        )
    END AS number FROM concurrency
), held_back AS (
    SELECT pipeline, number FROM held_at_gate
    UNION ALL
    SELECT at_step.pipeline, count(*) FROM (
        SELECT task.step_limit_queue AS pipeline FROM taskqueue_task task WHERE task.step_limit_queue IS NOT NULL
        ORDER BY task.step_limit_queue, task.id LIMIT 1000
    ) AS at_step GROUP BY at_step.pipeline
    UNION ALL
    SELECT booked.pipeline, count(*) FROM (
        SELECT task.pipeline_id AS pipeline, task.blocked_on FROM taskqueue_task task WHERE task.timer_at IS NOT NULL
        ORDER BY task.timer_at LIMIT 1000
    ) AS booked WHERE booked.blocked_on <> '' GROUP BY booked.pipeline
), sample AS (
    SELECT pipeline, (going + fresh + grouped)::int AS queued, 0 AS held,
        greatest(extract(epoch FROM statement_timestamp() - oldest), 0)::int AS oldest
    FROM standing WHERE going + fresh + grouped > 0
    UNION ALL
    SELECT pipeline, 0, number, NULL FROM held_back WHERE number > 0
)
INSERT INTO taskqueue_rollup AS known (
    span, at, pipeline, succeeded, recovered, failed, cancelled, failed_attempts, ran, waited,
    sampled_blocked_seconds, queued,
    oldest_seconds
)
SELECT 1, :at::timestamptz, coalesce(pipeline, ''), 0, 0, 0, 0, 0, '{}', '{}', coalesce(sum(held), 0) * 60,
    coalesce(sum(queued), 0), max(oldest)
FROM sample GROUP BY GROUPING SETS ((pipeline), ())
ON CONFLICT (span, pipeline, at) DO UPDATE
SET sampled_blocked_seconds = EXCLUDED.sampled_blocked_seconds, queued = EXCLUDED.queued,
oldest_seconds = EXCLUDED.oldest_seconds;
