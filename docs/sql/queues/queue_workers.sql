-- List the queues of all pipelines, with how many live workers take each and can claim.
-- Parameters: :heartbeat_timeout interval
WITH worker AS MATERIALIZED (
    SELECT queues, not_queues FROM taskqueue_worker
    WHERE ended_at IS NULL AND heartbeat_at > statement_timestamp() - :heartbeat_timeout::interval
        AND draining_at IS NULL AND claim_error = ''
)
SELECT queue.name, (SELECT count(*) FROM worker WHERE ((worker.queues = '[]' OR worker.queues @> to_jsonb(queue.name))
        AND NOT worker.not_queues @> to_jsonb(queue.name)))
FROM (SELECT DISTINCT coalesce(nullif(pipeline.queue, ''), pipeline.declared_queue) AS name FROM taskqueue_pipeline pipeline) AS queue
ORDER BY queue.name;
