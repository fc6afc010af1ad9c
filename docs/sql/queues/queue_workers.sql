-- List the queues of all pipelines and of their steps, with how many live workers take each and can claim.
-- Parameters: :heartbeat_timeout interval, :step_queues text[]
WITH worker AS MATERIALIZED (
    SELECT queues, not_queues FROM taskqueue_worker
    WHERE ended_at IS NULL AND heartbeat_at > statement_timestamp() - :heartbeat_timeout::interval
        AND draining_at IS NULL AND claim_error = ''
)
SELECT queue.name, (SELECT count(*) FROM worker WHERE ((worker.queues = '[]' OR worker.queues @> to_jsonb(queue.name))
        AND NOT worker.not_queues @> to_jsonb(queue.name)))
FROM (
    SELECT coalesce(nullif(pipeline.queue, ''), pipeline.declared_queue) AS name FROM taskqueue_pipeline pipeline
    UNION
    SELECT unnest(:step_queues::text[])
    UNION
    SELECT waiting.step_queue FROM (
        WITH RECURSIVE heads AS (
            (SELECT queue.ready_queue, queue.step_queue, queue.pipeline_id, queue.sort_at FROM taskqueue_task queue
                WHERE queue.ready_queue > '@' AND queue.ready_queue < 'A'
                ORDER BY queue.ready_queue, queue.sort_at, queue.id LIMIT 1)
            UNION ALL
            SELECT following.* FROM heads CROSS JOIN LATERAL (
                SELECT queue.ready_queue, queue.step_queue, queue.pipeline_id, queue.sort_at FROM taskqueue_task queue
                WHERE queue.ready_queue > '@' || heads.step_queue || '0' AND queue.ready_queue < 'A'
                ORDER BY queue.ready_queue, queue.sort_at, queue.id LIMIT 1
            ) AS following
        )
        SELECT heads.step_queue FROM heads
    ) AS waiting
) AS queue
ORDER BY queue.name;
