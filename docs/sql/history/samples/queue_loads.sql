-- Count the slots in use and the queued tasks of each pipeline, up to a cap. Each count reads from a name on, in an
-- order, and filters afterwards: only one index fits, and no more rows are read than the limit. The planner chooses
-- another plan only while the table is small.
-- Parameters: :names text[]
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
            ORDER BY queue.ready_queue, queue.sort_at, queue.id LIMIT 1001
        ) AS rows
    ) AS depth
)
SELECT pipelines.name, (
    SELECT count(*) FROM (
        SELECT slot.slot_pipeline FROM taskqueue_task slot WHERE slot.slot_pipeline >= pipelines.name
        ORDER BY slot.slot_pipeline, slot.concurrency_key LIMIT 1001
    ) AS slots WHERE slot_pipeline = pipelines.name
), least(1001, (
    SELECT count(*) FROM (
        SELECT ready.ready_queue FROM taskqueue_task ready WHERE ready.ready_queue >= pipelines.name
        ORDER BY ready.ready_queue, ready.sort_at, ready.id LIMIT 1001
    ) AS queue WHERE ready_queue = pipelines.name
) + (
        SELECT count(*) FROM (
            SELECT unstarted.ready_queue FROM taskqueue_task unstarted WHERE unstarted.ready_queue >= pipelines.name || '+'
            ORDER BY unstarted.ready_queue, unstarted.sort_at, unstarted.id LIMIT 1001
        ) AS queue WHERE ready_queue = pipelines.name || '+'
    ) + coalesce((
        SELECT sum(number) FROM step_queue_depth WHERE pipeline = pipelines.name
    ), 0) + (
        SELECT count(*) FROM (
            SELECT keyed.blocked_queue FROM taskqueue_task keyed WHERE keyed.blocked_queue >= pipelines.name
            ORDER BY keyed.blocked_queue, keyed.concurrency_key, keyed.sort_at, keyed.id LIMIT 1001
        ) AS queue WHERE blocked_queue = pipelines.name
))::int
FROM (SELECT name COLLATE "C" AS name FROM unnest(:names::text[]) AS name) AS pipelines;
