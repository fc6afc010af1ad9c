-- Count the queued tasks of each pipeline, and the age of the oldest: in its own queue, and in the queue of each step.
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
)
SELECT pipeline, '', (ready + unstarted + keyed - parallel_steps)::int, parallel_steps::int,
    greatest(extract(epoch FROM statement_timestamp() - oldest), 0)::float,
    ready >= 1000 OR unstarted >= 1000 OR keyed >= 1000
FROM queue_depth WHERE ready + unstarted + keyed > 0
UNION ALL
SELECT pipeline, queue, (number - parallel_steps)::int, parallel_steps::int,
    greatest(extract(epoch FROM statement_timestamp() - oldest), 0)::float, number >= 1000
FROM step_queue_depth;
