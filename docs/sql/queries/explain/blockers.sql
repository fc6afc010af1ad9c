-- Tell what may keep a queued task from being claimed: workers, slots (counted up to the limit), and how far the rate
-- of its pipeline is reserved.
-- Parameters: :pipeline text, :queue text, :heartbeat_timeout interval, :most int, :most_per_key int, :concurrency_key
-- text, :rate text, :rate_key text
WITH live AS MATERIALIZED (
    SELECT worker.pipelines @> to_jsonb(:pipeline::text) AS has_code,
        ((worker.queues = '[]' OR worker.queues @> to_jsonb(:queue::text))
        AND NOT worker.not_queues @> to_jsonb(:queue::text)) AS takes_queue,
        worker.draining_at IS NOT NULL AS is_draining, worker.claim_error <> '' AS cannot_claim,
        CASE WHEN worker.slots > 1 THEN worker.executing >= worker.slots ELSE coalesce((
            SELECT true FROM taskqueue_task task
            WHERE task.worker_id >= worker.id AND task.worker_id <= worker.id AND task.status = 'running'
                AND task.started_at IS NOT NULL
            ORDER BY task.worker_id LIMIT 1
        ), false) END AS is_busy
    FROM taskqueue_worker worker
    WHERE worker.ended_at IS NULL AND worker.heartbeat_at > statement_timestamp() - :heartbeat_timeout::interval
)
SELECT
    (SELECT count(*) FROM live),
    (SELECT count(*) FROM live WHERE has_code),
    (SELECT count(*) FROM live WHERE takes_queue),
    (SELECT count(*) FROM live WHERE takes_queue AND has_code AND NOT is_draining AND NOT cannot_claim),
    (SELECT count(*) FROM live WHERE takes_queue AND has_code AND is_draining),
    (SELECT count(*) FROM live WHERE takes_queue AND has_code AND NOT is_draining AND cannot_claim),
    (SELECT count(*) FROM live WHERE takes_queue AND is_busy),
    CASE WHEN :most::int IS NOT NULL THEN (
        SELECT count(*) FROM (SELECT slot.slot_pipeline FROM taskqueue_task slot
        WHERE slot.slot_pipeline >= :pipeline::text
        ORDER BY slot.slot_pipeline, slot.concurrency_key LIMIT :most::int) AS slots
        WHERE slot_pipeline = :pipeline::text
    ) ELSE 0 END,
    CASE WHEN :most_per_key::int IS NOT NULL AND :concurrency_key::text <> '' THEN (
        SELECT count(*) FROM (SELECT FROM taskqueue_task slot
        WHERE slot.slot_pipeline IS NOT NULL AND (slot.slot_pipeline, slot.concurrency_key) >= (:pipeline::text,
            :concurrency_key::text)
            AND (slot.slot_pipeline, slot.concurrency_key) <= (:pipeline::text, :concurrency_key::text)
        ORDER BY slot.slot_pipeline, slot.concurrency_key
         LIMIT :most_per_key::int) AS slots
    ) ELSE 0 END,
    used.theoretical_arrival_at, used.blocked_until, coalesce(used.block_reason, ''), statement_timestamp()
FROM (SELECT) AS one
LEFT JOIN taskqueue_ratelimitbucket used ON used.rate_id = :rate::text AND used.key = :rate_key::text;
