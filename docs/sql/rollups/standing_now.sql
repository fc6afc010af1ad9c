-- Count the queued tasks of each pipeline, and the age of the oldest.
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
)
SELECT pipeline, (going + fresh + grouped - parallel_steps)::int, parallel_steps::int,
    greatest(extract(epoch FROM statement_timestamp() - oldest), 0)::float,
    going >= 1000 OR fresh >= 1000 OR grouped >= 1000
FROM standing WHERE going + fresh + grouped > 0;
